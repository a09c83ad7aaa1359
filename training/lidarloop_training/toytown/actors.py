"""Who lives in the town: parked, standing, driving and walking actors of the ten classes around the ego's route."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_training.toytown import actor_shapes as shapes
from lidarloop_training.toytown.actor_shapes import Builder, Shape
from lidarloop_training.toytown.ground import Ground
from lidarloop_training.toytown.motion import Motion, Parked, Path, Stop, Track
from lidarloop_training.toytown.occupancy import Occupancy
from lidarloop_training.toytown.roads import PARKING_WIDTH_M, PAVEMENT_WIDTH_M, RoadNetwork, Street

FloatArray = npt.NDArray[np.float64]
Rng = np.random.Generator

_MARGIN_M = 0.12
_HEADWAY_M = 1.6


@dataclass(frozen=True)
class Actor:
    """One instance.

    Attributes:
        instance_id: e.g. ``"car-07"``, unique in its drive.
        label: index into ``NUSCENES_CLASSES``.
        shape: its body.
        track: where its middle is, on the ground.
    """

    instance_id: str
    label: int
    shape: Shape
    track: Track | Parked

    @cached_property
    def radius_m(self) -> float:
        """Of the sphere around its box."""
        return float(np.linalg.norm(self.shape.size) / 2)

    def poses(self, times_s: FloatArray) -> FloatArray:
        """(N, 4) x, y, z of the box centre, yaw: world frame."""
        poses: FloatArray = self.track.poses(times_s) + np.array([0.0, 0.0, self.shape.size[2] / 2, 0.0])
        return poses


@dataclass(frozen=True)
class Driving:
    """How a kind of vehicle moves: cruise speeds, and how far to the right of the lane's middle it keeps."""

    label: str
    build: Builder
    cruise_mps: tuple[float, float]
    offset_m: float = 0.0


_DRIVING = {
    "car": Driving("car", shapes.car, (6.0, 10.0)),
    "pickup": Driving("truck", shapes.pickup, (6.0, 9.0)),
    "box_truck": Driving("truck", shapes.box_truck, (5.0, 8.0)),
    "tractor": Driving("truck", shapes.tractor, (4.5, 7.5)),
    "bus": Driving("bus", shapes.bus, (4.5, 7.5)),
    "motorcycle": Driving("motorcycle", shapes.ridden_motorcycle, (5.0, 10.0), 0.3),
    "bicycle": Driving("bicycle", shapes.ridden_bicycle, (3.0, 5.5), 0.9),
    "loader": Driving("construction_vehicle", shapes.loader, (2.5, 4.0)),
}
_TRAFFIC = {
    "tractor": 2,
    "bus": 2,
    "loader": 2,
    "box_truck": 2,
    "pickup": 2,
    "motorcycle": 7,
    "bicycle": 9,
    "car": 24,
}
"""How many of each kind drive about; the long ones first, while there is room."""


