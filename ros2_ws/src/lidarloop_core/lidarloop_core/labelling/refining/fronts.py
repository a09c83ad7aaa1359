"""Front or back: a box fitted to points has an axis, and what stands has no motion to tell its heading.

Several things speak for one of the two headings, each with log-odds: the profile (a bonnet is lower than a cabin or a
tailgate), the side of the road (who stands at the driving side heads as this vehicle drives, on the other side against
it), traffic that passes close by, and neighbours in a row, which mostly stand alike. Where they leave it open, the
heading is right modulo half a turn only, and its source says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.refining.points import Looks
from lidarloop_core.labelling.refining.tracks import Track

FloatArray = npt.NDArray[np.float64]

VEHICLES = ("car", "truck", "bus", "trailer", "construction_vehicle")

_SURE = 1.0
"""Log-odds from which the front counts as known."""

# The profile.
_NUM_BINS = 8
_BIN_POINTS = 4
_STEP_M = 0.1  # difference in height between the halves worth one unit of log-odds
_MOST_PROFILE = 3.0

# The road, as this vehicle's path shows it.
_LEAST_WAY_M = 3.0
_PARALLEL = np.cos(np.radians(25))
_LANE_M = 1.5  # within this of the path things stand in its lane
_ROAD_M = 12.0  # beyond this they may stand along another road
_IN_LANE, _NEAR_SIDE, _FAR_SIDE = 2.5, 2.0, 1.2

# Traffic and neighbours.
_FAST_MPS = 2.0
_BESIDE_M = 4.0
_PASSING = 1.5
_MOST_PASSING = 3.0
_ROW_M = 8.0
_ROW_SHARE = 0.4
_MOST_ROW = 1.5


@dataclass(frozen=True)
class Road:
    """The path of this vehicle, as far as it moved.

    Attributes:
        places: (P, 2) positions, metres, drive's frame.
        directions: (P, 2) unit vectors of its motion there.
        drives_right: whether traffic keeps to the right.
    """

    places: FloatArray
    directions: FloatArray
    drives_right: bool = True

    @staticmethod
    def of(sensors: FloatArray, drives_right: bool = True) -> Road:
        """From (T, 2) positions of the LiDAR in the order of time, metres; empty if it hardly moved."""
        places = [sensors[0]] if len(sensors) else []
        for place in sensors[1:]:
            if np.linalg.norm(place - places[-1]) >= _LEAST_WAY_M:
                places.append(place)
        if len(places) < 2:
            return Road(np.zeros((0, 2)), np.zeros((0, 2)), drives_right)
        ways = np.diff(np.array(places), axis=0)
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        return Road(np.array(places), np.concatenate([ways, ways[-1:]]), drives_right)

    def log_odds(self, place: FloatArray, heading: FloatArray) -> float:
        """For a heading, a unit vector (2,), of what stands at a place (2,), metres, against the opposite heading."""
        if not len(self.places):
            return 0.0
        nearest = int(np.linalg.norm(self.places - place, axis=1).argmin())
        way = self.directions[nearest]
        along = float(way @ heading)
        if abs(along) < _PARALLEL:
            return 0.0
        offset = place - self.places[nearest]
        left_m = float(way[0] * offset[1] - way[1] * offset[0]) * (1.0 if self.drives_right else -1.0)
        if abs(left_m) < _LANE_M:
            return float(np.sign(along) * _IN_LANE)
        if abs(left_m) > _ROAD_M:
            return 0.0
        return float(np.sign(along) * (_NEAR_SIDE if left_m < 0 else -_FAR_SIDE))


def with_fronts(
    tracks: Sequence[Track],
    looks: Sequence[Looks],
    road: Road,
    is_vehicle: npt.NDArray[np.bool_],
    is_known: npt.NDArray[np.bool_],
) -> list[Track]:
    """The tracks, those of standing vehicles with the likelier of their two headings.

    Args:
        tracks: N tracks of one drive.
        looks: N sets of points near them, each in the frame of its track's box.
        road: the path of this vehicle.
        is_vehicle: (C,) bool, whether a class has a bonnet and keeps to a side of the road.
        is_known: (N,) bool, whether lanes gave a track's front: it stays.
    """
    result = list(tracks)
    standing = [i for i, t in enumerate(tracks) if t.stands and is_vehicle[t.label] and not is_known[i]]
    moving = [t for t in tracks if not t.stands and is_vehicle[t.label]]
    places = np.array([tracks[i].values[0, :2] for i in standing]).reshape(-1, 2)
    headings = np.array([_unit(tracks[i].values[0, 6]) for i in standing]).reshape(-1, 2)
    own = np.array(
        [
            profile_log_odds(looks[i], tracks[i].values[0, 3:6])
            + road.log_odds(place, heading)
            + _traffic_log_odds(place, heading, moving)
            for i, place, heading in zip(standing, places, headings, strict=True)
        ]
    )
    total = own + _row_log_odds(places, headings, own)
    for i, odds in zip(standing, total, strict=True):
        values = tracks[i].values.copy()
        if odds < 0:
            values[:, 6] += np.pi
        result[i] = replace(tracks[i], values=values, front_is_sure=bool(abs(odds) >= _SURE))
    return result


def profile_log_odds(look: Looks, size: FloatArray) -> float:
    """For the heading of a box against the opposite: its lower half is the front.

    Args:
        look: points on the object, in the frame of its box.
        size: (3,) length, width and height of the box, metres.
    """
    within = (np.abs(look.points[:, :2]) < size[:2] / 2).all(axis=1)
    along, height = look.points[within, 0], look.points[within, 2]
    place = np.clip(((along / size[0] + 0.5) * _NUM_BINS).astype(np.int64), 0, _NUM_BINS - 1)
    tops = np.full(_NUM_BINS, np.nan)
    for k in range(_NUM_BINS):
        own = height[place == k]
        if len(own) >= _BIN_POINTS:
            tops[k] = np.quantile(own, 0.95)
    # The bins at the ends slope at either end of a car; each bin is compared with its mirror image.
    front, rear = tops[_NUM_BINS // 2 :], tops[: _NUM_BINS // 2][::-1]
    both = np.isfinite(front) & np.isfinite(rear)
    if both.sum() < 2:
        return 0.0
    lower_m = float((rear - front)[both].mean())
    return float(np.clip(lower_m / _STEP_M, -_MOST_PROFILE, _MOST_PROFILE))


def _traffic_log_odds(place: FloatArray, heading: FloatArray, moving: Sequence[Track]) -> float:
    """From tracks that pass close by, along the axis."""
    total = 0.0
    for track in moving:
        speed = np.linalg.norm(track.values[:, 7:9], axis=1)
        near = (np.linalg.norm(track.values[:, :2] - place, axis=1) < _BESIDE_M) & (speed > _FAST_MPS)
        near &= track.spans(len(track.values))
        if near.any():
            along = float((track.values[near, 7:9] / speed[near, None]).mean(axis=0) @ heading)
            total += np.sign(along) * _PASSING if abs(along) > _PARALLEL else 0.0
    return float(np.clip(total, -_MOST_PASSING, _MOST_PASSING))


def _row_log_odds(places: FloatArray, headings: FloatArray, own: FloatArray) -> FloatArray:
    """(S,) from what stands beside, before and behind along the same axis, by its own log-odds (S,)."""
    if not len(own):
        return np.zeros(0)
    along = headings @ headings.T
    near = np.linalg.norm(places[:, None] - places[None], axis=2) < _ROW_M
    near &= (np.abs(along) > _PARALLEL) & ~np.eye(len(own), dtype=np.bool_)
    shared = _ROW_SHARE * (np.where(near, np.sign(along), 0.0) @ own)
    return np.asarray(np.clip(shared, -_MOST_ROW, _MOST_ROW))


def _unit(yaw: float) -> FloatArray:
    return np.array([np.cos(yaw), np.sin(yaw)])
