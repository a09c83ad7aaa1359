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
_WHOLE = 0.88  # a face seen over this share of its usual length is taken as seen from end to end
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


@dataclass(frozen=True)
class Bounds:
    """Bounds of an object along one axis, over all frames, metres; None if no frame shows one.

    Attributes:
        low, high: the bounds.
        low_faces, high_faces: whether they were facing the LiDAR, and so do not depend on what stands between.
        shown_m: extent that single frames showed; 0 if none did.
    """

    low: float | None
    high: float | None
    low_faces: bool
    high_faces: bool
    shown_m: float

    @property
    def size_m(self) -> float | None:
        """The size, if both bounds are known."""
        return None if self.low is None or self.high is None else self.high - self.low


def standing_bounds(seen: Extents) -> Bounds:
    """The bounds of a standing object, of which all extents are in one frame."""
    known = np.isfinite(seen.low) & (seen.weight > _MIN_WEIGHT)
    low, low_faces = _reach_of(-seen.low, seen, known, -1.0)
    high, high_faces = _reach_of(seen.high, seen, known, 1.0)
    shown_m = _quantile((seen.high - seen.low)[known], seen.weight[known], 0.9) if known.sum() >= _SURE_FRAMES else 0.0
    return Bounds(None if low is None else -low, high, low_faces, high_faces, shown_m)


def standing_extent(bounds: Bounds, prior_m: float) -> tuple[float, float] | None:
    """Low and high bound of a standing object along one axis, metres; None if the points do not give them.

    Args:
        bounds: its bounds.
        prior_m: expected size along the axis, metres.
    """
    if bounds.low is not None and bounds.high is not None:
        return (bounds.low, bounds.high) if fits(bounds.high - bounds.low, prior_m) else None
    if bounds.high is not None:
        return bounds.high - prior_m, bounds.high
    if bounds.low is not None:
        return bounds.low, bounds.low + prior_m
    return None


def usual_extent(bounds: Bounds, usual_m: float, largest_m: float) -> tuple[float, float] | None:
    """As ``standing_extent``, but a size that fell short is the usual one: what stands before an object hides parts.

    The bound that faces the LiDAR stays where it is. The size is never below what a frame showed.

    Args:
        bounds: its bounds.
        usual_m: usual size of its class in this drive, metres.
        largest_m: largest size of its class, metres.
    """
    size = bounds.size_m
    if bounds.low is not None and bounds.high is not None and size is not None and size <= largest_m:
        least = _SMALLEST if bounds.low_faces and bounds.high_faces else _WHOLE
        if size >= least * usual_m:
            return bounds.low, bounds.high
    size = min(max(usual_m, bounds.shown_m), largest_m)
    if bounds.high is not None and (bounds.high_faces or bounds.low is None):
        return bounds.high - size, bounds.high
    if bounds.low is not None and (bounds.low_faces or bounds.high is None):
        return bounds.low, bounds.low + size
    if bounds.low is not None and bounds.high is not None:
        middle = (bounds.low + bounds.high) / 2
        return middle - size / 2, middle + size / 2
    return None


def _reach_of(reach: FloatArray, seen: Extents, known: BoolArray, side: float) -> tuple[float | None, bool]:
    """Bound of an object on one side, metres, None if no frame shows it; and whether it faced the LiDAR."""
    facing = known & (seen.faces == side)
    if facing.sum() >= _SURE_FRAMES:
        return _quantile(reach[facing], seen.weight[facing], 0.9), True
    broad = known & seen.broad
    if broad.sum() >= _SURE_FRAMES:
        return _quantile(reach[broad], seen.weight[broad], 0.9), False
    return None, False


def moving_extent(seen: Extents) -> float | None:
    """Size along one axis of a moving object, metres; None if too few frames show both bounds."""
    broad = np.isfinite(seen.low) & seen.broad
    if broad.sum() < _SURE_FRAMES:
        return None
    return _quantile(seen.high[broad] - seen.low[broad], seen.weight[broad], 0.8)


def moving_size(size_m: float | None, prior_m: float) -> float:
    """The size along one axis of a moving object by its extent, or the expected one, metres."""
    return size_m if size_m is not None and fits(size_m, prior_m) else prior_m


def usual_size(size_m: float | None, usual_m: float) -> float:
    """As ``moving_size``, but an extent that fell short, or of which there is none, gives the usual size, metres."""
    return size_m if size_m is not None and _WHOLE * usual_m <= size_m <= _LARGEST * usual_m else usual_m


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
