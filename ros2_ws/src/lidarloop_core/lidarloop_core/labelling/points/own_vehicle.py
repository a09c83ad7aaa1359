"""Returns from the vehicle that carries the LiDAR."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.lifting_config import LiftingConfig


def off_own_vehicle(
    points: npt.NDArray[np.float32], half_width_m: float = LiftingConfig.ego_half_width_m
) -> npt.NDArray[np.bool_]:
    """Which points are off the vehicle. Points that are not finite, which some drivers send, are not.

    Args:
        points: (N, ≥3) float32, metres, LiDAR frame.
        half_width_m: points nearer to the LiDAR than this, in x and in y, belong to the vehicle itself.

    Returns:
        (N,) bool.
    """
    near = (np.abs(points[:, 0]) < half_width_m) & (np.abs(points[:, 1]) < half_width_m)
    off: npt.NDArray[np.bool_] = ~near & np.isfinite(points[:, :3]).all(axis=1)
    return off


def without_own_vehicle(
    points: npt.NDArray[np.float32], half_width_m: float = LiftingConfig.ego_half_width_m
) -> npt.NDArray[np.float32]:
    """The points that are ``off_own_vehicle``: (N', ≥3) of (N, ≥3) float32, metres, LiDAR frame."""
    kept: npt.NDArray[np.float32] = points[off_own_vehicle(points, half_width_m)]
    return kept
