"""What the readers, metrics and the viewer promise, measured: prints a table and writes out/checks/data.json.

    python -m benchmarks.check_data                    # exits 1 if a row falls short
    python -m benchmarks.check_data --data /elsewhere

Rows that need real samples are skipped where there are none ($LIDARLOOP_REAL_DATA or ../shared/data). Each check is one
function that yields rows; one that breaks is a row that falls short, and the others still run. All of it takes about a
minute, so everything is measured anew each time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from benchmarks.checks import OUT, REAL_DATA, run_checks
from benchmarks.data.damaged_files import broken_tables, cvat_round_trip, truncated_recording
from benchmarks.data.devkit_agreement import SEED, devkit_agreement, evaluate_from_files
from benchmarks.data.jpeg import jpeg_decoding
from benchmarks.data.readers import throughput
from benchmarks.data.real_samples import (
    av2_boxes,
    kitti_boxes,
    kitti_through_a_bag,
    nuscenes_boxes,
    overlays,
    samples_read,
)

NEED_REAL_DATA = (samples_read, nuscenes_boxes, kitti_boxes, av2_boxes, overlays, kitti_through_a_bag, jpeg_decoding)
NEED_NOTHING = (devkit_agreement, evaluate_from_files, broken_tables, truncated_recording, cvat_round_trip, throughput)


def main(data: Path = REAL_DATA, out: Path = OUT) -> int:
    """Prints all rows and writes OUT/data.json; the exit code is 1 if one falls short.

    Args:
        data: folder of the real samples.
        out: folder to write to.
    """
    return run_checks(
        "data", (*NEED_REAL_DATA, *NEED_NOTHING), needing_data=NEED_REAL_DATA, data=data, out=out, seed=SEED
    )


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
