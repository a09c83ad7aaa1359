"""One label per object: class by class, the best of those too close to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.iou import nms_circle

CIRCLE_SQUARED_M2 = {
    "car": 4.0,
    "truck": 12.0,
    "bus": 10.0,
    "trailer": 10.0,
    "construction_vehicle": 12.0,
    "pedestrian": 0.175,
    "motorcycle": 0.85,
    "bicycle": 0.85,
    "traffic_cone": 0.175,
    "barrier": 1.0,
}
"""Squared distances of centres, as in CM3D's code, which has them from CenterPoint's."""


def circle_radii(class_names: Sequence[str], sizes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(C,) metres within which two centres of a class are one object's.

    Classes the authors have no number for get half the area of their box's footprint as the squared distance, which is
    about what the authors' numbers are for theirs.

    Args:
        sizes: (C, 3) shape priors: length, width, height.
    """
    footprint = sizes[:, 0] * sizes[:, 1] / 2
    squared = [CIRCLE_SQUARED_M2.get(name, area) for name, area in zip(class_names, footprint, strict=True)]
    return np.sqrt(np.array(squared, np.float64))


def nms_2d(
    boxes: npt.NDArray[Any], scores: npt.NDArray[Any], labels: npt.NDArray[Any], iou_threshold: float
) -> npt.NDArray[np.int64]:
    """Indices, ascending, of the upright boxes that stay: none overlaps a better one of its class by more.

    Args:
        boxes: (M, 4) x_min, y_min, x_max, y_max.
        scores: (M,).
        labels: (M,).
        iou_threshold: intersection over union above which the weaker goes.
    """

    def best(chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return _suppress(_iou(boxes[chosen].astype(np.float64)), scores[chosen], iou_threshold)

    return _class_wise(labels, best)


def nms_circles(
    xy: npt.NDArray[Any], scores: npt.NDArray[Any], labels: npt.NDArray[Any], radii_m: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """Indices, ascending, of the centres that stay: none lies within its class's radius of a better one of its class.

    Args:
        xy: (M, 2) metres.
        scores: (M,).
        labels: (M,).
        radii_m: (C,) by label, inclusive.
    """

    def best(chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return nms_circle(xy[chosen], scores[chosen], float(radii_m[labels[chosen[0]]]))

    return _class_wise(labels, best)


def _class_wise(
    labels: npt.NDArray[Any], best: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]]
) -> npt.NDArray[np.int64]:
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    kept = [chosen[best(chosen)] for chosen in members]
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)


def _iou(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(M, M) intersection over union; 0 where both have no area."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    union = area[:, None] + area[None, :] - shared
    iou: npt.NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def _suppress(iou: npt.NDArray[np.float64], scores: npt.NDArray[Any], iou_threshold: float) -> npt.NDArray[np.int64]:
    """Indices that stay, best first; of equal scores the first is the better."""
    kept: list[int] = []
    for candidate in np.argsort(-scores, kind="stable"):
        if not (iou[candidate, kept] > iou_threshold).any():
            kept.append(int(candidate))
    return np.array(kept, np.int64)
