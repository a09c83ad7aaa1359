"""The population of the town in which looks matter: few actors among much clutter of the same bodies.

Whatever stands in the parking lane or on the pavement is drawn from one table each, actors and clutter alike, and
comes to stand in the same places: neither its shape, nor its place, nor its intensity gives its class away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lidarloop_training.toytown.population.placing import Driving, Placing
from lidarloop_training.toytown.solids import actor_shapes, bodies, looks
from lidarloop_training.toytown.solids.actor_shapes import Shape
from lidarloop_training.toytown.solids.bodies import Body, Rng
from lidarloop_training.toytown.solids.looks import Livery
from lidarloop_training.toytown.streets.roads import PARKING_WIDTH_M, PAVEMENT_WIDTH_M, Street


@dataclass(frozen=True)
class Kind:
    """A kind of thing.

    Attributes:
        label: one of the ten classes; of clutter, "manmade" or "vegetation".
        bodies: the bodies it comes in, equally often.
        livery: draws its look.
    """

    label: str
    bodies: tuple[Body, ...]
    livery: Livery

    def __call__(self, rng: Rng) -> Shape:
        """One of the kind."""
        body = self.bodies[rng.integers(len(self.bodies))]
        return body(rng, self.livery(rng))


_STEPPED = (bodies.saloon, bodies.hatchback, bodies.van, bodies.pickup)
_UPRIGHT = (bodies.striding, bodies.column)
_SHORT = (bodies.cone, bodies.stub)
_LOW = (bodies.boards, bodies.block)

CAR = Kind("car", _STEPPED, looks.car)
TRUCK = Kind("truck", (bodies.van, bodies.pickup, bodies.cabbed, bodies.cabbed), looks.truck)
BUS = Kind("bus", (bodies.long_box,), looks.bus)
TRAILER = Kind("trailer", (bodies.long_box,), looks.trailer)
CONSTRUCTION_VEHICLE = Kind("construction_vehicle", (bodies.cabbed, bodies.pickup), looks.construction_vehicle)
PEDESTRIAN = Kind("pedestrian", _UPRIGHT, looks.pedestrian)
MOTORCYCLE = Kind("motorcycle", (bodies.heavy_frame,), looks.motorcycle)
BICYCLE = Kind("bicycle", (bodies.cycle_frame,), looks.bicycle)
TRAFFIC_CONE = Kind("traffic_cone", _SHORT, looks.traffic_cone)
BARRIER = Kind("barrier", _LOW, looks.barrier)

_PARKED: dict[Kind, float] = {
    CAR: 14,
    TRUCK: 6,
    BUS: 2,
    TRAILER: 3,
    CONSTRUCTION_VEHICLE: 3,
    Kind("manmade", _STEPPED, looks.skip): 14,
    Kind("vegetation", _STEPPED, looks.foliage): 12,
    Kind("manmade", (bodies.cabbed, bodies.van), looks.kiosk): 10,
    Kind("manmade", (bodies.long_box, bodies.cabbed), looks.container): 8,
    Kind("manmade", (bodies.long_box, bodies.cabbed), looks.wall): 5,
    Kind("vegetation", (bodies.long_box,), looks.foliage): 3,
}
"""How often a kind stands in the parking lane; on average two of three are clutter."""

_STANDING: dict[Kind, float] = {
    PEDESTRIAN: 10,
    Kind("manmade", _UPRIGHT, looks.stone): 10,
    Kind("vegetation", _UPRIGHT, looks.foliage): 9,
    Kind("manmade", _UPRIGHT, looks.timber): 7,
    TRAFFIC_CONE: 10,
    Kind("manmade", _SHORT, looks.cast_iron): 9,
    Kind("manmade", _SHORT, looks.hydrant): 7,
    Kind("vegetation", _SHORT, looks.foliage): 8,
    BARRIER: 8,
    Kind("manmade", _LOW, looks.stone): 7,
    Kind("manmade", _LOW, looks.timber): 6,
    Kind("vegetation", _LOW, looks.foliage): 6,
    BICYCLE: 6,
    Kind("manmade", (bodies.cycle_frame,), looks.galvanised): 6,
    Kind("manmade", (bodies.cycle_frame,), looks.cast_iron): 5,
    MOTORCYCLE: 5,
    Kind("manmade", (bodies.heavy_frame,), looks.rocker): 5,
    Kind("manmade", (bodies.heavy_frame,), looks.cast_iron): 4,
}
"""How often a kind stands on the pavement or by the kerb; on average two of three are clutter."""

ALL_KINDS = (*_PARKED, *_STANDING)

_PARKED_FIRST = (CONSTRUCTION_VEHICLE, TRAILER, BUS, TRUCK, TRUCK, CAR, CAR, CAR)
_STANDING_FIRST = (MOTORCYCLE, BICYCLE, BARRIER, TRAFFIC_CONE, PEDESTRIAN)
"""Placed before the others, along the ego's route: every drive has each of them."""


