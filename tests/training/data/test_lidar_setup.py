"""The LiDAR's height and the time between its sweeps, as drives hold them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import messages
from lidarloop_core.io.bag import BagWriter, message_type
from lidarloop_training.data.drive_spec import Bag
from lidarloop_training.data.lidar_setup import LidarSetup, measure_lidar

START = 1_700_000_000_000_000_000


def ground(height_m: float) -> dict[str, np.ndarray]:
    """A flat street that lies so far below the LiDAR, seen 40 m to each side."""
    x, y = (grid.reshape(-1) for grid in np.meshgrid(np.arange(-40, 40, 0.4), np.arange(-40, 40, 0.4)))
    return {"x": x.astype("f4"), "y": y.astype("f4"), "z": np.full(len(x), -height_m, "f4")}


def few_points() -> dict[str, np.ndarray]:
    return {name: np.arange(5, dtype=np.float32) for name in "xyz"}


def write_bag(path: Path, columns: dict[str, np.ndarray], *, mounted_m: float | None, period_s: float = 0.2) -> Path:
    with BagWriter(path) as bag:
        if mounted_m is not None:
            edge = ("base_link", "lidar", SE3.from_yaw(0.0, (1.0, 0, mounted_m)))
            bag.write("/tf_static", START, messages.transforms_message((edge,), START, message_type))
        child = "lidar" if mounted_m is None else "base_link"
        for i in range(6):
            stamp_ns = START + round(period_s * i * 1e9)
            pose = SE3.from_yaw(0.0, (float(i), 0, 0))
            odometry = messages.odometry_message(
                pose, (0, 0, 0), (0, 0, 0), stamp_ns, message_type, child_frame_id=child
            )
            bag.write("/odom", stamp_ns, odometry)
            bag.write("/points", stamp_ns, messages.cloud_message(columns, stamp_ns, "lidar", message_type))
    return path


@pytest.mark.parametrize(
    ("columns", "mounted_m", "height_m"),
    [
        (ground(1.5), None, 1.5),
        (ground(1.5), 0.2, 1.5),  # the vehicle's origin is high above the ground
        (few_points(), 1.7, 1.7),
        (few_points(), 0.0, None),
        (few_points(), None, None),
    ],
    ids=["ground", "ground before mounting", "mounting", "clouds in the vehicle's frame", "neither"],
)
def test_height_and_interval_are_taken_from_a_bag(
    tmp_path: Path, columns: dict[str, np.ndarray], mounted_m: float | None, height_m: float | None
) -> None:
    drive = Bag(write_bag(tmp_path / "drive.mcap", columns, mounted_m=mounted_m))
    assert measure_lidar(drive.open(num_sweeps=3)) == LidarSetup(height_m, 0.2)
    assert measure_lidar(drive.open(num_sweeps=1)) == LidarSetup(height_m, None)


def test_training_takes_what_was_not_given_from_the_drives(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="no torch here: pip install lidarloop[train]")
    from lidarloop_training.commands.choice import for_lidar
    from lidarloop_training.recipes.pillar_drives import pillar_drives
    from lidarloop_training.recipes.pillar_toytown import pillar_toytown

    source = Bag(write_bag(tmp_path / "drive.mcap", ground(1.5), mounted_m=None)).open(num_sweeps=3)
    console = Console(record=True, width=200)

    def height_and_interval(config: Any) -> tuple[float, float]:
        spec = for_lidar(config, source, console).task.spec
        return spec.lidar_height_m, spec.sweep_interval_s

    drives = pillar_drives(tmp_path)
    assert height_and_interval(drives) == (1.5, 0.2)
    assert "1.50 m above the ground" in (printed := console.export_text())
    assert "0.2 s apart" in printed
    given = dataclasses.replace(drives.task.spec, lidar_height_m=2.2, sweep_interval_s=0.05)
    assert height_and_interval(dataclasses.replace(drives, task=dataclasses.replace(drives.task, spec=given))) == (
        2.2,
        0.05,
    )
    toytown = pillar_toytown()
    assert for_lidar(toytown, source, console) is toytown
