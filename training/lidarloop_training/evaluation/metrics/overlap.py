"""Overlap of boxes in space, for the metrics that match by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.iou import bev_iou

FloatArray = npt.NDArray[np.float64]


def bev_and_3d_iou(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """Intersection over union of upright boxes, in the ground plane and in space.

    Args:
        a: (N, ≥7) box columns.
        b: (M, ≥7) box columns, in the same frame.

    Returns:
        Two arrays (N, M) in [0, 1].
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    flat = bev_iou(a, b)
    areas = (a[:, 3] * a[:, 4])[:, None] + (b[:, 3] * b[:, 4])[None]
    common_area = flat * areas / (1.0 + flat)
    top = np.minimum((a[:, 2] + a[:, 5] / 2)[:, None], (b[:, 2] + b[:, 5] / 2)[None])
    bottom = np.maximum((a[:, 2] - a[:, 5] / 2)[:, None], (b[:, 2] - b[:, 5] / 2)[None])
    common = common_area * np.clip(top - bottom, 0.0, None)
    union = a[:, 3:6].prod(axis=1)[:, None] + b[:, 3:6].prod(axis=1)[None] - common
    return flat, np.divide(common, union, out=np.zeros_like(common), where=union > 0)
