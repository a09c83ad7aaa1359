"""What is promised of real drives, measured: prints a table and writes out/checks/streets.json.

    python -m benchmarks.check_streets             # exits 1 if a row falls short

Adapted detectors are scored by ``benchmarks.streets.adapt``, whose results are read here; a tiny one is made anew. The
drives are those of the pack DATA/streets, unpacked into ~/.cache/lidarloop/streets or $LIDARLOOP_STREETS; without
them all rows are skipped. Labels there are for scoring alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from benchmarks.checks import OUT, REAL_DATA, Row, finish, run_checks
from benchmarks.streets.adapt import adaptation, adaptation_runs
from benchmarks.streets.label_rows import pseudo_labels
from benchmarks.streets.pack import UNPACKED, unpack
from benchmarks.streets.readers import boxes_hold_points, overlays, poses_align_clouds, projections_meet_rectangles

CHECKS = (
    boxes_hold_points,
    projections_meet_rectangles,
    poses_align_clouds,
    overlays,
    pseudo_labels,
    adaptation_runs,
    adaptation,
)


def main(data: Path = REAL_DATA, out: Path = OUT) -> int:
    """Prints all rows and writes OUT/streets.json; the exit code is 1 if one falls short.

    Args:
        data: folder of the real samples, which holds the pack as ``streets``.
        out: folder to write to.
    """
    reason = unpack(data / "streets", UNPACKED)
    if reason:
        skipped = [Row(check.__name__.replace("_", " "), None, "", None, f"skipped: {reason}") for check in CHECKS]
        return finish(skipped, out / "streets.json", seed=0)
    return run_checks("streets", CHECKS, data=data, out=out)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
