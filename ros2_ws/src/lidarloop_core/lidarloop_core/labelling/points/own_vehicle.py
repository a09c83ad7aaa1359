"""Returns from the vehicle that carries the LiDAR."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.lifting_config import LiftingConfig


def without_own_vehicle(
    points: npt.NDArray[np.float32], half_width_m: float = LiftingConfig.ego_half_width_m
) -> npt.NDArray[np.float32]:
    """The points off the vehicle. Points that are not finite, which some drivers send, go too.

    Args:
        points: (N, ≥3) float32, metres, LiDAR frame.
        half_width_m: points nearer to the LiDAR than this, in x and in y, belong to the vehicle itself.
    """
    near = (np.abs(points[:, 0]) < half_width_m) & (np.abs(points[:, 1]) < half_width_m)
    kept: npt.NDArray[np.float32] = points[~near & np.isfinite(points[:, :3]).all(axis=1)]
    return kept
