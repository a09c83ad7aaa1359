from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lidarloop_core.tracking.association import assign, squared_mahalanobis
from lidarloop_core.tracking.kalman import Beliefs


def beliefs(random: np.random.Generator, num: int) -> Beliefs:
    root = random.normal(size=(num, 5, 5))
    return Beliefs(random.normal(size=(num, 5)) * 3, root @ root.transpose(0, 2, 1) + 0.1 * np.eye(5))


@given(st.integers(0, 1000))
def test_mahalanobis_by_the_book(seed: int) -> None:
    random = np.random.default_rng(seed)
    tracks, found, blur = beliefs(random, 5), beliefs(random, 5), random.normal(size=(5, 2))
    squared, log_determinant = squared_mahalanobis(tracks, found, blur)
    for i in range(5):
        spread = tracks.covariance[i, :2, :2] + found.covariance[i, :2, :2] + np.outer(blur[i], blur[i])
        offset = tracks.mean[i, :2] - found.mean[i, :2]
        np.testing.assert_allclose(squared[i], offset @ np.linalg.solve(spread, offset), rtol=1e-6)
        np.testing.assert_allclose(log_determinant[i], np.linalg.slogdet(spread)[1], rtol=1e-6, atol=1e-9)


def best_by_trying(cost: np.ndarray, allowed: np.ndarray) -> tuple[int, float]:
    """Number of pairs and cost of the best assignment, of all that there are."""
    num_rows, num_columns = cost.shape
    best = (0, 0.0)
    for columns in permutations(range(num_columns + num_rows), num_rows):  # columns beyond the last mean "none"
        pairs = [(i, j) for i, j in enumerate(columns) if j < num_columns and allowed[i, j]]
        candidate = (-len(pairs), float(sum(cost[i, j] for i, j in pairs)))
        best = min(best, candidate)
    return -best[0], best[1]


@given(st.integers(0, 1000), st.integers(0, 3), st.integers(0, 3), st.floats(0, 1))
def test_as_many_pairs_as_can_be_and_the_cheapest_of_them(
    seed: int, num_rows: int, num_columns: int, share: float
) -> None:
    random = np.random.default_rng(seed)
    cost = random.normal(size=(num_rows, num_columns)) * 10
    allowed = random.random((num_rows, num_columns)) < share
    rows, columns = assign(cost, allowed)
    assert len(set(rows.tolist())) == len(rows)
    assert len(set(columns.tolist())) == len(columns)
    assert allowed[rows, columns].all()
    num_pairs, total = best_by_trying(cost, allowed)
    assert len(rows) == num_pairs
    np.testing.assert_allclose(cost[rows, columns].sum(), total, atol=1e-9)
