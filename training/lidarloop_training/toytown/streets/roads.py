"""The road network: a jittered grid of streets with lanes, bends and junctions. Traffic keeps to the right."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LANE_WIDTH_M = 3.5
PARKING_WIDTH_M = 2.7
PAVEMENT_WIDTH_M = 3.6
_BLOCK_M = 72.0
_CORNER_M = 4.5


@dataclass(frozen=True)
class Street:
    """A stretch of road between two junctions, the junctions' areas cut off.

    Attributes:
        start, end: junction indices.
        middle: (K, 2) its middle line from start to end, about a metre apart.
        lanes_per_side: driving lanes each way; a parking lane and a pavement lie outside of them.
    """

    start: int
    end: int
    middle: FloatArray
    lanes_per_side: int

    @property
    def half_width_m(self) -> float:
        """From the middle to the kerb."""
        return carriageway_half_width(self.lanes_per_side)

    @cached_property
    def arc(self) -> FloatArray:
        return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(self.middle, axis=0), axis=1))])

    @property
    def length_m(self) -> float:
        return float(self.arc[-1])

    @cached_property
    def _normals(self) -> FloatArray:
        tangent = np.gradient(self.middle, axis=0)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        return np.column_stack([-tangent[:, 1], tangent[:, 0]])

    def at(self, s: npt.ArrayLike, offset: npt.ArrayLike) -> FloatArray:
        """(N, 2) points at arc length ``s`` and ``offset`` metres left of the middle line."""
        s_, offset_ = np.broadcast_arrays(np.asarray(s, dtype=np.float64), np.asarray(offset, dtype=np.float64))
        columns = [
            np.interp(s_, self.arc, self.middle[:, k]) + offset_ * np.interp(s_, self.arc, self._normals[:, k])
            for k in (0, 1)
        ]
        return np.stack(columns, axis=-1)

    def yaw_at(self, s: float) -> float:
        """Heading of the middle line, from start to end."""
        nx, ny = (np.interp(s, self.arc, self._normals[:, k]) for k in (0, 1))
        return float(np.arctan2(-nx, ny))


def carriageway_half_width(lanes_per_side: int) -> float:
    """Distance from the middle line to the kerb, metres."""
    return lanes_per_side * LANE_WIDTH_M + PARKING_WIDTH_M


@dataclass(frozen=True)
class Lane:
    """A lane of a street, or a way across a junction.

    Attributes:
        lane_id: its name.
        centerline: (K, 2) in driving direction.
        start, end: junctions it leads from and to; the same for a way across one.
        street: index of its street; -1 for a way across a junction.
        successors: names of the lanes it leads to.
    """

    lane_id: str
    centerline: FloatArray
    start: int
    end: int
    street: int
    successors: tuple[str, ...] = ()


@dataclass(frozen=True)
class RoadNetwork:
    """Junctions, streets between them, and lanes.

    Attributes:
        junctions: (J, 2) metres.
        streets: all streets.
        lanes: by name.
    """

    junctions: FloatArray
    streets: tuple[Street, ...]
    lanes: dict[str, Lane]

    def junction_outline(self, junction: int) -> FloatArray:
        """(K, 2) the kerb corners of the streets that meet there."""
        corners = []
        for street in self.streets:
            for node, s in ((street.start, 0.0), (street.end, street.length_m)):
                if node == junction:
                    corners.append(street.at(np.full(2, s), np.array([-1, 1]) * street.half_width_m))
        return np.concatenate(corners)

    def route(self, start: str, length_m: float, rng: np.random.Generator) -> list[str]:
        """Names of lanes one after another, at least ``length_m`` long, chosen at random where the road forks."""
        names, travelled = [start], _length(self.lanes[start].centerline)
        while travelled < length_m:
            names.append(str(rng.choice(self.lanes[names[-1]].successors)))
            travelled += _length(self.lanes[names[-1]].centerline)
        return names

    def polyline(self, names: list[str]) -> FloatArray:
        """The centre lines of consecutive lanes in one."""
        pieces = [self.lanes[name].centerline for name in names]
        return np.concatenate([pieces[0], *(piece[1:] for piece in pieces[1:])])


def build_network(rng: np.random.Generator, blocks: int) -> RoadNetwork:
    """A grid of ``blocks`` × ``blocks`` blocks with some streets left out, so that bends and T-junctions arise."""
    side = blocks + 1
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
    junctions = (grid - blocks / 2) * _BLOCK_M + rng.uniform(-6, 6, (len(grid), 2))
    turn = rng.uniform(0, 2 * np.pi)
    junctions = junctions @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    pairs = _thinned(_grid_pairs(side), len(grid), rng)
    num_lanes = [int(rng.random() < 0.3) + 1 for _ in pairs]
    widest = np.zeros(len(grid))
    for (a, b), n in zip(pairs, num_lanes, strict=True):
        widest[[a, b]] = np.maximum(widest[[a, b]], carriageway_half_width(n))
    streets = tuple(
        _street(junctions, a, b, n, (widest[a] + _CORNER_M, widest[b] + _CORNER_M), rng)
        for (a, b), n in zip(pairs, num_lanes, strict=True)
    )
    return RoadNetwork(junctions, streets, _lanes(streets))


def _grid_pairs(side: int) -> list[tuple[int, int]]:
    along_x = [(i * side + j, (i + 1) * side + j) for i in range(side - 1) for j in range(side)]
    along_y = [(i * side + j, i * side + j + 1) for i in range(side) for j in range(side - 1)]
    return along_x + along_y


def _thinned(pairs: list[tuple[int, int]], num_junctions: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Leaves out about a fifth; every junction keeps two streets or more, so that no lane ends."""
    degree = np.bincount(np.ravel(pairs), minlength=num_junctions)
    kept = set(range(len(pairs)))
    for index in rng.permutation(len(pairs))[: len(pairs) // 4]:
        a, b = pairs[index]
        if degree[a] > 2 and degree[b] > 2:
            degree[[a, b]] -= 1
            kept.discard(int(index))
    return [pair for index, pair in enumerate(pairs) if index in kept]


def _street(
    junctions: FloatArray, a: int, b: int, lanes: int, cut_m: tuple[float, float], rng: np.random.Generator
) -> Street:
    """A gently bowed line between two junctions, cut short by ``cut_m`` at its ends."""
    along = junctions[b] - junctions[a]
    length = float(np.linalg.norm(along))
    across = np.array([-along[1], along[0]]) / length
    share = np.linspace(cut_m[0] / length, 1 - cut_m[1] / length, int(length))
    bow = rng.uniform(-3.5, 3.5) * np.sin(np.pi * share) ** 2
    return Street(a, b, junctions[a] + share[:, None] * along + bow[:, None] * across, lanes)


def _lanes(streets: tuple[Street, ...]) -> dict[str, Lane]:
    lanes: dict[str, Lane] = {}
    for index, street in enumerate(streets):
        for lane in range(street.lanes_per_side):
            offset = (lane + 0.5) * LANE_WIDTH_M
            there, back = street.at(street.arc, -offset), street.at(street.arc, offset)[::-1]
            lanes[f"s{index}a{lane}"] = Lane(f"s{index}a{lane}", there, street.start, street.end, index)
            lanes[f"s{index}b{lane}"] = Lane(f"s{index}b{lane}", back, street.end, street.start, index)
    return lanes | _crossings(lanes)


def _crossings(lanes: dict[str, Lane]) -> dict[str, Lane]:
    """Ways across the junctions, and the street lanes again with their successors filled in."""
    leaving: dict[int, list[Lane]] = {}
    for lane in lanes.values():
        leaving.setdefault(lane.start, []).append(lane)
    result: dict[str, Lane] = {}
    for lane in lanes.values():
        ways = [
            Lane(f"{lane.lane_id}-{out.lane_id}", _bezier(lane, out), lane.end, lane.end, -1, (out.lane_id,))
            for out in leaving[lane.end]
            if out.street != lane.street and out.lane_id[-1] == lane.lane_id[-1]
        ] or [
            Lane(f"{lane.lane_id}-{out.lane_id}", _bezier(lane, out), lane.end, lane.end, -1, (out.lane_id,))
            for out in leaving[lane.end]
            if out.street != lane.street and out.lane_id[-1] == "0"
        ]
        result |= {way.lane_id: way for way in ways}
        result[lane.lane_id] = Lane(
            lane.lane_id, lane.centerline, lane.start, lane.end, lane.street, tuple(way.lane_id for way in ways)
        )
    return result


def _bezier(lane: Lane, out: Lane) -> FloatArray:
    """A smooth way from the end of one lane to the start of another; 0.39 of the chord makes a quarter turn round."""
    start, end = lane.centerline[-1], out.centerline[0]
    ahead = _unit(lane.centerline[-1] - lane.centerline[-2])
    onward = _unit(out.centerline[1] - out.centerline[0])
    reach = 0.39 * np.linalg.norm(end - start)
    a, b = start + reach * ahead, end - reach * onward
    t = np.linspace(0, 1, 33)[:, None]
    curve: FloatArray = (1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * a + 3 * (1 - t) * t**2 * b + t**3 * end
    return curve


def _unit(vector: FloatArray) -> FloatArray:
    return vector / np.linalg.norm(vector)


def _length(polyline: FloatArray) -> float:
    return float(np.linalg.norm(np.diff(polyline, axis=0), axis=1).sum())
