"""Bodies that several kinds of things share: their geometry; looks are in ``looks``.

A LiDAR measures the same of two things with one body: they differ in paint alone. Sizes and reflectivities are drawn by
the body, without regard to the look.
Bodies are centred in their tight cuboid, heading along +x, as all shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lidarloop_training.toytown.solids.actor_shapes import Shape, bicycle_frame, figure
from lidarloop_training.toytown.solids.shapes import Mesh, Pattern, Surface, box, cylinder, ellipsoid, frustum

Rng = np.random.Generator
Colour = tuple[int, int, int]
Range = tuple[float, float]

_RELIEF_M = 0.015
_REFLECTIVITY: Range = (0.1, 0.7)
_HEAD_LAMP, _TAIL_LAMP, _TYRE = (250, 248, 225), (170, 15, 20), (22, 22, 24)


@dataclass(frozen=True)
class Finish:
    """Paint: a colour, and a pattern on it."""

    colour: Colour
    pattern: Pattern | None = None


@dataclass(frozen=True)
class Look:
    """What a camera sees of a body.

    Attributes:
        main: its largest part.
        upper: what rises above that: windows, a head, a heap.
        lower: what it stands on: a chassis, legs, feet.
        is_vehicle: whether wheels and lamps are painted on it, by default not.
    """

    main: Finish
    upper: Finish
    lower: Finish
    is_vehicle: bool = False


Body = Callable[[Rng, Look], Shape]


@dataclass(frozen=True)
class _Coats:
    """A look's surfaces: one reflectivity for what lies low, wheels included, and one for what rises above it."""

    main: Surface
    upper: Surface
    lower: Surface

    @staticmethod
    def of(look: Look, rng: Rng) -> _Coats:
        base, above = rng.uniform(*_REFLECTIVITY, 2).tolist()
        finishes = ((look.main, base), (look.upper, above), (look.lower, base))
        return _Coats(*(Surface(finish.colour, share, pattern=finish.pattern) for finish, share in finishes))


def _running_gear(look: Look, size: tuple[float, float, float], radius: float, beneath: Surface) -> list[Mesh]:
    """Wheels and lamps: discs and plates in relief; in the paint of what lies beneath where it is no vehicle."""
    tyre, head, tail = (
        Surface(colour, beneath.reflectivity) if look.is_vehicle else beneath
        for colour in (_TYRE, _HEAD_LAMP, _TAIL_LAMP)
    )
    length, width, _ = size
    wheels = [
        cylinder((x * length, side * width / 2, radius), radius, 2 * _RELIEF_M, tyre, axis="y", sections=12)
        for x in (0.31, -0.3)
        for side in (-1, 1)
    ]
    lamps = [
        box((end * length / 2, side * 0.36 * width, 2 * radius + 0.1), (2 * _RELIEF_M, 0.34, 0.18), lamp)
        for end, lamp in ((1, head), (-1, tail))
        for side in (-1, 1)
    ]
    return wheels + lamps


# --- in the parking lane ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Steps:
    """A lower block and a tapering one on it; lengths in metres, all else shares of the length or the height."""

    length: Range
    width: Range
    height: Range
    waist: float
    cabin: float
    cabin_x: float
    roof: float


_SALOON = _Steps((4.4, 4.95), (1.75, 1.92), (1.4, 1.52), waist=0.6, cabin=0.52, cabin_x=-0.03, roof=0.6)
_HATCHBACK = _Steps((3.7, 4.4), (1.68, 1.88), (1.45, 1.7), waist=0.58, cabin=0.62, cabin_x=-0.15, roof=0.72)
_VAN = _Steps((4.7, 5.9), (1.85, 2.1), (1.9, 2.5), waist=0.5, cabin=0.78, cabin_x=-0.1, roof=0.9)
_PICKUP = _Steps((5.0, 5.9), (1.85, 2.05), (1.7, 1.95), waist=0.58, cabin=0.34, cabin_x=0.06, roof=0.7)


