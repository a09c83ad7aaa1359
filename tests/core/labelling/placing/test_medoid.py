"""The medoid is that of all distances, without all distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from lidarloop_core.labelling.placing.medoid import medoid


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 60), st.just(3)),
        elements=st.floats(-100, 100, width=32),
    )
)
def test_equals_brute_force(points: np.ndarray) -> None:
    sums = cdist(points.astype(np.float64), points.astype(np.float64)).sum(axis=0)
    assert sums[medoid(points)] <= sums.min() * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("shape", ["box", "plane", "line", "two clusters", "far away"])
def test_equals_brute_force_for_thousands(shape: str) -> None:
    random = np.random.default_rng(3)
    points = random.uniform(-1, 1, (3000, 3)) * (2.0, 0.9, 0.7)
    if shape == "plane":
        points[:, 0] = 5.0
    elif shape == "line":
        points[:, :2] = 0.0
    elif shape == "two clusters":
        points[:1200] += (30.0, 0.0, 0.0)
    elif shape == "far away":
        points += (4e5, 5e6, 40.0)
    sums = cdist(points, points).sum(axis=0)
    assert sums[medoid(points)] == pytest.approx(sums.min(), rel=1e-9)


def test_is_not_dragged_along_by_outliers() -> None:
    cluster = np.random.default_rng(0).normal(size=(50, 3)) * 0.1
    background = np.full((20, 3), 40.0)
    points = np.concatenate([background, cluster])
    assert np.linalg.norm(points[medoid(points)]) < 0.5
    assert np.linalg.norm(points.mean(axis=0)) > 10


def test_of_one_and_of_equal_points() -> None:
    assert medoid(np.array([[1.0, 2.0, 3.0]])) == 0
    assert medoid(np.zeros((5, 3))) in range(5)
