"""Fits a box to the points of an object of which the LiDAR sees one or two sides.

Zhang, Xu, Dong, Dolan: Efficient L-Shape Fitting for Vehicle Detection Using Laser Scanners, IV 2017: of all headings
the best is the one at which the points lie closest to the edges of their bounding rectangle. That leaves length and
width alike, and one side gives no information on the other. Where we differ:

- Only edges that face the sensor count; points lie on those.
- Every heading is tried with the object's long side along it, and pays for points that reach farther than an object of
  the expected size does, and for looking narrower to the sensor than such an object would. So a car's rear, a metre and
  a half wide, is not taken for a third of its side, of which the rest would be in plain sight.
- The box stands at the edges that are seen and reaches to the expected size where its far side is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

CONFIDENT = 0.75
"""Confidence from which the points are trusted rather than a lane."""

MIN_POINTS = 3
"""Least number of points for a heading; with fewer the box is aligned with the hint, or with the line of sight."""

ROUND_M = 1.0
"""Diagonal of the footprint below which an object (pedestrian, cone) gets no heading."""

_MAX_POINTS = 300  # more are thinned evenly
_NUM_HEADINGS = 90  # tried over half a turn, 2° apart; the best is refined to a fifth of that
_EDGE_M = 0.15  # a point so far from an edge that is seen costs half of one far off
_TRIMMED = 100  # of so many points the outermost one on each side does not count
_OVER_SIZE = 1.1  # what is larger than expected by this factor costs
_NARROW_WEIGHT = 0.2  # of looking narrower than expected
_HINT_WEIGHT = 0.05  # of being at odds with the hint
_GRAZING_RAD = 0.03  # a side seen at a smaller angle is not seen
_SURE_LEAD = 0.04  # fits that are ahead of all others by so much are right in 6 of 10 cases, by three times it in all
_UNBOUNDED = (math.inf, math.inf, math.inf)
_SEEN_WHOLE = 0.7  # a side that is seen over this share of its expected length is as long as it is seen


@dataclass(frozen=True)
class FittedBox:
    """An upright box.

    Attributes:
        center: (3,) metres, in the points' frame.
        yaw: heading, radians in [-π, π). The fit cannot distinguish front from back: it gives the direction nearer to
            the hint, or without a hint the one away from the sensor. NaN if the object is too small for a heading.
        size: (3,) length, width, height, metres.
        confidence: probability in [0, 1] that the axis is right to 15° by the points alone; 0 if they give no axis.
    """

    center: npt.NDArray[np.float64]
    yaw: float
    size: npt.NDArray[np.float64]
    confidence: float


def fit_box(
    points: npt.NDArray[Any],
    prior_lwh: npt.ArrayLike,
    sensor_xy: npt.ArrayLike,
    hint_yaw: float = math.nan,
    largest_lwh: npt.ArrayLike = _UNBOUNDED,
) -> FittedBox:
    """Fits a box of about the given size.

    Args:
        points: (N, ≥3) points on the object, metres, N ≥ 1.
        prior_lwh: (3,) expected length, width and height, metres.
        sensor_xy: (2,) position of the sensor, metres, same frame.
        hint_yaw: assumed yaw, e.g. the lane's direction, radians; NaN for none. It decides between front and back, and
            the axis if the points leave it open.
        largest_lwh: (3,) bounds of length, width and height, metres.
    """
    prior = np.asarray(prior_lwh, np.float64)
    if math.hypot(prior[0], prior[1]) < ROUND_M:
        side = math.hypot(prior[0], prior[1]) / math.sqrt(2)  # a box that looks about as wide from everywhere
        placed = place_box(points, (side, side, prior[2]), sensor_xy, _sight(points, sensor_xy))
        return FittedBox(placed.center, math.nan, prior.copy(), 0.0)
    xy = _thinned(points)[:, :2] - np.asarray(sensor_xy, np.float64)
    ahead = _sight(points, sensor_xy) if math.isnan(hint_yaw) else hint_yaw
    if len(xy) < MIN_POINTS:
        return place_box(points, prior, sensor_xy, ahead, largest_lwh)
    yaw, lead = _best_heading(xy, prior, float(hint_yaw))
    if math.cos(yaw - ahead) < 0:
        yaw += math.pi
    placed = place_box(points, prior, sensor_xy, yaw, largest_lwh)
    return FittedBox(placed.center, placed.yaw, placed.size, max(0.0, 1 - math.exp(-lead / _SURE_LEAD)))


def place_box(
    points: npt.NDArray[Any],
    prior_lwh: npt.ArrayLike,
    sensor_xy: npt.ArrayLike,
    yaw: float,
    largest_lwh: npt.ArrayLike = _UNBOUNDED,
) -> FittedBox:
    """Places a box at a given heading.

    Its height is centred on the points' vertical middle: a roof is seen as well as parts near the ground, or neither.

    Args:
        points: (N, ≥3) points on the object, metres, N ≥ 1.
        prior_lwh: (3,) expected length, width and height, metres.
        sensor_xy: (2,) position of the sensor, metres, same frame.
        yaw: heading, radians.
        largest_lwh: (3,) bounds of length, width and height, metres: what lies beyond is not the object's. The side
            that is seen stays where it is, and so does the underside.
    """
    xyz, sensor, prior = _thinned(points), np.asarray(sensor_xy, np.float64), np.asarray(prior_lwh, np.float64)
    most = np.asarray(largest_lwh, np.float64)
    center_xy, length, width = _stand(xyz[:, :2] - sensor, yaw, prior, most)
    low, high = _span(xyz[:, 2])
    high = min(high, low + most[2])
    height = high - low if high - low > _SEEN_WHOLE * prior[2] else prior[2]
    center = np.array([*(center_xy + sensor), (low + high) / 2])
    return FittedBox(center, (yaw + math.pi) % (2 * math.pi) - math.pi, np.array([length, width, height]), 0.0)


def _thinned(points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    step = -(-len(points) // _MAX_POINTS)
    return np.ascontiguousarray(points[::step, :3], np.float64)


def _sight(points: npt.NDArray[Any], sensor_xy: npt.ArrayLike) -> float:
    x, y = np.median(points[:, :2], axis=0) - np.asarray(sensor_xy)
    return math.atan2(y, x)


@numba.njit(cache=True, nogil=True)
def _best_heading(xy, prior, hint):  # type: ignore[no-untyped-def]
    """The heading over half a turn, and its lead, without the hint, over all headings more than 15° off."""
    mean_x, mean_y = np.mean(xy[:, 0]), np.mean(xy[:, 1])
    bearings = np.arctan2(mean_x * xy[:, 1] - mean_y * xy[:, 0], mean_x * xy[:, 0] + mean_y * xy[:, 1])
    seen = _span(bearings)
    seen_angle = seen[1] - seen[0]
    step = np.pi / _NUM_HEADINGS
    costs = np.empty(_NUM_HEADINGS)
    for i in range(_NUM_HEADINGS):
        costs[i] = _cost(xy, step * i, prior, seen_angle)
    total = costs.copy()
    if not np.isnan(hint):
        for i in range(_NUM_HEADINGS):
            total[i] += _HINT_WEIGHT * (1 - np.exp(8 * (np.cos(2 * (step * i - hint)) - 1)))
    best = np.argmin(total)
    rival = np.inf
    for i in range(_NUM_HEADINGS):
        off = abs(i - best)
        if min(off, _NUM_HEADINGS - off) * step > np.pi / 12:
            rival = min(rival, costs[i])
    yaw, lowest = step * best, np.inf
    for i in range(-4, 5):
        cost = _cost(xy, step * (best + i / 5), prior, seen_angle)
        if cost < lowest:
            yaw, lowest = step * (best + i / 5), cost
    return yaw, rival - costs[best]


@numba.njit(cache=True, nogil=True)
def _cost(xy, yaw, prior, seen_angle):  # type: ignore[no-untyped-def]
    c, s = np.cos(yaw), np.sin(yaw)
    u = xy[:, 0] * c + xy[:, 1] * s
    v = xy[:, 1] * c - xy[:, 0] * s
    u0, u1 = _span(u)
    v0, v1 = _span(v)
    # The sensor is at the origin.
    near_u = u0 if u0 > 0 else (u1 if u1 < 0 else np.inf)
    near_v = v0 if v0 > 0 else (v1 if v1 < 0 else np.inf)
    off_edge = 0.0
    for i in range(len(u)):
        d = min(abs(u[i] - near_u), abs(v[i] - near_v)) / _EDGE_M
        off_edge += 1.0 - 1.0 / (1.0 + d * d)
    over = max(0.0, (u1 - u0) / prior[0] - _OVER_SIZE) + max(0.0, (v1 - v0) / prior[1] - _OVER_SIZE)
    # Width of the full box as seen from the sensor: bearings of its corners from the points' middle.
    length, width = max(prior[0], u1 - u0), max(prior[1], v1 - v0)
    back = u0 if u0 > 0 else (u1 - length if u1 < 0 else (u0 + u1 - length) / 2)
    right = v0 if v0 > 0 else (v1 - width if v1 < 0 else (v0 + v1 - width) / 2)
    mean_u, mean_v = np.mean(u), np.mean(v)
    low, high = np.inf, -np.inf
    for x in (back, back + length):
        for y in (right, right + width):
            bearing = np.arctan2(mean_u * y - mean_v * x, mean_u * x + mean_v * y)
            low, high = min(low, bearing), max(high, bearing)
    narrow = max(0.0, 1 - seen_angle / (high - low))
    return off_edge / len(u) + over + _NARROW_WEIGHT * narrow


@numba.njit(cache=True, nogil=True)
def _stand(xy, yaw, prior, most):  # type: ignore[no-untyped-def]
    """Centre as seen from the sensor, length and width of the box at a heading."""
    c, s = np.cos(yaw), np.sin(yaw)
    grazing_m = _GRAZING_RAD * np.hypot(np.mean(xy[:, 0]), np.mean(xy[:, 1]))
    u, length = _extent(xy[:, 0] * c + xy[:, 1] * s, prior[0], most[0], grazing_m)
    v, width = _extent(xy[:, 1] * c - xy[:, 0] * s, prior[1], most[1], grazing_m)
    return np.array([u * c - v * s, u * s + v * c]), length, width


@numba.njit(cache=True, nogil=True)
def _extent(values, prior, most, grazing_m):  # type: ignore[no-untyped-def]
    """Middle and length along one axis, from the side that faces the sensor, or about the middle if none does."""
    low, high = _span(values)
    length = min(high - low, most) if high - low > _SEEN_WHOLE * prior else prior
    if low > grazing_m:
        return low + length / 2, length
    if high < -grazing_m:
        return high - length / 2, length
    return (low + high) / 2, length


@numba.njit(cache=True, nogil=True)
def _span(values):  # type: ignore[no-untyped-def]
    """Lowest and highest value, without the outermost ones of many."""
    keep = len(values) // _TRIMMED + 1  # on each side; few, kept sorted, outermost first
    lowest, highest = np.full(keep, np.inf), np.full(keep, -np.inf)
    for value in values:
        if value < lowest[-1]:
            i = keep - 1
            while i > 0 and lowest[i - 1] > value:
                lowest[i] = lowest[i - 1]
                i -= 1
            lowest[i] = value
        if value > highest[-1]:
            i = keep - 1
            while i > 0 and highest[i - 1] < value:
                highest[i] = highest[i - 1]
                i -= 1
            highest[i] = value
    return lowest[-1], highest[-1]
