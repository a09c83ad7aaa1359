"""What pseudo-labels promise, measured: prints a table and writes out/checks/pseudolabel.json.

python -m benchmarks.check_pseudolabel             # exits 1 if a row falls short; FULL=1 runs the long studies anew
"""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from benchmarks.checks import OUT, REAL_DATA, run_checks
from benchmarks.pseudolabels.lane_yaw import check_lane_yaw
from benchmarks.pseudolabels.lifting import check_bad_input, check_throughput
from benchmarks.pseudolabels.pretraining_study import check_pretraining
from benchmarks.pseudolabels.real_keyframe import check_kitti_frames, check_nuscenes_keyframe
from benchmarks.pseudolabels.zero_shot_study import check_zero_shot

NEED_REAL_DATA = (check_nuscenes_keyframe, check_kitti_frames, check_lane_yaw)


def main(data: Path = REAL_DATA, out: Path = OUT) -> int:
    """Prints all rows and writes OUT/pseudolabel.json; the exit code is 1 if one falls short.

    Args:
        data: folder of the real samples.
        out: folder to write to.
    """
    checks = (check_zero_shot, *NEED_REAL_DATA, check_pretraining, check_throughput, check_bad_input)
    return run_checks("pseudolabel", checks, needing_data=NEED_REAL_DATA, data=data, out=out)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
