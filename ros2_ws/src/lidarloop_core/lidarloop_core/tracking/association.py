"""Assignment of detections to tracks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from lidarloop_core.tracking.kalman import Beliefs

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

GATE = 9.21
"""Squared Mahalanobis distance in the plane that 1 % of true pairs exceed (χ² with two degrees of freedom)."""


def squared_mahalanobis(predicted: Beliefs, measured: Beliefs, blur: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How far measurements lie from predictions in the ground plane, in standard deviations.

    Args:
        predicted, measured: estimates of P pairs.
        blur: (P, 2) metres, one standard deviation of a further error along one direction.

    Returns:
        (P,) squared distances, and (P,) logarithms of the determinants of their covariances.
    """
    spread = predicted.covariance[:, :2, :2] + measured.covariance[:, :2, :2] + blur[:, :, None] * blur[:, None, :]
    xx, xy, yy = spread[:, 0, 0], spread[:, 0, 1], spread[:, 1, 1]
    determinant = xx * yy - xy * xy
    dx, dy = (measured.mean[:, :2] - predicted.mean[:, :2]).T
    return (yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / determinant, np.log(determinant)


def assign(cost: FloatArray, allowed: npt.NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """Finds a one-to-one assignment with as many allowed pairs as possible and, among these, the least cost.

    Args:
        cost: (N, M) costs, finite where allowed.
        allowed: (N, M) bool, pairs that may be assigned.

    Returns:
        (K,) rows and (K,) columns of the pairs.
    """
    if not allowed.any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    inside = cost[allowed]
    low, high = float(inside.min()), float(inside.max())
    # A pair that is not allowed costs more than any exchange of allowed ones can save.
    forbidden = (high - low + 1.0) * (min(cost.shape) + 1)
    rows, columns = linear_sum_assignment(np.where(allowed, cost - low, forbidden))
    kept = allowed[rows, columns]
    return rows[kept].astype(np.int64), columns[kept].astype(np.int64)