class Population:
    """Puts actors into the town one by one; each keeps clear of all before it."""

    def __init__(
        self, network: RoadNetwork, ground: Ground, ego: Track, occupancy: Occupancy, duration_s: float, rng: Rng
    ) -> None:
        self.actors: list[Actor] = []
        self._network, self._ground, self._ego, self._occupancy, self._rng = network, ground, ego, occupancy, rng
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

    def settle(self, streets: list[Street], near: list[Street]) -> None:
        """Fills the town: ``near`` are the streets the ego drives along, ``streets`` all that it may see."""
        self._fill_kerbs(near, [s for s in streets if s not in near])
        for street in near:
            for side in (-1, 1):
                self._cone_line(street, side)
        for kind, count in _TRAFFIC.items():
            self._drive(_DRIVING[kind], count, towing=kind == "tractor")
        self._walk(near, streets)

    def _accept(self, label: str, shape: Shape, track: Track | Parked, margin_m: float = _MARGIN_M) -> bool:
        length, width = shape.size[0] + 2 * margin_m, shape.size[1] + 2 * margin_m
        if self._occupancy.first_conflict(track, length, width) is not None:
            return False
        self._enlist(label, shape, track, length, width)
        return True

    def _enlist(self, label: str, shape: Shape, track: Track | Parked, length_m: float, width_m: float) -> None:
        self._occupancy.add(track, length_m, width_m)
        index = NUSCENES_CLASSES.index(label)
        number = sum(actor.label == index for actor in self.actors)
        self.actors.append(Actor(f"{label}-{number:02d}", index, shape, track))

    # Along the kerb

    def _fill_kerbs(self, near: list[Street], far: list[Street]) -> None:
        """Parked things by the kerb: first what every drive must have, along its own route; then row by row."""
        first: list[Callable[[Street, int, float], float]] = [self._works, self._trailer, self._bus, self._truck]
        first += [self._barriers, self._motorcycles, self._bicycles, self._cones, *([self._car] * 6)]
        for place in first:
            for _ in range(25):
                street, side = near[self._rng.integers(len(near))], int(self._rng.choice((-1, 1)))
                if place(street, side, self._rng.uniform(6, max(street.length_m - 10, 7))):
                    break
        more = [self._works, self._works, self._cones, self._cones, self._barriers, self._barriers, self._machine]
        more += [self._trailer, self._truck, self._motorcycles, self._bicycles, *([self._car] * 5)]
        queue = [more[i] for i in self._rng.permutation(len(more))]
        usual = [self._car, self._truck, self._bus, self._trailer, self._works, self._cones, self._barriers]
        usual += [self._motorcycles, self._bicycles]
        odds = (0.55, 0.07, 0.04, 0.05, 0.09, 0.05, 0.05, 0.05, 0.05)
        sides = [(street, side) for street in near for side in (-1, 1)]
        sides = [sides[i] for i in self._rng.permutation(len(sides))]
        sides += [(street, side) for street in far for side in (-1, 1)]
        for street, side in sides:
            s = 6.0
            while s < street.length_m - 6:
                if self._rng.random() < 0.15:
                    s += self._rng.uniform(3, 8)
                    continue
                from_queue = bool(queue) and self._rng.random() < 0.75
                place = queue[-1] if from_queue else usual[self._rng.choice(len(usual), p=odds)]
                used = place(street, side, s)
                if used and from_queue:
                    queue.pop()
                s += used + self._rng.uniform(0.5, 1.6) if used else 2.5

    def _stand(self, street: Street, s: float, offset: float, turn_rad: float = 0.0) -> Parked:
        """A place by the street; ``turn_rad`` 0 heads with the traffic of that side."""
        x, y = street.at(s, offset)
        yaw = street.yaw_at(s) + (np.pi if offset > 0 else 0.0) + turn_rad
        return Parked(np.array([x, y, self._ground.height(np.array([[x, y]]))[0], yaw]))

    def _park(self, label: str, shape: Shape, street: Street, side: int, s: float) -> float:
        """Parks a vehicle with its tail at ``s``; gives the length used, 0 where it does not fit."""
        length = float(shape.size[0])
        if s + length > street.length_m - 5:
            return 0.0
        offset = side * (street.half_width_m - PARKING_WIDTH_M / 2 + self._rng.uniform(-0.05, 0.05))
        place = self._stand(street, s + length / 2, offset, self._rng.normal(0, 0.015))
        return length if self._accept(label, shape, place, 0.03) else 0.0

    def _car(self, street: Street, side: int, s: float) -> float:
        return self._park("car", shapes.car(self._rng), street, side, s)

    def _truck(self, street: Street, side: int, s: float) -> float:
        build = shapes.pickup if self._rng.random() < 0.4 else shapes.box_truck
        return self._park("truck", build(self._rng), street, side, s)

    def _trailer(self, street: Street, side: int, s: float) -> float:
        return self._park("trailer", shapes.trailer(self._rng), street, side, s)

    def _bus(self, street: Street, side: int, s: float) -> float:
        return self._park("bus", shapes.bus(self._rng), street, side, s)

    def _machine(self, street: Street, side: int, s: float) -> float:
        return self._park("construction_vehicle", shapes.construction_vehicle(self._rng), street, side, s)

    def _motorcycles(self, street: Street, side: int, s: float) -> float:
        return self._row("motorcycle", shapes.parked_motorcycle, street, side, s, 1.15, -PARKING_WIDTH_M / 2)

    def _bicycles(self, street: Street, side: int, s: float) -> float:
        used = self._row("bicycle", shapes.parked_bicycle, street, side, s, 0.85, PAVEMENT_WIDTH_M - 1.0)
        return 0.1 if used else 0.0  # they stand on the pavement: the kerb stays free

    def _row(
        self, label: str, build: Builder, street: Street, side: int, s: float, spacing_m: float, beyond_kerb_m: float
    ) -> float:
        """Two to four of a kind side by side, askew to the street."""
        count = int(self._rng.integers(2, 5))
        if s + count * spacing_m + 1 > street.length_m - 5:
            return 0.0
        turn = self._rng.choice((-1, 1)) * self._rng.uniform(1.3, 1.6)
        offset = side * (street.half_width_m + beyond_kerb_m)
        accepted = 0
        for i in range(count):
            place = self._stand(street, s + 0.6 + i * spacing_m, offset, turn + self._rng.normal(0, 0.06))
            accepted += self._accept(label, build(self._rng), place, 0.02)
        return count * spacing_m + 0.5 if accepted else 0.0

    def _works(self, street: Street, side: int, s: float) -> float:
        """Road works: a machine in the parking lane, barriers before and behind it, cones along the traffic."""
        machine = shapes.construction_vehicle(self._rng)
        length = float(machine.size[0]) + 7.0
        if s + length > street.length_m - 5:
            return 0.0
        lane_edge = street.half_width_m - PARKING_WIDTH_M
        middle = side * (lane_edge + PARKING_WIDTH_M / 2 + 0.4)
        turn = np.pi if self._rng.random() < 0.4 else 0.0
        if not self._accept("construction_vehicle", machine, self._stand(street, s + length / 2, middle, turn), 0.02):
            return 0.0
        for end in (0.4, length - 0.4):
            self._accept("barrier", shapes.barrier(self._rng), self._stand(street, s + end, middle), 0.02)
        for at in np.arange(s + 1.6, s + length - 0.6, 2.7):  # a row along the pavement's inner edge
            place = self._stand(street, at, side * (street.half_width_m + PAVEMENT_WIDTH_M - 0.3), np.pi / 2)
            self._accept("barrier", shapes.barrier(self._rng), place, 0.02)
        for at in np.arange(s + 0.5, s + length, self._rng.uniform(1.6, 2.6)):
            place = self._stand(street, at, side * (lane_edge + 0.02), self._rng.uniform(0, 6.28))
            self._accept("traffic_cone", shapes.traffic_cone(self._rng), place, 0.02)
        return length

    def _cones(self, street: Street, side: int, s: float) -> float:
        """A patch of the parking lane closed off with a few cones."""
        length = self._rng.uniform(3.0, 5.5)
        if s + length > street.length_m - 5:
            return 0.0
        for _ in range(self._rng.integers(4, 8)):
            offset = side * (street.half_width_m - self._rng.uniform(0.3, PARKING_WIDTH_M - 0.1))
            place = self._stand(street, s + self._rng.uniform(0.2, length - 0.2), offset)
            self._accept("traffic_cone", shapes.traffic_cone(self._rng), place, 0.1)
        return length

    def _cone_line(self, street: Street, side: int) -> None:
        """Cones on the line between the driving and the parking lane, whatever is parked behind them."""
        start, spacing = self._rng.uniform(5, max(street.length_m - 20, 6)), self._rng.uniform(1.5, 2.5)
        for at in start + spacing * np.arange(self._rng.integers(3, 8)):
            offset = side * (street.half_width_m - PARKING_WIDTH_M + 0.05)
            if at < street.length_m - 5:
                place = self._stand(street, at, offset, self._rng.uniform(0, 6.28))
                self._accept("traffic_cone", shapes.traffic_cone(self._rng), place, 0.02)

    def _barriers(self, street: Street, side: int, s: float) -> float:
        """A row of barriers along the kerb, on the road's side of it."""
        count = int(self._rng.integers(3, 7))
        if s + 2.7 * count > street.length_m - 5:
            return 0.0
        offset = side * (street.half_width_m - self._rng.uniform(0.5, 1.8))
        accepted = 0
        for i in range(count):
            place = self._stand(street, s + 1.3 + 2.7 * i, offset, np.pi / 2 + self._rng.normal(0, 0.05))
            accepted += self._accept("barrier", shapes.barrier(self._rng), place, 0.02)
        return 2.7 * count if accepted > count / 2 else 0.0

    # In traffic

    def _drive(self, driving: Driving, count: int, *, towing: bool) -> None:
        """Adds ``count`` vehicles that meet the ego some time, as far as there is room for them."""
        for _ in range(5 * count):
            shape = driving.build(self._rng)
            cruise = self._rng.uniform(*driving.cruise_mps)
            encounter = self._encounter(cruise, driving.offset_m)
            if encounter is None:
                continue
            path, s = encounter
            length = float(shape.size[0])
            towed = shapes.trailer(self._rng) if towing else None
            behind = length / 2 + (float(towed.size[0]) + 1.2 if towed else 0.0)
            accepted = self._plan(driving.label, shape, towed, path, max(s, behind + 1.0))
            count -= accepted
            if count <= 0:
                return

    def _encounter(self, cruise_mps: float, offset_m: float) -> tuple[Path, float] | None:
        """A way through town that comes near the ego at some time, and where on it to start."""
        meeting_s = self._rng.uniform(0, self._duration_s)
        ego = self._ego.poses(np.array([meeting_s]))[0, :2]
        points, owners = self._lane_points
        distance = np.linalg.norm(points - ego, axis=1)
        around = np.unique(owners[distance < 32])
        lane = self._street_lanes[around[self._rng.integers(len(around))]]
        distance = np.linalg.norm(lane.centerline - ego, axis=1)
        reachable = np.flatnonzero((distance > 7) & (distance < 32))
        if not len(reachable):
            return None
        place = self._network.polyline([lane.lane_id])[: self._rng.choice(reachable) + 1]
        names, before = [lane.lane_id], _length(place)
        while before < cruise_mps * (meeting_s - self._start_s) + 26 and names[0] in self._predecessors:
            names.insert(0, str(self._rng.choice(self._predecessors[names[0]])))
            before += _length(self._network.lanes[names[0]].centerline)
        onward = self._network.route(names[-1], cruise_mps * (self._end_s - meeting_s) + 80, self._rng)
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
            stops.append(Stop(halt, clash_s + self._rng.uniform(2.0, 5.0)))
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

    def _walk(self, near: list[Street], streets: list[Street]) -> None:
        ways: tuple[Callable[[Street, int], None], ...] = (self._stroll, self._group, self._cross)
        for k in range(100):
            choice = near if k % 4 else streets
            street = choice[self._rng.integers(len(choice))]
            ways[self._rng.choice(3, p=(0.55, 0.2, 0.25))](street, int(self._rng.choice((-1, 1))))

    def _stroll(self, street: Street, side: int) -> None:
        """Along the pavement, either way."""
        offset = side * (street.half_width_m + self._rng.uniform(1.1, PAVEMENT_WIDTH_M - 0.4))
        line = street.at(np.linspace(0.5, street.length_m - 0.5, 40), offset)[:: int(self._rng.choice((-1, 1)))]
        self._on_foot(line, self._rng.uniform(0, 0.7) * street.length_m, ())

    def _cross(self, street: Street, side: int) -> None:
        """Over the street, mostly at a crossing, after waiting at the kerb."""
        near_end = self._rng.choice((2.2, street.length_m - 2.2)) + self._rng.uniform(-0.9, 0.9)
        s = near_end if self._rng.random() < 0.8 else self._rng.uniform(8, street.length_m - 8)
        reach = street.half_width_m + self._rng.uniform(1.6, 2.8)
        line = street.at(np.full(20, s), side * np.linspace(reach, -reach, 20))
        kerb = reach - street.half_width_m - 0.6
        wait_s = self._rng.uniform(-4, self._duration_s - 6)
        for attempt in range(5):
            if self._on_foot(line, 0.3, (Stop(kerb, wait_s + 2.5 * attempt),)):
                return

    def _on_foot(self, line: FloatArray, s: float, stops: Iterable[Stop]) -> bool:
        path = Path.along(line, self._ground.height, self._rng.uniform(0.8, 1.7))
        motion = Motion.planned(path, s, self._start_s, self._end_s, tuple(stops))
        return self._accept("pedestrian", shapes.pedestrian(self._rng), Track(path, motion, 0.1, 0.1), 0.1)

    def _group(self, street: Street, side: int) -> None:
        """Two to four people standing together."""
        s = self._rng.uniform(4, street.length_m - 4)
        offset = side * (street.half_width_m + self._rng.uniform(1.5, PAVEMENT_WIDTH_M - 1.2))
        for _ in range(self._rng.integers(2, 5)):
            ds, dy = self._rng.uniform(-0.9, 0.9, 2)
            place = self._stand(street, s + ds, offset + dy, self._rng.uniform(0, 6.28))
            self._accept("pedestrian", shapes.pedestrian(self._rng), place, 0.06)


def _length(polyline: FloatArray) -> float:
    return float(np.linalg.norm(np.diff(polyline, axis=0), axis=1).sum())


def _shifted(polyline: FloatArray, left_m: float) -> FloatArray:
    """The polyline moved sideways by ``left_m``."""
    tangent = np.gradient(polyline, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    return polyline + left_m * np.column_stack([-tangent[:, 1], tangent[:, 0]])
