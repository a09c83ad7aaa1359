"""Overlap of boxes in the ground plane (bird's-eye view), and non-maximum suppression with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import bev_corners


def bev_iou(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Intersection over union of rotated rectangles.

    Args:
        a: (N, ≥7) box columns.
        b: (M, ≥7) box columns, in the same frame.

    Returns:
        (N, M) in [0, 1]; 0 where both have no area.
    """
    result: npt.NDArray[np.float64] = _iou_matrix(_rectangles(a), _corners(a), _rectangles(b), _corners(b))
    return result


def nms_rotated(values: npt.NDArray[Any], scores: npt.NDArray[Any], iou_threshold: float) -> npt.NDArray[np.int64]:
    """Greedy non-maximum suppression: a box goes if it overlaps a better one that stays by more than the threshold.

    Args:
        values: (N, ≥7) box columns.
        scores: (N,); of equal scores the first box is the better.
        iou_threshold: bird's-eye-view IoU.

    Returns:
        (K,) indices of the boxes that stay, best first.
    """
    return nms_rotated_by_label(values, scores, np.zeros(len(scores), np.int64), [iou_threshold])


def nms_rotated_by_label(
    values: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    iou_thresholds: Sequence[float],
) -> npt.NDArray[np.int64]:
    """``nms_rotated`` of each label's boxes among themselves.

    Args:
        values: (N, ≥7) box columns.
        scores: (N,); of equal scores the box of the smaller label is the better, of equal labels the first.
        labels: (N,) in 0 … L - 1.
        iou_thresholds: bird's-eye-view IoU, for each of the L labels.

    Returns:
        (K,) indices of the boxes that stay, best first.
    """
    order = np.lexsort((labels, -np.asarray(scores)))
    ordered, thresholds = np.asarray(values)[order], np.asarray(iou_thresholds, np.float64)
    stays = _suppress_overlapping(_rectangles(ordered), _corners(ordered), labels[order], thresholds)
    kept: npt.NDArray[np.int64] = order[stays]
    return kept


def nms_circle(xy: npt.NDArray[Any], scores: npt.NDArray[Any], radius_m: float) -> npt.NDArray[np.int64]:
    """Greedy suppression by distance: a centre goes if one that stays and is better lies within ``radius_m``.

    Args:
        xy: (N, 2) box centres.
        scores: (N,); of equal scores the first box is the better.
        radius_m: metres, inclusive.

    Returns:
        (K,) indices of the boxes that stay, best first.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    kept: npt.NDArray[np.int64] = order[_suppress_near(np.asarray(xy, dtype=np.float64)[order], float(radius_m))]
    return kept


def _rectangles(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(N, 4) float64: centre x, y, radius of the circle around the rectangle, area."""
    x, y, length, width = np.asarray(values, dtype=np.float64)[:, [0, 1, 3, 4]].T
    return np.stack([x, y, np.hypot(length, width) / 2, length * width], axis=1)


