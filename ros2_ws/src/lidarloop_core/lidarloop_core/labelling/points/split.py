"""Selection of the points that belong to a mask's object, where the mask covers background or neighbours.

The points form clusters, and one of them is the object: it has many points, is near, and lies in the middle of the
mask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError

Clusterer = Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], npt.NDArray[np.int64]]
"""Points (N, 3) and the sensor's position (3,), metres → (N,) cluster numbers, -1 for none."""

MAX_POINTS = 200
"""More points are thinned evenly for clustering; the others join the nearest of these."""

GAP_M = 0.4
GAP_SHARE = 0.015
"""Points of one cluster are linked by steps no longer than ``GAP_M`` and this share of the range: LiDAR points spread
with range, so that a density fit for near objects would tear far ones apart."""

HEIGHT_SHARE = 0.4
"""Weight of a step in height: beams are further apart than the points along them."""

_HDBSCAN_SMALLEST = 3

# Tuned, as the gaps above, on points of labelled boxes of nuScenes, KITTI, Argoverse 2 and the toy town, within masks
# up to 35 % too wide.
_NEAR_POWER = 2.0  # twice as near counts like four times as many points
_ASIDE_WEIGHT = 3.0  # of a cluster at the mask's left or right end against one in its middle: like e³ times the points
_ALOFT_WEIGHT = 0.9  # of one at its upper or lower end


def nearest_cluster(
    points: npt.NDArray[Any], sensor_xyz: npt.NDArray[Any], clusterer: Clusterer | None = None
) -> npt.NDArray[np.bool_]:
    """The cluster that is most likely the mask's object.

    Args:
        points: (N, ≥3) points of the mask, metres.
        sensor_xyz: (3,) position of the sensor, metres, same frame.
        clusterer: the clustering; default ``by_gaps``.

    Returns:
        (N,) bool; all true if there is one cluster only.
    """
    if len(points) < 2:
        return np.ones(len(points), np.bool_)
    xyz = np.ascontiguousarray(points[:, :3], np.float64)
    sensor = np.asarray(sensor_xyz, np.float64)
    step = -(-len(xyz) // MAX_POINTS)
    sample = xyz[::step]
    labels = (clusterer or by_gaps)(sample, sensor)
    if labels.min() == labels.max():
        return np.ones(len(xyz), np.bool_)
    chosen: npt.NDArray[np.bool_] = labels == _most_likely(sample, sensor, labels)
    return chosen if step == 1 else _joined(xyz, sample, chosen)


def by_gaps(points: npt.NDArray[np.float64], sensor_xyz: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Single linkage with a gap that grows with range; every point is in a cluster.

    Args:
        points: (N, 3) metres.
        sensor_xyz: (3,) position of the sensor, metres.

    Returns:
        (N,) cluster numbers.
    """
    labels: npt.NDArray[np.int64] = _linked(points, sensor_xyz)
    return labels


def by_hdbscan(points: npt.NDArray[np.float64], sensor_xyz: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """HDBSCAN (Campello, Moulavi, Sander, PAKDD 2013), which finds the density of each cluster by itself.

    For comparison: on masks of labelled objects it is right less often than ``by_gaps`` and takes seven times as long.
    It estimates the density of a cluster from the points; for a LiDAR the density follows from the range.

    Args:
        points: (N, 3) metres.
        sensor_xyz: (3,) not used.

    Returns:
        (N,) cluster numbers, -1 for noise.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import HDBSCAN
    except ImportError as error:
        raise ConfigError(
            f"HDBSCAN received no usable scikit-learn ({error}); expected it installed: "
            "pip install 'lidarloop_core[labelling]'; or cluster by gaps"
        ) from None
    if len(points) < _HDBSCAN_SMALLEST:
        return np.zeros(len(points), np.int64)
    smallest = max(_HDBSCAN_SMALLEST, len(points) // 10)
    model = HDBSCAN(smallest, min_samples=3, cluster_selection_epsilon=GAP_M, allow_single_cluster=True, copy=True)
    labels: npt.NDArray[np.int64] = model.fit_predict(points * (1.0, 1.0, HEIGHT_SHARE))
    return labels


@numba.njit(cache=True, nogil=True)
def _linked(points, sensor):  # type: ignore[no-untyped-def]
    n = len(points)
    parent = np.arange(n)
    for i in range(n):
        reach = GAP_M + GAP_SHARE * np.sqrt(np.square(points[i] - sensor).sum())
        for j in range(i):
            dx, dy = points[i, 0] - points[j, 0], points[i, 1] - points[j, 1]
            dz = HEIGHT_SHARE * (points[i, 2] - points[j, 2])
            if dx * dx + dy * dy + dz * dz <= reach * reach:
                a, b = i, j
                while parent[a] != a:
                    a = parent[a]
                while parent[b] != b:
                    b = parent[b]
                parent[max(a, b)] = min(a, b)
    labels = np.empty(n, np.int64)
    for i in range(n):  # parents come first
        labels[i] = i if parent[i] == i else labels[parent[i]]
    return labels


def _most_likely(
    points: npt.NDArray[np.float64], sensor: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> int:
    seen = points - sensor
    ranges = np.linalg.norm(seen, axis=1)
    ahead = seen.mean(axis=0)
    bearing = np.arctan2(seen[:, 1] * ahead[0] - seen[:, 0] * ahead[1], seen[:, 0] * ahead[0] + seen[:, 1] * ahead[1])
    aside, aloft = _from_middle(bearing), _from_middle(np.arctan2(seen[:, 2], np.hypot(seen[:, 0], seen[:, 1])))
    best, best_score = -1, -np.inf
    for label in np.unique(labels[labels >= 0]):
        own = labels == label
        score = np.log(own.sum()) - _NEAR_POWER * np.log(np.median(ranges[own]))
        score -= _ASIDE_WEIGHT * np.median(aside[own]) ** 2 + _ALOFT_WEIGHT * np.median(aloft[own]) ** 2
        if score > best_score:
            best, best_score = int(label), score
    return best


def _from_middle(angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N,) the angles scaled to -1 … 1 over their range."""
    low, high = angles.min(), angles.max()
    scaled: npt.NDArray[np.float64] = (2 * angles - low - high) / max(high - low, 1e-9)
    return scaled


@numba.njit(cache=True, nogil=True)
def _joined(points, sample, chosen):  # type: ignore[no-untyped-def]
    """(N,) bool, whether the nearest point of the sample is chosen."""
    joined = np.empty(len(points), np.bool_)
    for i in range(len(points)):
        nearest, nearest_squared = 0, np.inf
        for j in range(len(sample)):
            dx, dy = points[i, 0] - sample[j, 0], points[i, 1] - sample[j, 1]
            dz = HEIGHT_SHARE * (points[i, 2] - sample[j, 2])
            squared = dx * dx + dy * dy + dz * dz
            if squared < nearest_squared:
                nearest, nearest_squared = j, squared
        joined[i] = chosen[nearest]
    return joined