def _stepped(rng: Rng, look: Look, steps: _Steps) -> Shape:
    length, width, height = size = (rng.uniform(*steps.length), rng.uniform(*steps.width), rng.uniform(*steps.height))
    coats, waist = _Coats.of(look, rng), steps.waist * height
    parts = [
        box((0, 0, 0.1), (length, width, 0.2), coats.lower),
        box((0, 0, (0.2 + waist) / 2), (length, width, waist - 0.2), coats.main),
        frustum(
            (steps.cabin_x * length, 0, (waist + height) / 2),
            (steps.cabin * length, 0.94 * width, height - waist),
            (steps.cabin * steps.roof * length, 0.8 * width),
            coats.upper,
            lid=coats.main,
        ),
        *_running_gear(look, size, 0.33, coats.main),
    ]
    return Shape.of(parts, size)


def saloon(rng: Rng, look: Look) -> Shape:
    return _stepped(rng, look, _SALOON)


def hatchback(rng: Rng, look: Look) -> Shape:
    return _stepped(rng, look, _HATCHBACK)


def van(rng: Rng, look: Look) -> Shape:
    return _stepped(rng, look, _VAN)


def pickup(rng: Rng, look: Look) -> Shape:
    return _stepped(rng, look, _PICKUP)


def cabbed(rng: Rng, look: Look) -> Shape:
    """A block, and a lower one ahead of it: a lorry, or a hut with a porch."""
    length, width, height = size = (rng.uniform(6.0, 9.5), rng.uniform(2.2, 2.6), rng.uniform(2.8, 3.6))
    coats, cab = _Coats.of(look, rng), rng.uniform(1.7, 2.1)
    cab_height, cargo = min(2.7, 0.85 * height), length - cab - 0.3
    parts = [
        box((0, 0, 0.4), (length, width, 0.8), coats.lower),
        box(((length - cab) / 2, 0, (cab_height + 0.8) / 2), (cab, 0.96 * width, cab_height - 0.8), coats.upper),
        box(((cargo - length) / 2, 0, (height + 0.8) / 2), (cargo, width, height - 0.8), coats.main),
        *_running_gear(look, size, 0.48, coats.lower),
    ]
    return Shape.of(parts, size)


def long_box(rng: Rng, look: Look) -> Shape:
    """A long block, its lower and upper part of different looks: a bus, a trailer, a container, a wall."""
    length, width, height = size = (rng.uniform(8.5, 12.3), rng.uniform(2.45, 2.75), rng.uniform(2.9, 3.7))
    coats = _Coats.of(look, rng)
    parts = [
        box((0, 0, 0.1), (length, width, 0.2), coats.lower),
        box((0, 0, 0.75), (length, width, 1.1), coats.main),
        box((0, 0, (1.3 + height) / 2), (length, width, height - 1.3), coats.upper),
        *_running_gear(look, size, 0.5, coats.main),
    ]
    return Shape.of(parts, size)


def heavy_frame(rng: Rng, look: Look) -> Shape:
    """Two short cylinders, a block between them and a bar above: a motorcycle, or a rocker on a playground."""
    coats = _Coats.of(look, rng)
    parts = [
        *(cylinder((x, 0, 0.32), 0.32, 0.16, coats.lower, axis="y", sections=12) for x in (-0.7, 0.7)),
        box((0.0, 0, 0.5), (0.8, 0.36, 0.42), coats.main),
        frustum((0.2, 0, 0.85), (0.55, 0.34, 0.3), (0.4, 0.24), coats.main),
        box((-0.45, 0, 0.82), (0.75, 0.3, 0.14), coats.upper),
        frustum((0.62, 0, 0.95), (0.3, 0.42, 0.5), (0.12, 0.3), coats.main, top_shift=-0.1),
        box((0.45, 0, 1.1), (0.06, 0.75, 0.06), coats.lower),
    ]
    return Shape.of(parts, (rng.uniform(2.0, 2.3), rng.uniform(0.72, 0.85), rng.uniform(1.15, 1.3)))


# --- on the pavement --------------------------------------------------------------------------------------------------


def cycle_frame(rng: Rng, look: Look) -> Shape:
    """Two hoops and bars between them: a bicycle, or a rack without one."""
    coats = _Coats.of(look, rng)
    parts = bicycle_frame(coats.main, coats.lower, coats.upper)
    return Shape.of(parts, (rng.uniform(1.62, 1.85), rng.uniform(0.5, 0.62), rng.uniform(1.02, 1.14)))


