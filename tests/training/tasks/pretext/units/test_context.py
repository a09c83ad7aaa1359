from __future__ import annotations

import numpy as np
import pytest

from lidarloop_training.tasks.pretext.units.context import nearest_points, points_of_pillars

SEEDS = np.array([3, 17, 40, 71])


@pytest.fixture
def xyz() -> np.ndarray:
    return np.random.default_rng(0).uniform(-2, 2, (120, 3)).astype(np.float32)


def test_each_seed_has_its_nearest_points(xyz: np.ndarray) -> None:
    distance = np.linalg.norm(xyz[:, None] - xyz[SEEDS], axis=2)
    near = distance <= np.sort(distance, axis=0)[7]
    expected = np.where(near.any(axis=1), np.where(near, distance, np.inf).argmin(axis=1), -1)
    found = nearest_points(xyz, SEEDS, 8)
    np.testing.assert_array_equal(found, expected)
    assert found[SEEDS].tolist() == [0, 1, 2, 3]


def test_a_pillar_holds_all_points_in_its_square_at_any_height(xyz: np.ndarray) -> None:
    off = xyz[:, None, :2] - xyz[SEEDS, :2]
    inside = (np.abs(off) <= 0.6).all(axis=2)
    expected = np.where(inside.any(axis=1), np.where(inside, np.linalg.norm(off, axis=2), np.inf).argmin(axis=1), -1)
    np.testing.assert_array_equal(points_of_pillars(xyz, SEEDS, 1.2), expected)


def test_a_point_between_two_seeds_belongs_to_the_first() -> None:
    xyz = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], np.float32)
    seeds = np.array([2, 0])
    assert nearest_points(xyz, seeds, 3).tolist() == [1, 0, 0]
    assert points_of_pillars(xyz, seeds, 2.0).tolist() == [1, 0, 0]


def test_fewer_points_than_neighbours_and_no_seeds() -> None:
    xyz = np.zeros((1, 3), np.float32)
    assert nearest_points(xyz, np.array([0]), 16).tolist() == [0]
    none = np.zeros(0, np.int64)
    assert nearest_points(xyz, none, 16).tolist() == [-1]
    assert points_of_pillars(xyz, none, 1.0).tolist() == [-1]
