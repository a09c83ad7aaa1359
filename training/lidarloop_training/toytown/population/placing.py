"""Puts things into the town one by one: by the kerb, in traffic, on foot. Each keeps clear of all before it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_training.toytown.population.actors import Actor
from lidarloop_training.toytown.solids.actor_shapes import Builder, Shape
from lidarloop_training.toytown.streets.ground import Ground
from lidarloop_training.toytown.streets.motion import Motion, Parked, Path, Stop, Track
from lidarloop_training.toytown.streets.occupancy import Occupancy
from lidarloop_training.toytown.streets.point_classes import POINT_CLASSES
from lidarloop_training.toytown.streets.roads import PARKING_WIDTH_M, PAVEMENT_WIDTH_M, RoadNetwork, Street
from lidarloop_training.toytown.streets.scenery import Thing

FloatArray = npt.NDArray[np.float64]
Rng = np.random.Generator

_MARGIN_M = 0.12
_HEADWAY_M = 1.6


@dataclass(frozen=True)
class Driving:
    """How a kind of vehicle moves: cruise speeds, and how far to the right of the lane's middle it keeps."""

    label: str
    build: Builder
    cruise_mps: tuple[float, float]
    offset_m: float = 0.0


class Placing(ABC):
    """The ways in which things come into the town; a population is a plan that uses them.

    Attributes:
        actors: those placed so far.
        clutter: what was placed so far that belongs to none of the ten classes.
        rng: source of all randomness.
    """

    def __init__(
        self, network: RoadNetwork, ground: Ground, ego: Track, occupancy: Occupancy, duration_s: float, rng: Rng
    ) -> None:
        self.actors: list[Actor] = []
        self.clutter: list[Thing] = []
        self._network, self._ground, self._ego, self._occupancy, self.rng = network, ground, ego, occupancy, rng
        self._duration_s = duration_s
        self._start_s, self._end_s = float(occupancy.times_s[0]), float(occupancy.times_s[-1])
        self._street_lanes = [lane for lane in network.lanes.values() if lane.street >= 0]
        self._lane_points = (
            np.concatenate([lane.centerline for lane in self._street_lanes]),
            np.repeat(np.arange(len(self._street_lanes)), [len(lane.centerline) for lane in self._street_lanes]),
        )
        self._predecessors: dict[str, list[str]] = {}
        for lane in network.lanes.values():
            for successor in lane.successors:
                self._predecessors.setdefault(successor, []).append(lane.lane_id)

    @abstractmethod
    def settle(self, streets: list[Street], near: list[Street]) -> None:
        """Fills the town: ``near`` are the streets the ego drives along, ``streets`` all that it may see."""

    def accept(self, label: str, shape: Shape, track: Track | Parked, margin_m: float = _MARGIN_M) -> bool:
        """Places a thing where nothing is in its way, ever; gives whether it did.

        Args:
            label: name of one of the ten classes; of clutter, which stays where it is, name of its points' class.
            shape: its body.
            track: where its middle is, on the ground.
            margin_m: room around it.
        """
        length, width = shape.size[0] + 2 * margin_m, shape.size[1] + 2 * margin_m
        if self._occupancy.first_conflict(track, length, width) is not None:
            return False
        self._enlist(label, shape, track, length, width)
        return True

    def _enlist(self, label: str, shape: Shape, track: Track | Parked, length_m: float, width_m: float) -> None:
        self._occupancy.add(track, length_m, width_m)
        if label not in NUSCENES_CLASSES:
            x, y, z, yaw = track.poses(np.zeros(1))[0]
            thing = Thing(shape.mesh, POINT_CLASSES.index(label))
            self.clutter.append(thing.moved((x, y, z + shape.size[2] / 2), yaw))
            return
        index = NUSCENES_CLASSES.index(label)
        number = sum(actor.label == index for actor in self.actors)
        self.actors.append(Actor(f"{label}-{number:02d}", index, shape, track))

    # Along the kerb

    def stand(self, street: Street, s: float, offset: float, turn_rad: float = 0.0) -> Parked:
        """A place by the street, ``offset`` left of its middle; ``turn_rad`` 0 heads with the traffic of that side."""
        x, y = street.at(s, offset)
        yaw = street.yaw_at(s) + (np.pi if offset > 0 else 0.0) + turn_rad
        return Parked(np.array([x, y, self._ground.height(np.array([[x, y]]))[0], yaw]))

    def park(self, label: str, shape: Shape, street: Street, side: int, s: float) -> float:
        """Parks a vehicle with its tail at ``s``; gives the length used, 0 where it does not fit."""
        length = float(shape.size[0])
        if s + length > street.length_m - 5:
            return 0.0
        offset = side * (street.half_width_m - PARKING_WIDTH_M / 2 + self.rng.uniform(-0.05, 0.05))
        place = self.stand(street, s + length / 2, offset, self.rng.normal(0, 0.015))
        return length if self.accept(label, shape, place, 0.03) else 0.0

    def row(
        self, label: str, build: Builder, street: Street, side: int, s: float, spacing_m: float, beyond_kerb_m: float
    ) -> float:
        """Two to four of a kind side by side, askew to the street."""
        count = int(self.rng.integers(2, 5))
        if s + count * spacing_m + 1 > street.length_m - 5:
            return 0.0
        turn = self.rng.choice((-1, 1)) * self.rng.uniform(1.3, 1.6)
        offset = side * (street.half_width_m + beyond_kerb_m)
        accepted = 0
        for i in range(count):
            place = self.stand(street, s + 0.6 + i * spacing_m, offset, turn + self.rng.normal(0, 0.06))
            accepted += self.accept(label, build(self.rng), place, 0.02)
        return count * spacing_m + 0.5 if accepted else 0.0

    # In traffic

    def drive(self, driving: Driving, count: int, trailer: Builder | None = None) -> None:
        """Adds ``count`` vehicles that meet the ego some time, as far as there is room; a ``trailer`` behind each."""
        for _ in range(5 * count):
            shape = driving.build(self.rng)
            cruise = self.rng.uniform(*driving.cruise_mps)
            encounter = self._encounter(cruise, driving.offset_m)
            if encounter is None:
                continue
            path, s = encounter
            length = float(shape.size[0])
            towed = trailer(self.rng) if trailer else None
            behind = length / 2 + (float(towed.size[0]) + 1.2 if towed else 0.0)
            accepted = self._plan(driving.label, shape, towed, path, max(s, behind + 1.0))
            count -= accepted
            if count <= 0:
                return

    def _encounter(self, cruise_mps: float, offset_m: float) -> tuple[Path, float] | None:
        """A way through town that comes near the ego at some time, and where on it to start."""
        meeting_s = self.rng.uniform(0, self._duration_s)
        ego = self._ego.poses(np.array([meeting_s]))[0, :2]
        points, owners = self._lane_points
        distance = np.linalg.norm(points - ego, axis=1)
        around = np.unique(owners[distance < 32])
        lane = self._street_lanes[around[self.rng.integers(len(around))]]
        distance = np.linalg.norm(lane.centerline - ego, axis=1)
        reachable = np.flatnonzero((distance > 7) & (distance < 32))
        if not len(reachable):
            return None
        place = self._network.polyline([lane.lane_id])[: self.rng.choice(reachable) + 1]
        names, before = [lane.lane_id], _length(place)
        while before < cruise_mps * (meeting_s - self._start_s) + 26 and names[0] in self._predecessors:
            names.insert(0, str(self.rng.choice(self._predecessors[names[0]])))
            before += _length(self._network.lanes[names[0]].centerline)
        onward = self._network.route(names[-1], cruise_mps * (self._end_s - meeting_s) + 80, self.rng)
        polyline = self._network.polyline(names[:-1] + onward)
        path = Path.along(_shifted(polyline, -offset_m), self._ground.height, cruise_mps)
        return path, before - cruise_mps * (meeting_s - self._start_s)

    def _plan(self, label: str, shape: Shape, towed: Shape | None, path: Path, s: float) -> bool:
        """Drives along the path from ``s``; where another is in the way it waits for it to clear, or gives up."""
        axle = 0.32 * float(shape.size[0])
        stops: list[Stop] = []
        for _ in range(5):
            motion = Motion.planned(path, s, self._start_s, self._end_s, stops)
            track = Track(path, motion, axle, axle)
            if self._join_traffic(label, shape, towed, track):
                return True
            clash_s = self._occupancy.first_conflict(track, shape.size[0] + _HEADWAY_M, shape.size[1] + 2 * _MARGIN_M)
            if clash_s is None or clash_s <= self._start_s + 0.1:
                return False
            halt = float(motion.at(np.array([clash_s]))[0]) - 5.0
            if halt < s + 1.0:
                return False
            stops.append(Stop(halt, clash_s + self.rng.uniform(2.0, 5.0)))
        return False

    def _join_traffic(self, label: str, shape: Shape, towed: Shape | None, track: Track) -> bool:
        length, width = shape.size[0] + _HEADWAY_M, shape.size[1] + 2 * _MARGIN_M
        if self._occupancy.first_conflict(track, length, width) is not None:
            return False
        if towed is None:
            self._enlist(label, shape, track, length, width)
            return True
        size = towed.size
        self._occupancy.add(track, shape.size[0], shape.size[1])
        behind = replace(
            track,
            lag_m=(shape.size[0] + size[0]) / 2 + 0.7,
            rear_m=0.33 * size[0],
            front_m=0.5 * size[0] + 0.5,
            share=0.33 * size[0] / (0.83 * size[0] + 0.5),
        )
        clear = self._occupancy.first_conflict(behind, size[0], size[1] + _MARGIN_M) is None
        self._occupancy.remove_last()
        if clear:
            self._enlist(label, shape, track, shape.size[0], width)
            self._enlist("trailer", towed, behind, size[0], size[1] + _MARGIN_M)
        return clear

    # On foot

    def stroll(self, build: Builder, street: Street, side: int) -> None:
        """Along the pavement, either way."""
        offset = side * (street.half_width_m + self.rng.uniform(1.1, PAVEMENT_WIDTH_M - 0.4))
        line = street.at(np.linspace(0.5, street.length_m - 0.5, 40), offset)[:: int(self.rng.choice((-1, 1)))]
        self._on_foot(build, line, self.rng.uniform(0, 0.7) * street.length_m, ())

    def cross(self, build: Builder, street: Street, side: int) -> None:
        """Over the street, mostly at a crossing, after waiting at the kerb."""
        near_end = self.rng.choice((2.2, street.length_m - 2.2)) + self.rng.uniform(-0.9, 0.9)
        s = near_end if self.rng.random() < 0.8 else self.rng.uniform(8, street.length_m - 8)
        reach = street.half_width_m + self.rng.uniform(1.6, 2.8)
        line = street.at(np.full(20, s), side * np.linspace(reach, -reach, 20))
        kerb = reach - street.half_width_m - 0.6
        wait_s = self.rng.uniform(-4, self._duration_s - 6)
        for attempt in range(5):
            if self._on_foot(build, line, 0.3, (Stop(kerb, wait_s + 2.5 * attempt),)):
                return

    def _on_foot(self, build: Builder, line: FloatArray, s: float, stops: Iterable[Stop]) -> bool:
        path = Path.along(line, self._ground.height, self.rng.uniform(0.8, 1.7))
        motion = Motion.planned(path, s, self._start_s, self._end_s, tuple(stops))
        return self.accept("pedestrian", build(self.rng), Track(path, motion, 0.1, 0.1), 0.1)

    def group(self, build: Builder, street: Street, side: int) -> None:
        """Two to four people standing together."""
        s = self.rng.uniform(4, street.length_m - 4)
        offset = side * (street.half_width_m + self.rng.uniform(1.5, PAVEMENT_WIDTH_M - 1.2))
        for _ in range(self.rng.integers(2, 5)):
            ds, dy = self.rng.uniform(-0.9, 0.9, 2)
            place = self.stand(street, s + ds, offset + dy, self.rng.uniform(0, 6.28))
            self.accept("pedestrian", build(self.rng), place, 0.06)


def _length(polyline: FloatArray) -> float:
    return float(np.linalg.norm(np.diff(polyline, axis=0), axis=1).sum())


def _shifted(polyline: FloatArray, left_m: float) -> FloatArray:
    """The polyline moved sideways by ``left_m``."""
    tangent = np.gradient(polyline, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    return polyline + left_m * np.column_stack([-tangent[:, 1], tangent[:, 0]])
