"""Boxes on parts of walls, hedges and trees: there the points go on where an object of the class would have ended.

A mask may show a piece of a wall. Its points give a box like that of a car, but beyond the box the wall goes on, in the
plane of the face that is seen or upwards, without a gap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_GAP_M = 0.4
"""A wider gap between points along a face separates two things: cars in a row stand further apart."""

_STEP_M, _STEP_SHARE = 0.5, 0.015
"""A gap in height that separates two things, and its growth with range: beams are further apart than points."""

_PLANE_M, _PLANE_SHARE = 0.2, 0.05
"""Points of a face lie within this of its plane, and of the distance along it: headings are not exact."""

_BEYOND_M = 0.5
"""What reaches further beyond the largest object of a class is none of it."""

_EDGE_M = 0.1
_LEAST_POINTS = 6
_FOOT_M = 0.3


def in_walls(
    points: npt.NDArray[Any], boxes: npt.NDArray[Any], largest: npt.NDArray[Any], have_faces: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Whether each box is a piece of something larger than any object of its class.

    Args:
        points: (N, ≥3) points above the ground, metres, LiDAR's frame.
        boxes: (M, 9) box columns, same frame.
        largest: (M, 3) bounds of length, width and height of each box's class, metres.
        have_faces: (M,) bool, whether a class has flat sides, as vehicles do; others are judged by height alone.

    Returns:
        (M,) bool.
    """
    points = np.asarray(points)[:, :3]
    points = points[np.argsort(points[:, 0], kind="stable")].astype(np.float64)
    result = np.zeros(len(boxes), np.bool_)
    for i, (box, most, has_faces) in enumerate(zip(np.asarray(boxes, np.float64), largest, have_faces, strict=True)):
        local = _near(points, box, float(np.hypot(most[0], most[1])) + 2 * _BEYOND_M)
        sensor = _local(np.zeros((1, 3)), box)[0]
        result[i] = _is_higher(local, box[3:6], most[2], float(np.hypot(*box[:2])))
        if has_faces and not result[i]:
            result[i] = any(_is_longer(local, box[3:6], most, sensor, axis) for axis in (0, 1))
    return result


def _near(points: FloatArray, box: FloatArray, reach_m: float) -> FloatArray:
    """The points about a box, by ascending x, in its frame with the origin in the middle of its underside."""
    first, last = np.searchsorted(points[:, 0], [box[0] - reach_m, box[0] + reach_m])
    window = points[first:last]
    return _local(window[np.abs(window[:, 1] - box[1]) < reach_m], box)


def _local(points: FloatArray, box: FloatArray) -> FloatArray:
    c, s = np.cos(box[6]), np.sin(box[6])
    x, y, z = (points - box[:3]).T
    return np.column_stack([x * c + y * s, y * c - x * s, z + box[5] / 2])


def _is_higher(local: FloatArray, size: FloatArray, highest_m: float, range_m: float) -> bool:
    """Whether the points above the box's footprint reach without a gap higher than the class does."""
    within = (np.abs(local[:, :2]) < size[:2] / 2 + _EDGE_M).all(axis=1)
    heights = np.sort(local[within, 2])
    inside = int((heights < size[2]).sum())
    if inside < _LEAST_POINTS or heights[-1] < highest_m + _BEYOND_M:
        return False
    apart = np.diff(heights[inside - 1 :]) > _STEP_M + _STEP_SHARE * range_m
    return bool(heights[inside - 1 + _run(apart)] > highest_m + _BEYOND_M)


def _is_longer(local: FloatArray, size: FloatArray, most: FloatArray, sensor: FloatArray, axis: int) -> bool:
    """Whether the face along an axis that is seen is part of a plane longer than the class."""
    across = 1 - axis
    if abs(sensor[across]) < size[across] / 2:
        return False  # no face along this axis is seen
    face = np.copysign(size[across] / 2, sensor[across])
    beyond_m = np.maximum(np.abs(local[:, axis]) - size[axis] / 2, 0.0)
    on_face = np.abs(local[:, across] - face) < _PLANE_M + _PLANE_SHARE * beyond_m
    on_face &= (local[:, 2] > _FOOT_M) & (local[:, 2] < max(size[2], _FOOT_M + 1.0))
    along = np.sort(local[on_face, axis])
    inside = np.flatnonzero(np.abs(along) < size[axis] / 2)
    if len(inside) < _LEAST_POINTS:
        return False
    apart = np.diff(along) > _GAP_M
    low = along[inside[0] - _run(apart[: inside[0]][::-1])]
    high = along[inside[-1] + _run(apart[inside[-1] :])]
    return bool(high - low > most[axis] + _BEYOND_M)


def _run(apart: npt.NDArray[np.bool_]) -> int:
    """Number of steps to the first gap."""
    gaps = np.flatnonzero(apart)
    return int(gaps[0]) if len(gaps) else len(apart)
