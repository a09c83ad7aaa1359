"""What the first day on a new vehicle takes, measured: prints a table and writes out/checks/vehicle.json.

python -m benchmarks.check_vehicle                 # exits 1 if a row falls short
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import tyro

from benchmarks.checks import OUT, REAL_DATA, Context, Row, run_checks
from benchmarks.tested import rows_of_tests
from benchmarks.vehicle.skew import check_conventions, check_cost, check_point_errors, check_score
from benchmarks.vehicle.streets import check_kitti_overlap, check_pandaset_times

TESTED = {
    "times of points: fields, units, references": "tests/core/pointcloud/test_point_time.py",
    "deskewing: closed form of a circle": "tests/core/pointcloud/test_deskew.py",
    "deskewing and merging on the GPU, run on the CPU": "tests/core/gpu/test_sweeps.py",
    "deskewing in the node, several LiDARs": "tests/ros/detector/test_deskewing.py",
    "motion by odometry, TF, poses, velocities and IMU, over DDS": "tests/ros/detector/test_node_motion.py",
    "dead reckoning: closed form of a circle": "tests/ros/inputs/test_dead_reckoning.py",
    "limits of clouds: numpy, shapely, sampled rays": "tests/core/pointcloud/test_crop.py",
    "limits of clouds in the node, several LiDARs": "tests/ros/detector/test_cropping.py",
    "deskewing of bags": "tests/training/data/bag/test_deskewing.py",
}


def check_tests(_: Context) -> Iterator[Row]:
    """Each file's tests; those that need what is not here skip and say so."""
    yield from rows_of_tests(TESTED)


def main(data: Path = REAL_DATA, out: Path = OUT) -> int:
    """Prints all rows and writes OUT/vehicle.json; the exit code is 1 if one falls short.

    Args:
        data: folder of the real samples.
        out: folder to write to.
    """
    on_streets = (check_kitti_overlap, check_pandaset_times)
    checks = (check_tests, check_point_errors, check_conventions, check_score, check_cost, *on_streets)
    return run_checks("vehicle", checks, needing_data=on_streets, data=data, out=out)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
