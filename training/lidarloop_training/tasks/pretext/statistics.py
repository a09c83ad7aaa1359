"""What a unit looks like to the LiDAR alone: nine numbers, as targets in the place of image features.

A control: where they teach a network as much as images do, the gain is no gain of a second sensor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

NUM_STATISTICS = 9

_LONG_M = 5.0
_TALL_M = 2.0


def lidar_statistics(
    xyz: npt.NDArray[Any], intensity: npt.NDArray[Any], unit: npt.NDArray[Any], num_units: int
) -> npt.NDArray[np.float32]:
    """Statistics that do not change where a scene is turned about z, each scaled to about [-1, 1].

    Args:
        xyz: (M, 3) points of units, metres, LiDAR frame.
        intensity: (M,) from 0 to 1.
        unit: (M,) unit of each point, in 0 … U − 1; each unit has a point.
        num_units: U.

    Returns:
        (U, 9) float32: half the decimal logarithm of the number of points; lowest, mean and highest z; standard
        deviation along z, along the longest horizontal direction and across it; mean and standard deviation of the
        intensity.
    """
    xyz, intensity = np.asarray(xyz, np.float64), np.asarray(intensity, np.float64)
    count = np.bincount(unit, minlength=num_units).astype(np.float64)

    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        sums: npt.NDArray[np.float64] = np.bincount(unit, values, num_units) / count
        return sums

    center = np.column_stack([mean(column) for column in xyz.T])
    dx, dy, dz = (xyz - center[unit]).T
    low, high = np.full(num_units, np.inf), np.full(num_units, -np.inf)
    np.minimum.at(low, unit, xyz[:, 2])
    np.maximum.at(high, unit, xyz[:, 2])
    major, minor = _principal_deviations(mean(dx * dx), mean(dx * dy), mean(dy * dy))
    brightness = mean(intensity)
    contrast = np.sqrt(mean((intensity - brightness[unit]) ** 2))
    columns = [
        np.log10(count) / 2, low / _TALL_M, center[:, 2] / _TALL_M, high / _TALL_M, np.sqrt(mean(dz * dz)) / _TALL_M,
        major / _LONG_M, minor / _LONG_M, brightness, contrast,
    ]  # fmt: skip
    return np.column_stack(columns).astype(np.float32)


def _principal_deviations(
    xx: npt.NDArray[np.float64], xy: npt.NDArray[np.float64], yy: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(U,) standard deviations along and across the longest direction, metres: roots of eigenvalues."""
    middle, radius = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return np.sqrt(middle + radius), np.sqrt(np.maximum(middle - radius, 0))
