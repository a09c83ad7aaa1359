"""The points around the seeds that give initial units their context."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree


def nearest_points(xyz: npt.NDArray[Any], seeds: npt.NDArray[np.int64], num_neighbours: int) -> npt.NDArray[np.int32]:
    """The nearest points of each seed, itself among them; a point near several seeds belongs to the nearest.

    Args:
        xyz: (M, 3) metres.
        seeds: (K,) indices of the seeds, at different places.
        num_neighbours: number of nearest points of each seed.

    Returns:
        (M,) int32, position in ``seeds`` of each point's seed, -1 for none.
    """
    if not len(seeds):
        return np.full(len(xyz), -1, np.int32)
    k = min(num_neighbours, len(xyz))
    distance, point = cKDTree(xyz, balanced_tree=False).query(xyz[seeds], k)
    return _nearest_seed(np.repeat(np.arange(len(seeds)), k), point.ravel(), distance.ravel(), seeds, len(xyz))


def points_of_pillars(xyz: npt.NDArray[Any], seeds: npt.NDArray[np.int64], side_m: float) -> npt.NDArray[np.int32]:
    """All points in the square pillar around each seed; a point in several belongs to the seed nearest in the plane.

    Args:
        xyz: (M, ≥2) metres.
        seeds: (K,) indices of the seeds, at different places in the plane.
        side_m: side of the pillars, metres.

    Returns:
        (M,) int32, position in ``seeds`` of each point's seed, -1 for none.
    """
    if not len(seeds):
        return np.full(len(xyz), -1, np.int32)
    xy = np.asarray(xyz[:, :2], np.float64)
    found = cKDTree(xy, balanced_tree=False).query_ball_point(xy[seeds], side_m / 2, p=np.inf)
    point = np.concatenate(found).astype(np.int64)
    seed = np.repeat(np.arange(len(seeds)), [len(own) for own in found])
    distance = np.linalg.norm(xy[point] - xy[seeds[seed]], axis=1)
    return _nearest_seed(seed, point, distance, seeds, len(xyz))


def _nearest_seed(
    seed: npt.NDArray[np.int64],
    point: npt.NDArray[np.int64],
    distance: npt.NDArray[np.float64],
    seeds: npt.NDArray[np.int64],
    num_points: int,
) -> npt.NDArray[np.int32]:
    """(M,) int32, seed of each point of pairs (seed, point); of equally near seeds the first."""
    order = np.lexsort((seed, distance))[::-1]  # the last assignment stays
    nearest = np.full(num_points, -1, np.int32)
    nearest[point[order]] = seed[order]
    nearest[seeds] = np.arange(len(seeds))
    return nearest
