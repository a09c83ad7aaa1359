from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lidarloop_core.errors import CloudFormatError, DatasetError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.pointcloud.sweeps import merge_sweeps, network_points
from lidarloop_core.sample import Sweep

COLUMNS = ("x", "y", "z", "intensity")
EGO_SE3_LIDAR = SE3.from_yaw(0.3, (0.9, 0.0, 1.84))


def sweep(stamp_ns: int, world_SE3_ego: SE3 | None, points: np.ndarray) -> Sweep:
    return Sweep(points.astype(np.float32), COLUMNS, stamp_ns, EGO_SE3_LIDAR, world_SE3_ego)


def seen_from(world_SE3_ego: SE3, world_points: np.ndarray) -> np.ndarray:
    lidar_SE3_world = (world_SE3_ego @ EGO_SE3_LIDAR).inverse()
    return np.hstack([lidar_SE3_world.transform(world_points), np.full((len(world_points), 1), 7.0)])


def test_a_standing_object_lies_on_itself_whatever_the_ego_motion() -> None:
    """Far from the world's origin, so that a float32 detour through world coordinates would show."""
    world_points = np.random.default_rng(0).normal(size=(20, 3)) * 10 + (4e5, -3e5, 0)
    poses = [SE3.from_yaw(0.1 * i, (4e5 - 2.0 * i, -3e5 + 0.5 * i, 0.1 * i)) for i in range(3)]
    sweeps = [sweep(1_000_000_000 - i * 100_000_000, p, seen_from(p, world_points)) for i, p in enumerate(poses)]
    merged = merge_sweeps(sweeps, ("x", "y", "z", "intensity", "dt"))
    assert merged.shape == (60, 5)
    assert merged.dtype == np.float32
    np.testing.assert_allclose(merged[20:40, :3], merged[:20, :3], atol=1e-4)
    np.testing.assert_allclose(merged[40:, :3], merged[:20, :3], atol=1e-4)
    np.testing.assert_allclose(merged[::20, 4], [0.0, 0.1, 0.2])
    assert (merged[:, 3] == 7).all()


def test_the_newest_sweep_is_not_touched() -> None:
    points = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    merged = merge_sweeps([sweep(5, None, points)], ("x", "y", "z", "dt", "intensity"))
    np.testing.assert_array_equal(merged[:, [0, 1, 2, 4]], points)
    assert (merged[:, 3] == 0).all()


def test_ages_within_a_sweep_are_added() -> None:
    points = np.array([[0, 0, 0, 0.01], [0, 0, 0, 0.02]], np.float32)
    old = Sweep(points, ("x", "y", "z", "dt"), 0, EGO_SE3_LIDAR, SE3.identity())
    new = dataclasses.replace(old, stamp_ns=100_000_000)
    np.testing.assert_allclose(merge_sweeps([new, old], ("x", "y", "z", "dt"))[:, 3], [0.01, 0.02, 0.11, 0.12])


def test_a_network_is_given_what_the_vehicle_would_decode() -> None:
    """Each sweep is guarded in its own frame, where no return is at (0, 0, 0), and only in the columns taken."""
    rows = [[1, 2, 3, 10, np.nan], [0, 0, 0, 10, 0], [np.nan, 2, 3, 10, 0], [1, 2, 3, np.inf, 0], [4, 5, 6, 1e6, 0]]
    points = np.array(rows, np.float32)
    new = Sweep(points, (*COLUMNS, "label"), 100_000_000, EGO_SE3_LIDAR, SE3.identity())
    old = dataclasses.replace(new, stamp_ns=0)
    found = network_points([new, old], ("x", "y", "z", "dt", "intensity"), {"intensity": (0.0, 255.0)})
    one = np.array([[1, 2, 3, 0, 10], [4, 5, 6, 0, 255]])
    np.testing.assert_allclose(found, np.vstack([one, one + np.array([0, 0, 0, 0.1, 0])]), atol=1e-6)


def test_refusals() -> None:
    points = np.zeros((1, 4))
    with pytest.raises(CloudFormatError, match="lacks column ring; found x, y, z, intensity"):
        merge_sweeps([sweep(0, None, points)], ("x", "y", "z", "ring"))
    with pytest.raises(DatasetError, match="without ego-motion"):
        merge_sweeps([sweep(1, None, points), sweep(0, None, points)], COLUMNS)
    with pytest.raises(DatasetError, match="newest first"):
        merge_sweeps([sweep(0, SE3.identity(), points), sweep(1, SE3.identity(), points)], COLUMNS)
