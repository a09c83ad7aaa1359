"""Equation 8 of S2M2-SSD against scipy's distances of all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

pytest.importorskip("torch")

from lidarloop_training.tasks.distillation.neighbours import nearest


@pytest.mark.parametrize("number", [1, 3, 8])
def test_weights_are_inverse_distances_to_the_nearest(number: int) -> None:
    rng = np.random.default_rng(0)
    points, centers = rng.uniform(-5, 5, (40, 3)), rng.uniform(-5, 5, (60, 3))
    features = rng.normal(size=(60, 4))
    distance = cdist(points, centers)
    order = np.argsort(distance, axis=1)[:, :number]
    weight = 1 / np.take_along_axis(distance, order, axis=1)
    expected = (features[order] * weight[:, :, None]).sum(axis=1) / weight.sum(axis=1, keepdims=True)
    found = nearest(points, centers, number)
    np.testing.assert_array_equal(found.rows, order)
    np.testing.assert_allclose((features[found.rows] * found.weight[:, :, None]).sum(axis=1), expected, rtol=1e-5)


def test_a_point_in_the_middle_of_a_voxel_has_its_features() -> None:
    centers = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    found = nearest(centers[1:2], centers, 3)
    assert found.rows[0, 0] == 1
    np.testing.assert_allclose(found.weight[0], [1, 0, 0], atol=1e-5)


def test_missing_neighbours_weigh_nothing() -> None:
    found = nearest(np.array([[0.0, 1.0]]), np.array([[0.0, 0.0], [0.0, 3.0]]), 4)
    np.testing.assert_allclose(found.weight, [[2 / 3, 1 / 3, 0, 0]], rtol=1e-6)
    assert found.rows.tolist() == [[0, 1, 0, 0]]


@pytest.mark.parametrize(("num_points", "num_voxels"), [(0, 3), (2, 0), (0, 0)])
def test_no_point_or_no_voxel_gives_weights_of_0(num_points: int, num_voxels: int) -> None:
    found = nearest(np.zeros((num_points, 3)), np.ones((num_voxels, 3)), 3)
    assert found.rows.shape == found.weight.shape == (num_points, 3)
    assert not found.weight.any()
