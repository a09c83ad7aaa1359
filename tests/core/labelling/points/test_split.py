from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.errors import ConfigError
from lidarloop_core.labelling.points.split import (
    GAP_M,
    GAP_SHARE,
    MAX_POINTS,
    Clusterer,
    by_gaps,
    by_hdbscan,
    nearest_cluster,
)

ORIGIN = np.zeros(3)


def _blob(center: Sequence[float], size: Sequence[float], number: int, seed: int = 0) -> npt.NDArray[Any]:
    return np.array(center) + np.random.default_rng(seed).uniform(-0.5, 0.5, (number, 3)) * size


def _kept(parts: list[npt.NDArray[Any]], **options: Any) -> list[float]:
    """Share of each part that is kept."""
    kept = nearest_cluster(np.concatenate(parts), ORIGIN, **options)
    return [float(part.mean()) for part in np.split(kept, np.cumsum([len(p) for p in parts])[:-1])]


CAR = _blob((15.0, 0.0, -1.0), (3.0, 1.8, 1.4), 190)


@pytest.mark.parametrize("clusterer", [by_gaps, by_hdbscan])
def test_the_wall_behind_goes(clusterer: Clusterer) -> None:
    wall = _blob((26.0, 0.0, 0.0), (0.3, 6.0, 2.0), 90, 1)
    car, behind = _kept([CAR, wall], clusterer=clusterer)
    assert car > 0.9
    assert behind == 0.0


def test_a_post_at_the_edge_in_front_goes() -> None:
    post = _blob((9.0, 0.8, -0.7), (0.1, 0.1, 1.2), 12, 2)
    assert _kept([CAR, post]) == [1.0, 0.0]


def test_of_two_alike_the_nearer_stays() -> None:
    far = _blob((24.0, 0.0, -1.0), (1.0, 1.8, 1.4), 80, 4)
    assert _kept([far, _blob((15.0, 0.0, -1.0), (1.0, 1.8, 1.4), 80, 3)]) == [0.0, 1.0]


def test_a_few_near_points_are_no_object() -> None:
    crumbs = _blob((14.0, 1.6, -0.2), (0.05, 0.05, 0.05), 2, 5)
    assert _kept([_blob((24.0, 0.0, -1.0), (3.0, 3.0, 1.4), 80, 4), crumbs]) == [1.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(range_m=st.floats(5, 60), bearing=st.floats(-3.1, 3.1), number=st.integers(1, 60))
def test_one_object_stays_in_one_cluster(range_m: float, bearing: float, number: int) -> None:
    """Points along the side of a car, as far apart as any LiDAR's, are one."""
    along = np.linspace(-2.2, 2.2, 12)
    side = np.column_stack([np.full(12, range_m), along, np.full(12, -1.0)])
    turn = np.array([[np.cos(bearing), -np.sin(bearing)], [np.sin(bearing), np.cos(bearing)]])
    points = np.repeat(side, number, axis=0)[: 12 * number]
    points[:, :2] = points[:, :2] @ turn.T
    assert nearest_cluster(points, ORIGIN).all()


@pytest.mark.parametrize("range_m", [8.0, 50.0])
def test_gaps_grow_with_range(range_m: float) -> None:
    reach = GAP_M + GAP_SHARE * range_m
    for step, one in ((0.97 * reach, True), (1.03 * reach, False)):
        row = np.array([[range_m, 0.0, 0.0], [range_m, step, 0.0]])
        labels = by_gaps(row, ORIGIN)
        assert (labels[0] == labels[1]) == one


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), number=st.integers(1, 60))
def test_single_linkage_agrees_with_scipy(seed: int, number: int) -> None:
    from scipy.cluster.hierarchy import fcluster, linkage

    points = np.random.default_rng(seed).uniform(-4, 4, (number, 3))
    far = np.array([-3000.0, 0.0, 0.0])  # from where all points are at about the same range
    labels = by_gaps(points, far)
    if number > 1:
        reach = GAP_M + GAP_SHARE * np.linalg.norm(points - far, axis=1).mean()
        other = fcluster(linkage(points * (1, 1, 0.4), "single"), reach, "distance")
        pairs = labels[:, None] == labels
        assert (pairs != (other[:, None] == other)).mean() < 0.02  # ranges differ a little


def test_many_points_are_thinned_and_all_answered() -> None:
    rear, wall = _blob((15.0, 0.0, -1.0), (0.3, 1.8, 1.4), 3000), _blob((26.0, 0.0, 0.0), (0.3, 6.0, 2.0), 2000, 1)
    assert len(rear) + len(wall) > 10 * MAX_POINTS
    assert _kept([rear, wall]) == [1.0, 0.0]


def test_order_does_not_matter() -> None:
    points = np.concatenate([CAR, _blob((26.0, 0.0, 0.0), (0.3, 6.0, 2.0), 90, 1)])
    order = np.random.default_rng(0).permutation(len(points))
    np.testing.assert_array_equal(nearest_cluster(points[order], ORIGIN), nearest_cluster(points, ORIGIN)[order])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_hardly_any_points_stay(number: int) -> None:
    assert nearest_cluster(np.ones((number, 5), np.float32), ORIGIN).tolist() == [True] * number
    assert nearest_cluster(np.ones((number, 3)), ORIGIN, by_hdbscan).tolist() == [True] * number


def test_without_scikit_learn_hdbscan_is_refused_and_gaps_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    assert nearest_cluster(CAR, ORIGIN).all()
    with pytest.raises(ConfigError, match=r"scikit-learn.*lidarloop_core\[labelling\]"):
        nearest_cluster(CAR, ORIGIN, by_hdbscan)
