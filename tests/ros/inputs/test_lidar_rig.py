"""Clouds of several LiDARs as one: closed forms, no DDS."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sensor_msgs.msg import PointCloud2

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.messages import cloud_message
from lidarloop_ros.inputs.lidar_rig import LidarRig
from lidarloop_ros.inputs.motion import MotionUnavailableError
from lidarloop_ros.messages.conversions import message_type

COLUMNS = ("x", "y", "z", "intensity")
MOUNTINGS = {"top": SE3.from_yaw(0.3, (1.0, 0.0, 1.8)), "left": SE3.from_yaw(1.6, (0.5, 0.9, 0.7))}
MS = 1_000_000


def world_SE3_ego(stamp: int) -> SE3:
    """10 m/s along a bend."""
    return SE3.from_yaw(0.5 * stamp * 1e-9, (10.0 * stamp * 1e-9, 0.0, 0.0))


class Poses:
    def __init__(self, *, moves: bool = True) -> None:
        self._moves = moves

    def mounting(self, frame: str) -> SE3:
        if frame not in MOUNTINGS:
            raise MotionUnavailableError(f"no transform to '{frame}'")
        return MOUNTINGS[frame]

    def motion(self, stamp: int) -> SE3:
        if not self._moves:
            raise MotionUnavailableError("no odometry")
        return world_SE3_ego(stamp)


def seen(frame: str, stamp: int, points_world: npt.ArrayLike) -> tuple[PointCloud2, npt.NDArray[np.float64]]:
    """What the LiDAR of a frame sees at a stamp of points that stand in the world."""
    world_SE3_lidar = world_SE3_ego(stamp) @ MOUNTINGS[frame]
    points = world_SE3_lidar.inverse().transform(np.asarray(points_world, float)).astype(np.float32)
    columns = {"x": points[:, 0], "y": points[:, 1], "z": points[:, 2], "intensity": np.ones(len(points), np.float32)}
    return cloud_message(columns, stamp, frame, message_type), np.column_stack([points, np.ones(len(points))])


WORLD = [[12.0, 3.0, 1.0], [5.0, -4.0, 0.5], [20.0, 8.0, 2.0]]


@pytest.mark.parametrize("delay_ms", [0, 40, -30])
def test_points_that_stand_still_coincide_after_joining(delay_ms: int) -> None:
    first, points = seen("top", 100 * MS, WORLD)
    other, _ = seen("left", (100 + delay_ms) * MS, WORLD)
    joined, problems = LidarRig(Poses(), COLUMNS, ("/left",)).joined(
        points.astype(np.float32), first.header, {"/left": other}
    )
    assert problems == ()
    np.testing.assert_allclose(joined[3:], joined[:3], atol=1e-4)


def test_a_missing_lidar_is_reported_and_the_others_are_joined() -> None:
    first, points = seen("top", 100 * MS, WORLD)
    other, _ = seen("left", 100 * MS, WORLD)
    rig = LidarRig(Poses(), COLUMNS, ("/left", "/right"))
    joined, problems = rig.joined(points.astype(np.float32), first.header, {"/left": other})
    assert len(joined) == 6
    assert problems == ("/right: no cloud in time",)


def test_without_ego_motion_lidars_are_joined_as_if_standing_still() -> None:
    first, points = seen("top", 100 * MS, WORLD)
    other, other_points = seen("left", 140 * MS, WORLD)
    rig = LidarRig(Poses(moves=False), COLUMNS, ("/left",))
    joined, problems = rig.joined(points.astype(np.float32), first.header, {"/left": other})
    still = (MOUNTINGS["top"].inverse() @ MOUNTINGS["left"]).transform(other_points[:, :3])
    np.testing.assert_allclose(joined[3:, :3], still, atol=1e-4)
    assert problems == ("/left: joined as if standing still, no odometry",)


def test_a_lidar_without_mounting_pose_or_field_is_left_out() -> None:
    first, points = seen("top", 100 * MS, WORLD)
    lost, _ = seen("left", 100 * MS, WORLD)
    lost.header.frame_id = "roof"
    bare = cloud_message({name: np.ones(2, np.float32) for name in "xyz"}, 100 * MS, "left", message_type)
    rig = LidarRig(Poses(), COLUMNS, ("/lost", "/bare"))
    joined, problems = rig.joined(points.astype(np.float32), first.header, {"/lost": lost, "/bare": bare})
    np.testing.assert_array_equal(joined, points.astype(np.float32))
    assert "roof" in problems[0]
    assert "intensity" in problems[1]
