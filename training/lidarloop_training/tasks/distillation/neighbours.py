"""The voxels nearest to points, and how much of each a point is given.

Source: S2M2-SSD (Zheng et al., CVPR 2022), equation 8; the layer is PointNet++'s feature propagation (Qi et al.,
NeurIPS 2017, section 3.4), which weighs by 1/d² where equation 8 weighs by 1/d.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

_LEAST_DISTANCE_M = 1e-6


class Neighbours(NamedTuple):
    """Nearest voxels of M points.

    Attributes:
        rows: (M, k) int64, the voxels, nearest first; 0 for one that is missing.
        weight: (M, k) float32 w_ij over their sum; 0 for one that is missing.
    """

    rows: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]


def nearest(points: npt.NDArray[Any], centers: npt.NDArray[np.float64], number: int) -> Neighbours:
    """The nearest voxels of each point, weighted by the inverse of their distance.

    Args:
        points: (M, D) metres.
        centers: (V, D) middles of the voxels, metres.
        number: k; where there are fewer voxels, the rest is missing.
    """
    if not len(points) or not len(centers):
        return Neighbours(np.zeros((len(points), number), np.int64), np.zeros((len(points), number), np.float32))
    distance, index = cKDTree(centers).query(points, k=np.arange(1, number + 1))  # always (M, k)
    is_there = np.isfinite(distance)
    weight = np.where(is_there, 1 / np.maximum(distance, _LEAST_DISTANCE_M), 0)
    weight /= weight.sum(axis=1, keepdims=True)
    return Neighbours(np.where(is_there, index, 0), weight.astype(np.float32))
