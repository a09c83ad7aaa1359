"""Where an object begins and ends, from the LiDAR points of many frames.

Along each axis of its box an object has two ends. One that faces the LiDAR is where the points end. One that does not
is where they end too, if the face along the axis was looked at from aside; else it is as far off as the object is long.
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
"""Of a frame, to tell where an object ends."""

_MANY_POINTS = 15
_TRIM = 50  # of so many points of a frame the outermost on each side does not count
_BROAD = 0.35  # sine of the angle between an axis and the line of sight from which its far end shows
_EDGE_M = 0.2  # how exactly an end that faces the LiDAR shows
_FAR_EDGE_M = 0.25  # and one that does not
_SMALLEST, _LARGEST = 0.6, 1.6  # of the expected size
_SURE_FRAMES = 3
_MIN_WEIGHT = 0.1
_GAP_M = 0.7  # wider gaps part objects


@dataclass(frozen=True)
class Extents:
    """What single frames tell of one axis of an object.

    Attributes:
        low, high: (T,) where the points begin and end; NaN where there are too few.
        faces: (T,) 1 where the high end faces the LiDAR, -1 where the low end does, 0 where neither.
        broad: (T,) whether both ends show.
        weight: (T,) how much each frame counts.
    """

    low: FloatArray
    high: FloatArray
    faces: FloatArray
    broad: BoolArray
    weight: FloatArray


def extents(looks: Looks, axis: int) -> Extents:
    """Along axis 0, the length, or 1, the width."""
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
    """Coordinates and frames of the points, ascending, without what a gap sets apart from most points of a frame."""
    order = np.lexsort((looks.points[:, axis], looks.frame))
    along, frame = looks.points[order, axis], looks.frame[order]
    apart = (np.diff(along, prepend=np.inf) > _GAP_M) | (np.diff(frame, prepend=-1) != 0)
    run = np.cumsum(apart) - 1
    size = np.bincount(run)
    largest = np.zeros(len(looks.sensor), np.int64)
    np.maximum.at(largest, frame, size[run])
    # Of two runs of one size both stay: nothing tells which is the object.
    kept = size[run] == largest[frame]
    return along[kept], frame[kept]


def standing_extent(seen: Extents, prior_m: float) -> tuple[float, float] | None:
    """Where an object that stands begins and ends along one axis; None where the points do not tell.

    Args:
        seen: in a frame that stands, too.
        prior_m: expected between the ends.
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
    """How far an object reaches to one side; None where no frame shows it."""
    facing = known & (seen.faces == side)
    if facing.sum() >= _SURE_FRAMES:
        return _quantile(reach[facing], seen.weight[facing], 0.9)
    broad = known & seen.broad
    if broad.sum() >= _SURE_FRAMES:
        return _quantile(reach[broad], seen.weight[broad], 0.9)
    return None


def moving_size(seen: Extents, prior_m: float) -> float:
    """How long or wide an object is whose place is not known exactly."""
    broad = np.isfinite(seen.low) & seen.broad
    if broad.sum() < _SURE_FRAMES:
        return prior_m
    size = _quantile(seen.high[broad] - seen.low[broad], seen.weight[broad], 0.8)
    return size if fits(size, prior_m) else prior_m


def moving_middle(seen: Extents, size_m: float) -> tuple[FloatArray, FloatArray]:
    """(T,) where the object's middle is in each frame along one axis, NaN where nothing tells; and how exactly."""
    from_high, from_low = seen.high - size_m / 2, seen.low + size_m / 2
    middle = np.where(seen.faces > 0, from_high, np.where(seen.faces < 0, from_low, (from_high + from_low) / 2))
    missing = np.maximum(size_m - (seen.high - seen.low), 0.0)
    blur = np.where(seen.faces != 0, _EDGE_M, np.where(seen.broad, _FAR_EDGE_M, 0.0) + missing / 4)
    return middle, np.hypot(blur, _EDGE_M)


def top_of(looks: Looks) -> float | None:
    """How high above the middle of its box an object reaches; None where no frame shows it."""
    count = looks.count()
    rich = np.flatnonzero(count >= _MANY_POINTS)
    if len(rich) < _SURE_FRAMES:
        return None
    tops = np.array([np.quantile(looks.points[looks.frame == frame, 2], 0.98) for frame in rich])
    return float(np.quantile(tops, 0.8))


def fits(size_m: float, prior_m: float) -> bool:
    """Whether something may be as large if it is expected to be as large as ``prior_m``."""
    return _SMALLEST < size_m / prior_m < _LARGEST


def _quantile(values: FloatArray, weights: npt.NDArray[Any], share: float) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, share * reached[-1])])