def striding(rng: Rng, look: Look) -> Shape:
    """Legs, a trunk, arms and a head: a person, or a statue of one."""
    coats, height = _Coats.of(look, rng), rng.uniform(1.55, 1.92)
    swing = rng.uniform(0.15, 0.45) * rng.choice((-1, 1))
    parts = figure(height, swing, coats.main, coats.lower, coats.upper)
    return Shape.of(parts, (rng.uniform(0.5, 0.8), rng.uniform(0.5, 0.68), height))


def column(rng: Rng, look: Look) -> Shape:
    """A tapering shaft with a ball on it: a person in a long coat, a clipped shrub, a post."""
    coats, height = _Coats.of(look, rng), rng.uniform(1.5, 1.92)
    parts = [
        cylinder((0, 0, 0.2 * height), 0.22, 0.4 * height, coats.lower, end_radius=0.26, sections=8),
        cylinder((0, 0, 0.6 * height), 0.26, 0.42 * height, coats.main, end_radius=0.2, sections=8),
        ellipsoid((0, 0, 0.9 * height), (0.24, 0.22, 0.2 * height), coats.upper),
    ]
    return Shape.of(parts, (rng.uniform(0.46, 0.62), rng.uniform(0.46, 0.62), height))


def cone(rng: Rng, look: Look) -> Shape:
    """A cone with a collar on a flat base."""
    coats = _Coats.of(look, rng)
    parts = [
        box((0, 0, 0.02), (0.4, 0.4, 0.04), coats.lower),
        cylinder((0, 0, 0.22), 0.16, 0.36, coats.main, end_radius=0.105),
        cylinder((0, 0, 0.5), 0.105, 0.2, coats.upper, end_radius=0.07),
        cylinder((0, 0, 0.675), 0.07, 0.15, coats.main, end_radius=0.03),
    ]
    side = rng.uniform(0.36, 0.44)
    return Shape.of(parts, (side, side, rng.uniform(0.7, 0.95)))


def stub(rng: Rng, look: Look) -> Shape:
    """A short cylinder with a round cap: a bollard, a hydrant, a beacon of road works."""
    coats = _Coats.of(look, rng)
    parts = [
        cylinder((0, 0, 0.08), 0.19, 0.16, coats.lower),
        cylinder((0, 0, 0.42), 0.16, 0.56, coats.main),
        ellipsoid((0, 0, 0.7), (0.32, 0.32, 0.2), coats.upper),
    ]
    side = rng.uniform(0.34, 0.44)
    return Shape.of(parts, (side, side, rng.uniform(0.7, 0.95)))


def boards(rng: Rng, look: Look) -> Shape:
    """Two boards on feet, heading across them."""
    coats, width = _Coats.of(look, rng), rng.uniform(1.9, 2.5)
    parts = [
        box((0, 0, 0.52), (0.08, width, 0.3), coats.main),
        box((0, 0, 0.87), (0.08, width, 0.26), coats.upper),
        *(box((0, s * width * 0.42, 0.05), (0.5, 0.12, 0.1), coats.lower) for s in (-1, 1)),
        *(box((0, s * width * 0.42, 0.5), (0.07, 0.08, 1.0), coats.lower) for s in (-1, 1)),
    ]
    return Shape.of(parts, (rng.uniform(0.45, 0.55), width, rng.uniform(0.95, 1.05)))


def block(rng: Rng, look: Look) -> Shape:
    """A solid block that narrows upwards, heading across it."""
    coats, width = _Coats.of(look, rng), rng.uniform(1.9, 2.5)
    parts = [
        box((0, 0, 0.1), (0.5, width, 0.2), coats.lower),
        frustum((0, 0, 0.4), (0.5, width, 0.4), (0.26, width), coats.main),
        frustum((0, 0, 0.8), (0.26, width, 0.4), (0.2, width), coats.upper),
    ]
    return Shape.of(parts, (rng.uniform(0.45, 0.55), width, rng.uniform(0.85, 1.05)))


def recoated(shape: Shape, rng: Rng) -> Shape:
    """The shape with reflectivities drawn anew for its surfaces, whatever their colour; no beam passes through."""
    mesh = shape.mesh
    _, surface = np.unique(np.column_stack([mesh.colour, mesh.reflectivity]), axis=0, return_inverse=True)
    drawn = rng.uniform(*_REFLECTIVITY, surface.max() + 1).astype(np.float32)
    return Shape(replace(mesh, reflectivity=drawn[surface.ravel()], dropout=np.zeros_like(mesh.dropout)), shape.size)
