"""Which detection continues which track: the assignment that explains all of them best."""

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
        predicted, measured: of P pairs.
        blur: (P, 2) direction along which a pair may be farther apart, as long as the standard deviation.

    Returns:
        (P,) squared distances, and (P,) the logarithm of the determinant of the covariance they are measured by.
    """
    spread = predicted.covariance[:, :2, :2] + measured.covariance[:, :2, :2] + blur[:, :, None] * blur[:, None, :]
    xx, xy, yy = spread[:, 0, 0], spread[:, 0, 1], spread[:, 1, 1]
    determinant = xx * yy - xy * xy
    dx, dy = (measured.mean[:, :2] - predicted.mean[:, :2]).T
    return (yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / determinant, np.log(determinant)


def assign(cost: FloatArray, allowed: npt.NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """The pairs of a one-to-one assignment: as many of the allowed ones as can be, and of those the cheapest.

    Args:
        cost: (N, M), finite where allowed.
        allowed: (N, M).

    Returns:
        Rows and columns of the K pairs.
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