def _recoated(driving: Driving) -> Driving:
    build = driving.build
    return replace(driving, build=lambda rng: bodies.recoated(build(rng), rng))


_TRAFFIC: tuple[tuple[Driving, int], ...] = (
    (Driving("bus", BUS, (4.5, 7.5)), 1),
    (Driving("truck", TRUCK, (5.0, 8.0)), 2),
    (Driving("construction_vehicle", CONSTRUCTION_VEHICLE, (2.5, 4.0)), 1),
    (_recoated(Driving("motorcycle", actor_shapes.ridden_motorcycle, (5.0, 10.0), 0.3)), 2),
    (_recoated(Driving("bicycle", actor_shapes.ridden_bicycle, (3.0, 5.5), 0.9)), 3),
    (Driving("car", CAR, (6.0, 10.0)), 8),
)
_NUM_WALKS = 20

_Place = Callable[[Kind, Street, int, float], float]
"""Places one of a kind by a street; 0 or False where it does not fit."""


class LookalikePopulation(Placing):
    """Few actors, and clutter of the same bodies in the same places."""

    def settle(self, streets: list[Street], near: list[Street]) -> None:
        self._meet(near)
        for street in streets:
            for side in (-1, 1):
                self._fill_parking_lane(street, side)
                self._fill_pavement(street, side)
        for driving, count in _TRAFFIC:
            self.drive(driving, count)
        for k in range(_NUM_WALKS):
            choice = near if k % 4 else streets
            street, side = choice[self.rng.integers(len(choice))], int(self.rng.choice((-1, 1)))
            (self.stroll if self.rng.random() < 0.6 else self.cross)(PEDESTRIAN, street, side)

    def _meet(self, near: list[Street]) -> None:
        """Places what every drive must have along the ego's route."""
        ways: tuple[tuple[tuple[Kind, ...], _Place], ...]
        ways = (_PARKED_FIRST, self._park_one), (_STANDING_FIRST, self._stand_one)
        for kinds, place in ways:
            for kind in kinds:
                for _ in range(25):
                    street, side = near[self.rng.integers(len(near))], int(self.rng.choice((-1, 1)))
                    if place(kind, street, side, self.rng.uniform(6, max(street.length_m - 10, 7))):
                        break

    def _fill_parking_lane(self, street: Street, side: int) -> None:
        s = 6.0
        while s < street.length_m - 6:
            used = self._park_one(_drawn(_PARKED, self.rng), street, side, s)
            s += (used or 1.5) + self.rng.uniform(0.8, 7.0)

    def _fill_pavement(self, street: Street, side: int) -> None:
        s = self.rng.uniform(4, 7)
        while s < street.length_m - 4:
            self._stand_one(_drawn(_STANDING, self.rng), street, side, s)
            s += self.rng.uniform(0.8, 3.0)

    def _park_one(self, kind: Kind, street: Street, side: int, s: float) -> float:
        return self.park(kind.label, kind(self.rng), street, side, s)

    def _stand_one(self, kind: Kind, street: Street, side: int, s: float) -> bool:
        """Anywhere between the driving lane and the houses, turned any way."""
        beyond_kerb_m = self.rng.uniform(0.3 - PARKING_WIDTH_M, PAVEMENT_WIDTH_M - 0.3)
        offset = side * (street.half_width_m + beyond_kerb_m)
        place = self.stand(street, s, offset, self.rng.uniform(-np.pi, np.pi))
        return self.accept(kind.label, kind(self.rng), place, 0.05)


def _drawn(odds: dict[Kind, float], rng: Rng) -> Kind:
    kinds: Sequence[Kind] = tuple(odds)
    shares = np.array(tuple(odds.values()))
    return kinds[rng.choice(len(kinds), p=shares / shares.sum())]
