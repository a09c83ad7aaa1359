"""Extents of an object along the axes of its box, from the LiDAR points of many frames.

An extent has a low and a high bound. The bound that faces the LiDAR is where the points stop. The other one is where
they stop too, if the face along the axis was seen from the side; else it follows from the expected size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.refining.points import Looks

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MIN_POINTS = 4
"""Least number of points in a frame that give an extent."""

_MANY_POINTS = 15
_TRIM = 50  # of this many points of a frame the outermost on each side is ignored
_BROAD = 0.35  # sine of the angle between axis and line of sight from which the far bound is visible
_EDGE_M = 0.2  # standard deviation of a bound that faces the LiDAR
_FAR_EDGE_M = 0.25  # and of one that does not
_SMALLEST, _LARGEST = 0.6, 1.6  # as a share of the expected size
_SURE_FRAMES = 3
_MIN_WEIGHT = 0.1
_GAP_M = 0.7  # wider gaps separate objects


@dataclass(frozen=True)
class Extents:
    """Extent of an object along one axis in each of T frames, in the frame of its box.

    Attributes:
        low, high: (T,) bounds of the points, metres; NaN if there are too few.
        faces: (T,) 1 if the high bound faces the LiDAR, -1 if the low one does, 0 if neither.
        broad: (T,) bool, whether both bounds are visible.
        weight: (T,) weight of each frame, in [0, 1].
    """

    low: FloatArray
    high: FloatArray
    faces: FloatArray
    broad: BoolArray
    weight: FloatArray


def extents(looks: Looks, axis: int) -> Extents:
    """The extents along axis 0, the length, or 1, the width."""
    num_frames = len(looks.sensor)
    points, frames = _largest_runs(looks, axis)
    count = np.bincount(frames, minlength=num_frames)
    start = np.cumsum(count) - count
    trim = count // _TRIM
    low, high = np.full(num_frames, np.nan), np.full(num_frames, np.nan)
    enough = np.flatnonzero(count >= MIN_POINTS)
    low[enough] = points[start[enough] + trim[enough]]
    high[enough] = points[start[enough] + count[enough] - 1 - trim[enough]]
    place = looks.sensor[:, axis]
    with np.errstate(invalid="ignore"):
        faces = np.where(place > high, 1.0, np.where(place < low, -1.0, 0.0))
    distance = np.maximum(np.linalg.norm(looks.sensor, axis=1), 1e-6)
    sine = np.abs(looks.sensor[:, 1 - axis]) / distance
    broad = (sine > _BROAD) & (count >= _MANY_POINTS)
    return Extents(low, high, faces, broad, count / (count + 10.0) / (1 + (distance / 15.0) ** 2))


def _largest_runs(looks: Looks, axis: int) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Coordinates and frames of the points, ascending: in each frame those of the largest run without a gap."""
    order = np.lexsort((looks.points[:, axis], looks.frame))
    along, frame = looks.points[order, axis], looks.frame[order]
    apart = (np.diff(along, prepend=np.inf) > _GAP_M) | (np.diff(frame, prepend=-1) != 0)
    run = np.cumsum(apart) - 1
    size = np.bincount(run)
    largest = np.zeros(len(looks.sensor), np.int64)
    np.maximum.at(largest, frame, size[run])
    # Of two runs of one size both stay: either may be the object.
    kept = size[run] == largest[frame]
    return along[kept], frame[kept]


def standing_extent(seen: Extents, prior_m: float) -> tuple[float, float] | None:
    """Low and high bound of a standing object along one axis, metres; None if the points do not give them.

    Args:
        seen: its extents, all in one frame.
        prior_m: expected size along the axis, metres.
    """
    known = np.isfinite(seen.low) & (seen.weight > _MIN_WEIGHT)
    low = _reach_of(-seen.low, seen, known, -1.0)
    high = _reach_of(seen.high, seen, known, 1.0)
    if low is not None and high is not None:
        return (-low, high) if fits(high + low, prior_m) else None
    if high is not None:
        return high - prior_m, high
    if low is not None:
        return -low, -low + prior_m
    return None


def _reach_of(reach: FloatArray, seen: Extents, known: BoolArray, side: float) -> float | None:
    """Bound of an object on one side, metres; None if no frame shows it."""
    facing = known & (seen.faces == side)
    if facing.sum() >= _SURE_FRAMES:
        return _quantile(reach[facing], seen.weight[facing], 0.9)
    broad = known & seen.broad
    if broad.sum() >= _SURE_FRAMES:
        return _quantile(reach[broad], seen.weight[broad], 0.9)
    return None


def moving_size(seen: Extents, prior_m: float) -> float:
    """Size along one axis of a moving object, metres; ``prior_m`` if too few frames show both bounds."""
    broad = np.isfinite(seen.low) & seen.broad
    if broad.sum() < _SURE_FRAMES:
        return prior_m
    size = _quantile(seen.high[broad] - seen.low[broad], seen.weight[broad], 0.8)
    return size if fits(size, prior_m) else prior_m


def moving_middle(seen: Extents, size_m: float) -> tuple[FloatArray, FloatArray]:
    """(T,) middle along one axis in each frame, metres, NaN if unknown; and (T,) its standard deviation, metres."""
    from_high, from_low = seen.high - size_m / 2, seen.low + size_m / 2
    middle = np.where(seen.faces > 0, from_high, np.where(seen.faces < 0, from_low, (from_high + from_low) / 2))
    missing = np.maximum(size_m - (seen.high - seen.low), 0.0)
    blur = np.where(seen.faces != 0, _EDGE_M, np.where(seen.broad, _FAR_EDGE_M, 0.0) + missing / 4)
    return middle, np.hypot(blur, _EDGE_M)


def top_of(looks: Looks) -> float | None:
    """Height of an object's top above the middle of its box, metres; None if no frame shows it."""
    count = looks.count()
    rich = np.flatnonzero(count >= _MANY_POINTS)
    if len(rich) < _SURE_FRAMES:
        return None
    tops = np.array([np.quantile(looks.points[looks.frame == frame, 2], 0.98) for frame in rich])
    return float(np.quantile(tops, 0.8))


def fits(size_m: float, prior_m: float) -> bool:
    """Whether a size is plausible for an expected size, both in metres."""
    return _SMALLEST < size_m / prior_m < _LARGEST


def _quantile(values: FloatArray, weights: npt.NDArray[Any], share: float) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, share * reached[-1])])
