"""Bags whose clouds have their skew: read with it, and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidarloop_core.errors import BagError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.bag import BagWriter, message_type
from lidarloop_core.io.messages import cloud_message, odometry_message, transforms_message
from lidarloop_core.pointcloud.point_time import PointTimeSettings
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.drive_spec import Bag

MS = 1_000_000
START = 1_700_000_000_000 * MS
MOUNTINGS = {"top": SE3.from_yaw(0.3, (0.9, 0.1, 1.8)), "left": SE3.from_yaw(1.6, (0.5, 0.9, 0.7))}
WORLD = np.random.default_rng(0).uniform((-30, -30, -1), (60, 30, 4), (50, 3))


def world_SE3_ego(stamp_ns: int) -> SE3:
    """25 m/s and 40°/s on a circle."""
    t, turn = (stamp_ns - START) * 1e-9, np.radians(40)
    return SE3.from_yaw(turn * t, (25 / turn * np.sin(turn * t), 25 / turn * (1 - np.cos(turn * t)), 0.0))


def cloud(stamp_ns: int, frame: str, **more: Any) -> Any:
    """Each point of ``WORLD`` when its turn comes, in the 100 ms that end at the stamp."""
    times_ns = stamp_ns - np.linspace(100 * MS, 0, len(WORLD)).astype(np.int64)
    poses = [(world_SE3_ego(int(t)) @ MOUNTINGS[frame]).inverse() for t in times_ns]
    xyz = np.concatenate([pose.transform(p[None]) for pose, p in zip(poses, WORLD, strict=True)]).astype(np.float32)
    columns = {"x": xyz[:, 0], "y": xyz[:, 1], "z": xyz[:, 2], "timestamp": times_ns * 1e-9}
    return cloud_message(columns | more, stamp_ns, frame, message_type)


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Five clouds of two LiDARs, the second 30 ms later, with odometry at the clouds' rate."""
    path = tmp_path / "drive.mcap"
    with BagWriter(path) as writer:
        mountings = [("base_link", frame, pose) for frame, pose in MOUNTINGS.items()]
        writer.write("/tf_static", START, transforms_message(mountings, START, message_type))
        for i in range(5):
            stamp_ns = START + 100 * MS * i
            odometry = odometry_message(world_SE3_ego(stamp_ns), [25.0, 0, 0], [0, 0, 0.7], stamp_ns, message_type)
            writer.write("/odom", stamp_ns, odometry)
            writer.write("/top", stamp_ns, cloud(stamp_ns, "top"))
            writer.write("/left", stamp_ns + 30 * MS, cloud(stamp_ns + 30 * MS, "left"))
    return path


def test_points_that_stand_still_lie_where_they_are_at_the_stamp(bag: Path) -> None:
    """In the first cloud too, which begins before the first pose, and in a LiDAR of another stamp."""
    drive = Bag(bag, points_topics=("/top", "/left"), deskew=True)
    with pytest.warns(UserWarning, match="clouds of top are deskewed by timestamp in s, absolute; 100 ms long"):
        source = drive.open()
    assert len(source) == 5
    for i in range(5):
        sweep = source[i].keyframe
        assert sweep.columns == ("x", "y", "z")
        true = (world_SE3_ego(sweep.stamp_ns) @ MOUNTINGS["top"]).inverse().transform(WORLD)
        error_m = np.linalg.norm(sweep.points - np.concatenate([true, true]), axis=1)
        assert error_m.mean() < 0.01
        assert error_m.max() < 0.03


def test_without_being_asked_the_reader_keeps_the_skew_and_says_so(bag: Path) -> None:
    with pytest.warns(UserWarning, match="timestamp is left out: if the driver did not deskew.*--deskew"):
        source = BagSource(bag, points_topics=["/top"])
    true = (world_SE3_ego(source.keys[2].stamp_ns) @ MOUNTINGS["top"]).inverse().transform(WORLD)
    assert np.linalg.norm(source[2].keyframe.points - true, axis=1).mean() > 0.5


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("settings", "motion", "message"),
    [
        (PointTimeSettings(field="t"), None, "clouds of top cannot be deskewed.*expected a field t, found x, y, z"),
        (PointTimeSettings(), "none", "no poses; expected them to deskew its clouds: name its odometry_topic"),
    ],
)
def test_what_cannot_be_deskewed_is_refused(
    bag: Path, settings: PointTimeSettings, motion: str | None, message: str
) -> None:
    with pytest.raises(BagError, match=message):
        BagSource(bag, points_topics=["/top"], odometry_topic=motion, point_times=settings)