def _corners(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(N, 4, 2) float64, counter-clockwise."""
    corners: npt.NDArray[np.float64] = bev_corners(np.asarray(values, dtype=np.float64))
    return corners


@numba.njit(cache=True, nogil=True)
def _iou_matrix(rectangles_a, corners_a, rectangles_b, corners_b):  # type: ignore[no-untyped-def]
    iou = np.zeros((len(corners_a), len(corners_b)))
    scratch = np.empty((2, 9, 2))
    for i in range(len(corners_a)):
        for j in range(len(corners_b)):
            if _circles_touch(rectangles_a[i], rectangles_b[j]):
                iou[i, j] = _iou(rectangles_a[i], corners_a[i], rectangles_b[j], corners_b[j], scratch)
    return iou


@numba.njit(cache=True, nogil=True)
def _suppress_overlapping(rectangles, corners, labels, thresholds):  # type: ignore[no-untyped-def]
    """Boxes come best first; gives the positions that stay."""
    stays = np.ones(len(corners), np.bool_)
    scratch = np.empty((2, 9, 2))
    for i in range(len(corners)):
        if not stays[i]:
            continue
        for j in range(i + 1, len(corners)):
            if (
                stays[j]
                and labels[j] == labels[i]
                and _circles_touch(rectangles[i], rectangles[j])
                and _iou(rectangles[i], corners[i], rectangles[j], corners[j], scratch) > thresholds[labels[i]]
            ):
                stays[j] = False
    return np.flatnonzero(stays)


@numba.njit(cache=True, nogil=True)
def _suppress_near(xy, radius):  # type: ignore[no-untyped-def]
    stays = np.ones(len(xy), np.bool_)
    for i in range(len(xy)):
        if stays[i]:
            for j in range(i + 1, len(xy)):
                if (xy[i, 0] - xy[j, 0]) ** 2 + (xy[i, 1] - xy[j, 1]) ** 2 <= radius * radius:
                    stays[j] = False
    return np.flatnonzero(stays)


@numba.njit(cache=True, nogil=True)
def _circles_touch(a, b):  # type: ignore[no-untyped-def]
    """Most pairs are far apart: this finds out without a corner."""
    dx, dy, reach = a[0] - b[0], a[1] - b[1], a[2] + b[2]
    return dx * dx + dy * dy < reach * reach


@numba.njit(cache=True, nogil=True)
def _iou(a, corners_a, b, corners_b, scratch):  # type: ignore[no-untyped-def]
    intersection = _intersection_area(corners_a, corners_b, scratch)
    union = a[3] + b[3] - intersection
    return min(1.0, intersection / union) if union > 0 else 0.0


@numba.njit(cache=True, nogil=True)
def _intersection_area(a, b, scratch):  # type: ignore[no-untyped-def]
    """Area of the part of convex polygon a inside convex polygon b (Sutherland and Hodgman 1974).

    ``scratch`` is (2, 9, 2): each of the four cuts adds at most one corner to the four of a.
    """
    polygon, clipped = scratch[0], scratch[1]
    # Relative to a corner of a: far from the origin the products of coordinates would cancel badly.
    x0, y0 = a[0, 0], a[0, 1]
    size = 4
    for i in range(4):
        polygon[i, 0], polygon[i, 1] = a[i, 0] - x0, a[i, 1] - y0
    for edge in range(4):
        x, y = b[edge, 0] - x0, b[edge, 1] - y0
        dx, dy = b[(edge + 1) % 4, 0] - b[edge, 0], b[(edge + 1) % 4, 1] - b[edge, 1]
        size = _cut(polygon, size, x, y, dx, dy, clipped)
        polygon, clipped = clipped, polygon
    doubled = 0.0
    for i in range(size):
        j = i + 1 if i + 1 < size else 0
        doubled += polygon[i, 0] * polygon[j, 1] - polygon[j, 0] * polygon[i, 1]
    return abs(doubled) / 2


@numba.njit(cache=True, nogil=True)
def _cut(polygon, size, x, y, dx, dy, clipped):  # type: ignore[no-untyped-def]
    """Keeps what lies left of the line through (x, y) along (dx, dy); gives the number of corners left."""
    new_size = 0
    for i in range(size):
        j = i + 1 if i + 1 < size else 0
        side_i = dx * (polygon[i, 1] - y) - dy * (polygon[i, 0] - x)
        side_j = dx * (polygon[j, 1] - y) - dy * (polygon[j, 0] - x)
        if side_i >= 0:
            clipped[new_size, 0], clipped[new_size, 1] = polygon[i, 0], polygon[i, 1]
            new_size += 1
        if (side_i > 0 and side_j < 0) or (side_i < 0 and side_j > 0):
            t = side_i / (side_i - side_j)
            clipped[new_size, 0] = polygon[i, 0] + t * (polygon[j, 0] - polygon[i, 0])
            clipped[new_size, 1] = polygon[i, 1] + t * (polygon[j, 1] - polygon[i, 1])
            new_size += 1
    return new_size
