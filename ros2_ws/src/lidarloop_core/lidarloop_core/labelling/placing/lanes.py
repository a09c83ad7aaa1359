"""Headings of vehicles from the lanes of a map."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from lidarloop_core.sample import LaneMap

STEP_M = 0.5
"""Largest distance between points of the search tree, metres; results are exact regardless."""

RIVAL_MARGIN_M = 3.0
"""A lane further off than the nearest by less than this, a lane's width, may be the vehicle's as well."""

VOTE_REACH_M = 9.0
"""Lanes within this distance vote on the axis of the road. Tuned with the next two on two logs of Argoverse 2, where
halving or doubling them changes the share of headings right to 15° by 1 % at most."""

VOTE_DECAY_M = 4.0
"""A lane further off than the nearest by this has 1/e of its vote."""

VOTE_SHARPNESS = 8.0
"""Lanes whose axes differ by 15° give each other a third of their votes, at 45° nothing."""

CERTAIN_AGREEMENT = 0.7
"""Agreement below which lanes cross or part."""


class NearestLane(NamedTuple):
    """The nearest point of any centre line, for N places.

    Attributes:
        yaw: (N,) driving direction there, radians in [-π, π), world frame; NaN if the map has no lane.
        distance_m: (N,) distance to it in the ground plane, metres; infinite if the map has no lane.
        lane: (N,) int64, index into the map's centre lines; -1 if it has none.
    """

    yaw: npt.NDArray[np.float64]
    distance_m: npt.NDArray[np.float64]
    lane: npt.NDArray[np.int64]


class LaneHeading(NamedTuple):
    """The direction of the best lane for N places, and its certainty.

    Attributes:
        yaw: (N,) driving direction, radians, as in ``NearestLane``.
        distance_m: (N,) distance to that lane, metres.
        lane: (N,) int64, index into the map's centre lines.
        agreement: (N,) in [0, 1], weighted share of the lanes nearby with the same axis: 1 if all are parallel, in
            either direction; small where lanes cross or part.
        in_intersection: (N,) bool, whether the nearest lane is marked as lying in an intersection.
        on_road: (N,) bool, whether the place lies in the drivable area; true if the map has none. Off the road (yards,
            car parks) vehicles stand across the street about as often as along it.
    """

    yaw: npt.NDArray[np.float64]
    distance_m: npt.NDArray[np.float64]
    lane: npt.NDArray[np.int64]
    agreement: npt.NDArray[np.float64]
    in_intersection: npt.NDArray[np.bool_]
    on_road: npt.NDArray[np.bool_]

    @property
    def certain(self) -> npt.NDArray[np.bool_]:
        """(N,) bool, whether the axis is reliable: on two logs of Argoverse 2, 96 % of these are right to 15°."""
        result: npt.NDArray[np.bool_] = self.on_road & (self.agreement >= CERTAIN_AGREEMENT)
        return result


class LaneLookup:
    """Search for the lanes of a map near a place.

    Nearest points lie anywhere on the segments, not on vertices alone: a k-d tree over pieces of the lines, each
    ``STEP_M`` long at most, gives the candidates, and these are measured exactly.
    """

    def __init__(self, lane_map: LaneMap) -> None:
        """Cuts the centre lines into pieces and builds the tree; 10 ms for a quarter of 200 lanes."""
        pieces = [_pieces(np.asarray(line, np.float64)[:, :2]) for line in lane_map.centerlines]
        self._pieces = np.concatenate([np.zeros((0, 4)), *pieces])
        self._lanes = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
        self._in_intersection = np.array(lane_map.in_intersection or (False,) * len(pieces), np.bool_)
        self._areas = tuple(np.ascontiguousarray(area[:, :2], np.float64) for area in lane_map.drivable_area)
        self._tree = cKDTree((self._pieces[:, :2] + self._pieces[:, 2:]) / 2)

    def nearest(self, points_world: npt.NDArray[Any]) -> NearestLane:
        """Finds the nearest centre line, whatever its direction.

        Args:
            points_world: (N, ≥2) metres, in the map's frame.
        """
        xy = np.asarray(points_world, np.float64)[:, :2]
        if not len(self._pieces):
            return NearestLane(np.full(len(xy), np.nan), np.full(len(xy), np.inf), np.full(len(xy), -1))
        found = _nearest(xy, *self._about(xy, 0.0), self._pieces, self._lanes)
        return NearestLane(*found)

    def heading(self, points_world: npt.NDArray[Any], axis_yaw: npt.NDArray[Any] | None = None) -> LaneHeading:
        """Finds the best lane among those nearby, and its certainty.

        Of all lanes about as near as the nearest (``RIVAL_MARGIN_M``) it takes the one whose axis most others share:
        on a crossing the road that more of them follow, and of oncoming lanes the nearer.

        Args:
            points_world: (N, ≥2) metres, in the map's frame.
            axis_yaw: (N,) the vehicles' axes by the shape of their points, radians, map's frame, front and back alike;
                NaN if unknown. A known axis decides in place of the other lanes; the lane then gives the front.
        """
        xy = np.asarray(points_world, np.float64)[:, :2]
        axes = np.full(len(xy), np.nan) if axis_yaw is None else np.asarray(axis_yaw, np.float64)
        on_road = self._on_road(xy)
        if not len(self._pieces):
            nowhere = self.nearest(xy)
            return LaneHeading(*nowhere, np.zeros(len(xy)), np.zeros(len(xy), np.bool_), on_road)
        starts, about = self._about(xy, VOTE_REACH_M)
        yaw, distance_m, lane, agreement, nearest = _elect(xy, axes, starts, about, self._pieces, self._lanes)
        return LaneHeading(yaw, distance_m, lane, agreement, self._in_intersection[nearest], on_road)

    def _about(
        self, xy: npt.NDArray[np.float64], radius_m: float
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Pieces that may hold a lane's point within ``radius_m``, and those of the nearest lane and its rivals.

        Returns:
            (N + 1,) where each place's pieces start in the second, (P,) piece indices.
        """
        # The nearest point is no farther off than the nearest middle of a piece; each point lies within half a piece of
        # its own piece's middle.
        reach_m = self._tree.query(xy)[0] + (RIVAL_MARGIN_M if radius_m else 0.0)
        near = self._tree.query_ball_point(xy, np.maximum(reach_m, radius_m) + STEP_M / 2 + 1e-9, return_sorted=True)
        starts = np.concatenate([[0], np.cumsum([len(pieces) for pieces in near], dtype=np.int64)])
        return starts, np.concatenate([np.zeros(0, np.int64), *(np.asarray(pieces, np.int64) for pieces in near)])

    def _on_road(self, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        if not self._areas:
            return np.ones(len(xy), np.bool_)
        inside = np.zeros(len(xy), np.bool_)
        for area in self._areas:
            inside |= _in_polygon(xy, area)
        return inside


def _pieces(line: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(P, 4) x0 y0 x1 y1 of pieces no longer than ``STEP_M`` that make up a polyline, in its direction."""
    steps = np.diff(line, axis=0)
    counts = np.ceil(np.hypot(*steps.T) / STEP_M).astype(np.int64)  # a repeated vertex gives none
    segment = np.repeat(np.arange(len(steps)), counts)
    position = np.arange(len(segment)) - np.repeat(np.cumsum(counts) - counts, counts)
    step = steps[segment] / counts[segment, None]
    start = line[segment] + position[:, None] * step
    return np.concatenate([start, start + step], axis=1)


@numba.njit(cache=True, nogil=True)
def _lanes_about(x, y, about, pieces, lanes):  # type: ignore[no-untyped-def]
    """The lanes that the pieces belong to, the distance to each, and its direction at the nearest point."""
    lane = np.empty(len(about), np.int64)
    distance = np.full(len(about), np.inf)
    yaw = np.empty(len(about))
    num_lanes = 0
    for j in about:
        x0, y0, x1, y1 = pieces[j]
        dx, dy = x1 - x0, y1 - y0
        along = min(max(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0.0), 1.0)
        distance_j = np.hypot(x0 + along * dx - x, y0 + along * dy - y)
        k = 0
        while k < num_lanes and lane[k] != lanes[j]:  # there are few
            k += 1
        if k == num_lanes:
            lane[k] = lanes[j]
            num_lanes += 1
        if distance_j < distance[k] - 1e-9:  # at a corner the earlier of its two pieces, not one by chance
            distance[k], yaw[k] = distance_j, np.arctan2(dy, dx)
    return lane[:num_lanes], distance[:num_lanes], yaw[:num_lanes]


@numba.njit(cache=True, nogil=True)
def _nearest(xy, starts, about, pieces, lanes):  # type: ignore[no-untyped-def]
    yaw_of, distance_of, lane_of = np.empty(len(xy)), np.empty(len(xy)), np.empty(len(xy), np.int64)
    for i in range(len(xy)):
        lane, distance, yaw = _lanes_about(xy[i, 0], xy[i, 1], about[starts[i] : starts[i + 1]], pieces, lanes)
        best = np.argmin(distance)
        yaw_of[i], distance_of[i], lane_of[i] = _wrapped(yaw[best]), distance[best], lane[best]
    return yaw_of, distance_of, lane_of


@numba.njit(cache=True, nogil=True)
def _elect(xy, axes, starts, about, pieces, lanes):  # type: ignore[no-untyped-def]
    yaw_of, distance_of, lane_of = np.empty(len(xy)), np.empty(len(xy)), np.empty(len(xy), np.int64)
    agreement_of, nearest_of = np.empty(len(xy)), np.empty(len(xy), np.int64)
    for i in range(len(xy)):
        lane, distance, yaw = _lanes_about(xy[i, 0], xy[i, 1], about[starts[i] : starts[i + 1]], pieces, lanes)
        nearest = int(np.argmin(distance))
        farther = distance - distance[nearest]
        # Lanes slightly beyond the reach are candidates by chance; they get no vote.
        votes = np.where((distance <= VOTE_REACH_M) | (farther <= RIVAL_MARGIN_M), np.exp(-farther / VOTE_DECAY_M), 0.0)
        best, best_score, best_agreement = nearest, -1.0, 0.0
        for k in range(len(lane)):
            if farther[k] > RIVAL_MARGIN_M:
                continue
            agreement = (votes * np.exp(VOTE_SHARPNESS * (np.cos(2 * (yaw - yaw[k])) - 1))).sum() / votes.sum()
            agrees = agreement
            if not np.isnan(axes[i]):
                agrees = np.exp(VOTE_SHARPNESS * (np.cos(2 * (yaw[k] - axes[i])) - 1))
            score = agrees * np.sqrt(votes[k])
            if score > best_score:
                best, best_score, best_agreement = k, score, agreement
        yaw_of[i], distance_of[i], lane_of[i] = _wrapped(yaw[best]), distance[best], lane[best]
        agreement_of[i], nearest_of[i] = best_agreement, lane[nearest]
    return yaw_of, distance_of, lane_of, agreement_of, nearest_of


@numba.njit(cache=True, nogil=True)
def _wrapped(yaw):  # type: ignore[no-untyped-def]
    return (yaw + np.pi) % (2 * np.pi) - np.pi


@numba.njit(cache=True, nogil=True)
def _in_polygon(xy, outline):  # type: ignore[no-untyped-def]
    """Whether a ray in +x direction leaves the polygon: it crosses its outline an odd number of times."""
    inside = np.zeros(len(xy), np.bool_)
    for i in range(len(xy)):
        x, y = xy[i]
        x0, y0 = outline[-1]
        for j in range(len(outline)):
            x1, y1 = outline[j]
            if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                inside[i] = not inside[i]
            x0, y0 = x1, y1
    return inside
