from __future__ import annotations

import numpy as np
import pytest

from lidarloop_training.tasks.pretext.units.sampling import farthest_points


def by_definition(xy: np.ndarray, num_points: int, first: int) -> list[int]:
    chosen = [first]
    while len(chosen) < min(num_points, len(xy)):
        nearest = np.square(xy[:, None] - xy[chosen]).sum(axis=2).min(axis=1)
        if nearest.max() == 0:
            break
        chosen.append(int(nearest.argmax()))
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_order_of_choice_is_that_of_the_definition(seed: int) -> None:
    """On a grid of whole numbers, where many distances are equal and exact."""
    rng = np.random.default_rng(seed)
    xy = rng.integers(0, 20, (200, 2)).astype(np.float32)
    assert farthest_points(xy, 60, first=seed).tolist() == by_definition(xy, 60, seed)


def test_corners_and_middle_of_a_square_come_first() -> None:
    xy = np.array([[0, 0], [1, 1], [5, 5], [10, 0], [10, 10], [0, 10]], np.float32)
    assert farthest_points(xy, 5).tolist() == [0, 4, 3, 5, 2]


def test_each_place_is_chosen_once() -> None:
    xy = np.array([[0, 0], [3, 4], [0, 0], [3, 4], [0, 1]], np.float32)
    assert farthest_points(xy, 5).tolist() == [0, 1, 4]


def test_more_points_than_there_are_and_none() -> None:
    assert sorted(farthest_points(np.eye(2, dtype=np.float32), 9).tolist()) == [0, 1]
    assert farthest_points(np.zeros((0, 2), np.float32), 9).shape == (0,)


def test_height_is_left_out() -> None:
    xyz = np.array([[0, 0, 0], [1, 0, 99], [2, 0, 0]], np.float32)
    assert farthest_points(xyz, 2).tolist() == [0, 2]
