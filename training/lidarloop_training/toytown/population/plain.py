"""The plain town's population: parked, standing, driving and walking actors of the ten classes by the ego's route."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lidarloop_training.toytown.population.placing import Driving, Placing
from lidarloop_training.toytown.solids import actor_shapes as shapes
from lidarloop_training.toytown.solids.actor_shapes import Builder
from lidarloop_training.toytown.streets.roads import PARKING_WIDTH_M, PAVEMENT_WIDTH_M, Street

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


class PlainPopulation(Placing):
    """Actors, and nothing beside them."""

    def settle(self, streets: list[Street], near: list[Street]) -> None:
        """Fills the town: ``near`` are the streets the ego drives along, ``streets`` all that it may see."""
        self._fill_kerbs(near, [s for s in streets if s not in near])
        for street in near:
            for side in (-1, 1):
                self._cone_line(street, side)
        for kind, count in _TRAFFIC.items():
            self.drive(_DRIVING[kind], count, shapes.trailer if kind == "tractor" else None)
        self._walk(near, streets)

    def _fill_kerbs(self, near: list[Street], far: list[Street]) -> None:
        """Parked things by the kerb: first what every drive must have, along its own route; then row by row."""
        first: list[Callable[[Street, int, float], float]] = [self._works, self._trailer, self._bus, self._truck]
        first += [self._barriers, self._motorcycles, self._bicycles, self._cones, *([self._car] * 6)]
        for place in first:
            for _ in range(25):
                street, side = near[self.rng.integers(len(near))], int(self.rng.choice((-1, 1)))
                if place(street, side, self.rng.uniform(6, max(street.length_m - 10, 7))):
                    break
        more = [self._works, self._works, self._cones, self._cones, self._barriers, self._barriers, self._machine]
        more += [self._trailer, self._truck, self._motorcycles, self._bicycles, *([self._car] * 5)]
        queue = [more[i] for i in self.rng.permutation(len(more))]
        usual = [self._car, self._truck, self._bus, self._trailer, self._works, self._cones, self._barriers]
        usual += [self._motorcycles, self._bicycles]
        odds = (0.55, 0.07, 0.04, 0.05, 0.09, 0.05, 0.05, 0.05, 0.05)
        sides = [(street, side) for street in near for side in (-1, 1)]
        sides = [sides[i] for i in self.rng.permutation(len(sides))]
        sides += [(street, side) for street in far for side in (-1, 1)]
        for street, side in sides:
            s = 6.0
            while s < street.length_m - 6:
                if self.rng.random() < 0.15:
                    s += self.rng.uniform(3, 8)
                    continue
                from_queue = bool(queue) and self.rng.random() < 0.75
                place = queue[-1] if from_queue else usual[self.rng.choice(len(usual), p=odds)]
                used = place(street, side, s)
                if used and from_queue:
                    queue.pop()
                s += used + self.rng.uniform(0.5, 1.6) if used else 2.5

    def _car(self, street: Street, side: int, s: float) -> float:
        return self.park("car", shapes.car(self.rng), street, side, s)

    def _truck(self, street: Street, side: int, s: float) -> float:
        build = shapes.pickup if self.rng.random() < 0.4 else shapes.box_truck
        return self.park("truck", build(self.rng), street, side, s)

    def _trailer(self, street: Street, side: int, s: float) -> float:
        return self.park("trailer", shapes.trailer(self.rng), street, side, s)

    def _bus(self, street: Street, side: int, s: float) -> float:
        return self.park("bus", shapes.bus(self.rng), street, side, s)

    def _machine(self, street: Street, side: int, s: float) -> float:
        return self.park("construction_vehicle", shapes.construction_vehicle(self.rng), street, side, s)

    def _motorcycles(self, street: Street, side: int, s: float) -> float:
        return self.row("motorcycle", shapes.parked_motorcycle, street, side, s, 1.15, -PARKING_WIDTH_M / 2)

    def _bicycles(self, street: Street, side: int, s: float) -> float:
        used = self.row("bicycle", shapes.parked_bicycle, street, side, s, 0.85, PAVEMENT_WIDTH_M - 1.0)
        return 0.1 if used else 0.0  # they stand on the pavement: the kerb stays free

    def _works(self, street: Street, side: int, s: float) -> float:
        """Road works: a machine in the parking lane, barriers before and behind it, cones along the traffic."""
        machine = shapes.construction_vehicle(self.rng)
        length = float(machine.size[0]) + 7.0
        if s + length > street.length_m - 5:
            return 0.0
        lane_edge = street.half_width_m - PARKING_WIDTH_M
        middle = side * (lane_edge + PARKING_WIDTH_M / 2 + 0.4)
        turn = np.pi if self.rng.random() < 0.4 else 0.0
        if not self.accept("construction_vehicle", machine, self.stand(street, s + length / 2, middle, turn), 0.02):
            return 0.0
        for end in (0.4, length - 0.4):
            self.accept("barrier", shapes.barrier(self.rng), self.stand(street, s + end, middle), 0.02)
        for at in np.arange(s + 1.6, s + length - 0.6, 2.7):  # a row along the pavement's inner edge
            place = self.stand(street, at, side * (street.half_width_m + PAVEMENT_WIDTH_M - 0.3), np.pi / 2)
            self.accept("barrier", shapes.barrier(self.rng), place, 0.02)
        for at in np.arange(s + 0.5, s + length, self.rng.uniform(1.6, 2.6)):
            place = self.stand(street, at, side * (lane_edge + 0.02), self.rng.uniform(0, 6.28))
            self.accept("traffic_cone", shapes.traffic_cone(self.rng), place, 0.02)
        return length

    def _cones(self, street: Street, side: int, s: float) -> float:
        """A patch of the parking lane closed off with a few cones."""
        length = self.rng.uniform(3.0, 5.5)
        if s + length > street.length_m - 5:
            return 0.0
        for _ in range(self.rng.integers(4, 8)):
            offset = side * (street.half_width_m - self.rng.uniform(0.3, PARKING_WIDTH_M - 0.1))
            place = self.stand(street, s + self.rng.uniform(0.2, length - 0.2), offset)
            self.accept("traffic_cone", shapes.traffic_cone(self.rng), place, 0.1)
        return length

    def _cone_line(self, street: Street, side: int) -> None:
        """Cones on the line between the driving and the parking lane, whatever is parked behind them."""
        start, spacing = self.rng.uniform(5, max(street.length_m - 20, 6)), self.rng.uniform(1.5, 2.5)
        for at in start + spacing * np.arange(self.rng.integers(3, 8)):
            offset = side * (street.half_width_m - PARKING_WIDTH_M + 0.05)
            if at < street.length_m - 5:
                place = self.stand(street, at, offset, self.rng.uniform(0, 6.28))
                self.accept("traffic_cone", shapes.traffic_cone(self.rng), place, 0.02)

    def _barriers(self, street: Street, side: int, s: float) -> float:
        """A row of barriers along the kerb, on the road's side of it."""
        count = int(self.rng.integers(3, 7))
        if s + 2.7 * count > street.length_m - 5:
            return 0.0
        offset = side * (street.half_width_m - self.rng.uniform(0.5, 1.8))
        accepted = 0
        for i in range(count):
            place = self.stand(street, s + 1.3 + 2.7 * i, offset, np.pi / 2 + self.rng.normal(0, 0.05))
            accepted += self.accept("barrier", shapes.barrier(self.rng), place, 0.02)
        return 2.7 * count if accepted > count / 2 else 0.0

    def _walk(self, near: list[Street], streets: list[Street]) -> None:
        ways: tuple[Callable[[Builder, Street, int], None], ...] = (self.stroll, self.group, self.cross)
        for k in range(100):
            choice = near if k % 4 else streets
            street = choice[self.rng.integers(len(choice))]
            ways[self.rng.choice(3, p=(0.55, 0.2, 0.25))](shapes.pedestrian, street, int(self.rng.choice((-1, 1))))
