"""Deskewing against the closed form of a vehicle on a circle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.pointcloud.deskew import deskewed, motion_during
from lidarloop_core.sample import Sweep

STAMP_NS = 1_763_000_000_000_000_000
COLUMNS = ("x", "y", "z", "intensity", "time")
BASE_SE3_LIDAR = SE3.from_yaw(0.3, (1.2, 0.1, 1.8))
SPEED_MPS, TURN_RADPS = 25.0, np.radians(40)


def world_SE3_lidar(stamp_ns: int) -> SE3:
    """At 25 m/s and 40°/s on a circle far from the world's origin."""
    t, radius = (stamp_ns - STAMP_NS) * 1e-9, SPEED_MPS / TURN_RADPS
    place = (4e5 + radius * np.sin(TURN_RADPS * t), -3e5 + radius * (1 - np.cos(TURN_RADPS * t)), 0.1 * t)
    return SE3.from_yaw(TURN_RADPS * t, place) @ BASE_SE3_LIDAR


def measured(first_s: float, last_s: float) -> tuple[Sweep, npt.NDArray[np.float64]]:
    """A sweep of standing points up to 80 m away, each seen at its own time; and where they are at the stamp."""
    random = np.random.default_rng(0)
    true = random.uniform((-56, -56, -2), (56, 56, 4), (400, 3))
    times = random.uniform(first_s, last_s, 400)
    world = world_SE3_lidar(STAMP_NS).transform(true)
    seen = [
        world_SE3_lidar(STAMP_NS + round(1e9 * time)).inverse().transform(point[None])[0]
        for time, point in zip(times, world, strict=True)
    ]
    points = np.column_stack([seen, np.arange(400), times]).astype(np.float32)
    return Sweep(points, COLUMNS, STAMP_NS, BASE_SE3_LIDAR, SE3.identity()), true


@pytest.mark.parametrize(("first_s", "last_s"), [(-0.1, 0.0), (0.0, 0.1), (-0.05, 0.05), (-0.2, -0.1)])
def test_points_that_stand_still_lie_where_they_are_at_the_stamp(first_s: float, last_s: float) -> None:
    sweep, true = measured(first_s, last_s)
    found = deskewed(sweep, motion_during(world_SE3_lidar, STAMP_NS, first_s, last_s))
    error_m = np.linalg.norm(found.points[:, :3] - true, axis=1)
    before_m = np.linalg.norm(sweep.points[:, :3] - true, axis=1)
    assert before_m.mean() > 0.5
    assert error_m.mean() < 0.002
    assert error_m.max() < 0.01
    assert found.columns == COLUMNS[:4]
    np.testing.assert_array_equal(found.points[:, 3], sweep.points[:, 3])
    assert (found.stamp_ns, found.ego_SE3_lidar) == (STAMP_NS, BASE_SE3_LIDAR)


def test_without_a_motion_points_stay_bit_by_bit() -> None:
    sweep, _ = measured(-0.1, 0.0)
    before = sweep.points.copy()
    found = deskewed(sweep, None)
    np.testing.assert_array_equal(found.points, before[:, :4])
    np.testing.assert_array_equal(sweep.points, before)


def test_the_column_of_times_may_stand_anywhere() -> None:
    sweep, _ = measured(-0.1, 0.0)
    motion = motion_during(world_SE3_lidar, STAMP_NS, -0.1, 0.0)
    turned = Sweep(
        np.ascontiguousarray(sweep.points[:, [0, 1, 2, 4, 3]]),
        ("x", "y", "z", "time", "intensity"),
        STAMP_NS,
        BASE_SE3_LIDAR,
        None,
    )
    found = deskewed(turned, motion)
    assert found.columns == ("x", "y", "z", "intensity")
    np.testing.assert_array_equal(found.points, deskewed(sweep, motion).points)


def test_an_empty_sweep_stays_empty() -> None:
    empty = Sweep(np.zeros((0, 5), np.float32), COLUMNS, STAMP_NS, BASE_SE3_LIDAR, None)
    assert deskewed(empty, motion_during(world_SE3_lidar, STAMP_NS, 0.0, 0.0)).points.shape == (0, 4)


def test_times_beyond_the_motion_take_its_ends() -> None:
    motion = motion_during(world_SE3_lidar, STAMP_NS, -0.1, 0.0)
    points = np.array([[10, 0, 0, 1, -0.1], [10, 0, 0, 1, -5.0], [10, 0, 0, 1, 0.0], [10, 0, 0, 1, 5.0]], np.float32)
    found = deskewed(Sweep(points, COLUMNS, STAMP_NS, BASE_SE3_LIDAR, None), motion).points
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[3], found[2])
