"""Robust estimates from many observations of one object."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_ROUNDS = 30
_AS_NEAR_M = 1e-3


def geometric_median(points: FloatArray, weights: FloatArray) -> FloatArray:
    """(D,) the point with the least weighted sum of distances to (N, D) points, with weights (N,).

    Half of the points may be outliers. Weiszfeld's iteration; unlike a median of each coordinate the result rotates
    with the points.
    """
    middle: FloatArray = np.average(points, axis=0, weights=weights)
    for _ in range(_ROUNDS):
        pull = weights / np.maximum(np.linalg.norm(points - middle, axis=1), _AS_NEAR_M)
        moved = pull @ points / pull.sum()
        if np.abs(moved - middle).max() < _AS_NEAR_M:
            return np.asarray(moved)
        middle = moved
    return middle


def weighted_median(values: FloatArray, weights: FloatArray) -> FloatArray:
    """(D,) the median of each column of (N, D) values, with weights (N,)."""
    order = np.argsort(values, axis=0, kind="stable")
    reached = np.cumsum(weights[order], axis=0) >= weights.sum() / 2
    return np.asarray(np.take_along_axis(values, order, axis=0)[reached.argmax(axis=0), np.arange(values.shape[1])])


def axis_of(yaws_rad: FloatArray, weights: FloatArray) -> float:
    """The axis of (N,) headings, radians in [-π/2, π/2): the geometric median of the directions with doubled angles."""
    doubled = np.column_stack([np.cos(2 * yaws_rad), np.sin(2 * yaws_rad)])
    middle = geometric_median(doubled, weights)
    return float(np.arctan2(middle[1], middle[0]) / 2)


def front_of(axis_rad: float, yaws_rad: FloatArray, weights: FloatArray) -> float:
    """The one of the two headings along an axis with most of the weight of (N,) headings, radians."""
    votes = float((weights * np.sign(np.cos(yaws_rad - axis_rad))).sum())
    return axis_rad if votes >= 0 else axis_rad + np.pi


def vote(labels: IntArray, weights: FloatArray, num_classes: int) -> tuple[int, FloatArray]:
    """The class with most weight among (N,) labels, and the share of each class (C,)."""
    if weights.sum() <= 0:
        weights = np.ones(len(labels))
    sums = np.bincount(labels, weights=weights, minlength=num_classes)
    shares: FloatArray = sums / sums.sum()
    return int(shares.argmax()), shares


def precision(range_m: FloatArray, quality: FloatArray, num_points: npt.NDArray[Any]) -> FloatArray:
    """(N,) weight of each observation, in (0, 1]: near ones with many points weigh most.

    Args:
        range_m: (N,) distances from the LiDAR, metres.
        quality: (N,) qualities of the labels, in [0, 1].
        num_points: (N,) numbers of LiDAR points.
    """
    near = 1.0 / (1.0 + (range_m / 15.0) ** 2)
    many = num_points / (num_points + 10.0)
    return np.asarray(np.maximum(quality, 0.05) * near * np.maximum(many, 0.05))
