"""Non-maximum suppression, class by class, in pictures and in the ground plane."""

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
"""Squared distances of centres, m², from CM3D's code, which takes them from CenterPoint's."""


def circle_radii(class_names: Sequence[str], sizes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(C,) metres, the distance within which two centres of a class belong to one object.

    For a class without a published number the squared distance is half the area of the prior's footprint, close to the
    published numbers of the other classes.

    Args:
        class_names: C names.
        sizes: (C, 3) shape priors: length, width, height, metres.
    """
    footprint = sizes[:, 0] * sizes[:, 1] / 2
    squared = [CIRCLE_SQUARED_M2.get(name, area) for name, area in zip(class_names, footprint, strict=True)]
    return np.sqrt(np.array(squared, np.float64))


def nms_2d(
    boxes: npt.NDArray[Any], scores: npt.NDArray[Any], labels: npt.NDArray[Any], iou_threshold: float
) -> npt.NDArray[np.int64]:
    """(K,) ascending indices of the 2D boxes kept: none overlaps a better one of its class by more than the threshold.

    Args:
        boxes: (M, 4) x_min, y_min, x_max, y_max, pixels.
        scores: (M,) scores; of equal ones the first is the better.
        labels: (M,) class indices.
        iou_threshold: IoU above which the weaker box is removed.
    """

    def best(chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return _suppress(_iou(boxes[chosen].astype(np.float64)), scores[chosen], iou_threshold)

    return _class_wise(labels, best)


def nms_circles(
    xy: npt.NDArray[Any], scores: npt.NDArray[Any], labels: npt.NDArray[Any], radii_m: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """(K,) ascending indices of the centres kept: none lies within its class's radius of a better one of its class.

    Args:
        xy: (M, 2) centres, metres.
        scores: (M,) scores; of equal ones the first is the better.
        labels: (M,) class indices.
        radii_m: (C,) radius of each class, metres, inclusive.
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
    """(M, M) intersection over union; 0 if both have no area."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    union = area[:, None] + area[None, :] - shared
    iou: npt.NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou


def _suppress(iou: npt.NDArray[np.float64], scores: npt.NDArray[Any], iou_threshold: float) -> npt.NDArray[np.int64]:
    """(K,) indices kept, best first; of equal scores the first is the better."""
    kept: list[int] = []
    for candidate in np.argsort(-scores, kind="stable"):
        if not (iou[candidate, kept] > iou_threshold).any():
            kept.append(int(candidate))
    return np.array(kept, np.int64)
