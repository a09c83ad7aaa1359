"""Several sweeps as one cloud in the keyframe's frame."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.points.accumulate import accumulate
from lidarloop_core.labelling.pseudo_labels import LeftOut
from lidarloop_core.sample import Sweep

WORLD_POINTS = np.random.default_rng(0).uniform((70, 20, -30), (130, 80, 30), (200, 3))
EGO_SE3_LIDAR = SE3.from_yaw(-np.pi / 2, (0.9, 0.0, 1.8))


def sweep_at(age: int) -> Sweep:
    """A vehicle that drives and turns past points that stand still."""
    world_SE3_ego = SE3.from_yaw(0.3 - 0.1 * age, (100.0 - 2.0 * age, 50.0, 0.0))
    points = (world_SE3_ego @ EGO_SE3_LIDAR).inverse().transform(WORLD_POINTS).astype(np.float32)
    return Sweep(points, ("x", "y", "z"), 1000 - age, EGO_SE3_LIDAR, world_SE3_ego)


def test_what_stands_still_comes_to_lie_on_itself() -> None:
    left_out = LeftOut()
    cloud = accumulate([sweep_at(0), sweep_at(1), sweep_at(2)], 3, 0.0, left_out)
    np.testing.assert_array_equal(cloud.age, np.repeat([0, 1, 2], 200))
    for age in (1, 2):
        np.testing.assert_allclose(cloud.points[cloud.age == age], sweep_at(0).points, atol=1e-4)
    assert not +left_out.sweeps


def test_takes_no_more_than_asked_for() -> None:
    cloud = accumulate([sweep_at(0), sweep_at(1), sweep_at(2)], 2, 0.0, LeftOut())
    assert cloud.age.max() == 1


def test_points_of_the_vehicle_itself_and_broken_ones_go() -> None:
    points = np.array([[1.4, 1.4, 0], [1.4, -1.6, 0], [1.6, 0, 0], [np.nan, 5, 0], [5, np.inf, 0], [0, 0, -1]])
    sweep = Sweep(points.astype(np.float32), ("x", "y", "z"), 0, EGO_SE3_LIDAR, None)
    np.testing.assert_allclose(accumulate([sweep], 1, 1.5, LeftOut()).points, [[1.4, -1.6, 0], [1.6, 0, 0]], atol=1e-6)


def test_sweeps_that_cannot_be_used_are_counted() -> None:
    lost = replace(sweep_at(1), world_SE3_ego=None)
    empty = replace(sweep_at(2), points=np.zeros((0, 3), np.float32))
    left_out = LeftOut()
    cloud = accumulate([sweep_at(0), lost, empty], 5, 0.0, left_out)
    assert (cloud.age == 0).all()
    assert left_out.sweeps == Counter({"no ego-motion": 1, "no points in the sweep": 1, "not in the sample": 2})


def test_without_the_keyframes_pose_no_other_sweep_is_used() -> None:
    left_out = LeftOut()
    cloud = accumulate([replace(sweep_at(0), world_SE3_ego=None), sweep_at(1)], 2, 0.0, left_out)
    assert len(cloud.points) == 200
    assert left_out.sweeps["no ego-motion"] == 1


def test_an_empty_keyframe_is_an_empty_cloud() -> None:
    left_out = LeftOut()
    empty = replace(sweep_at(0), points=np.zeros((0, 3), np.float32))
    assert len(accumulate([empty], 1, 1.5, left_out).points) == 0
    assert left_out.sweeps["no points in the sweep"] == 1
