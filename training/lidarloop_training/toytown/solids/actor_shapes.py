"""What the ten classes look like. Each builder draws its own size, proportions and livery.

Meshes are centred in their tight cuboid, heading along +x: the cuboid is the annotation. As in nuScenes the cuboid of a
ridden cycle holds the rider, and a barrier's heading lies across its long side (its width exceeds its length).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_training.toytown.solids.shapes import (
    GLASS,
    LAMP_RED,
    LAMP_WHITE,
    METAL,
    RETRO_RED,
    RETRO_WHITE,
    RUBBER,
    SKIN,
    Mesh,
    Surface,
    box,
    cylinder,
    ellipsoid,
    frustum,
    join,
    paint,
)

Rng = np.random.Generator

_CAR_COLOURS = (
    (230, 230, 232),
    (28, 28, 32),
    (128, 132, 138),
    (178, 24, 30),
    (30, 62, 140),
    (190, 194, 198),
    (24, 86, 58),
    (208, 170, 60),
    (70, 48, 36),
)
_CLOTHES = ((36, 46, 84), (150, 40, 44), (60, 60, 62), (190, 180, 160), (44, 96, 70), (210, 120, 40), (120, 80, 140))
_MACHINE_YELLOW = (236, 176, 26)


@dataclass(frozen=True)
class Shape:
    """An actor's body.

    Attributes:
        mesh: centred in its tight cuboid, heading along +x.
        size: (3,) length, width, height of that cuboid, metres.
    """

    mesh: Mesh
    size: npt.NDArray[np.float64]

    @staticmethod
    def of(parts: list[Mesh], size: tuple[float, float, float]) -> Shape:
        return Shape(join(parts).fitted(size), np.array(size))


def _pick(colours: tuple[tuple[int, int, int], ...], rng: Rng) -> tuple[int, int, int]:
    return colours[rng.integers(len(colours))]


def _wheels(axles: tuple[float, ...], track: float, radius: float, width: float = 0.24) -> list[Mesh]:
    """Wheels stand out by two centimetres: faces in one plane would flicker."""
    return [
        cylinder((x, side * ((track - width) / 2 + 0.02), radius), radius, width, RUBBER, axis="y", sections=10)
        for x in axles
        for side in (-1, 1)
    ]


def _lamps(front: float, rear: float, half_width: float, height: float) -> list[Mesh]:
    """Head lamps white, tail lamps red and retro-reflecting: front and back differ so."""
    y = half_width * 0.72
    return [
        box((x, side * y, height), (0.05, 0.3, 0.14), lamp)
        for x, lamp in ((front, LAMP_WHITE), (rear, LAMP_RED))
        for side in (-1, 1)
    ]


def car(rng: Rng) -> Shape:
    """Saloon, hatchback or van: bonnet and cabin of different proportions."""
    kind = rng.choice(3, p=[0.45, 0.35, 0.2])
    size = (
        (rng.uniform(4.4, 4.95), rng.uniform(1.75, 1.92), rng.uniform(1.4, 1.52)),
        (rng.uniform(3.7, 4.4), rng.uniform(1.68, 1.88), rng.uniform(1.45, 1.7)),
        (rng.uniform(4.6, 5.2), rng.uniform(1.85, 2.0), rng.uniform(1.75, 2.0)),
    )[kind]
    length, width, height = size
    body = paint(_pick(_CAR_COLOURS, rng))
    waist = (0.6, 0.58, 0.55)[kind] * height
    cabin_length = (0.52, 0.62, 0.76)[kind] * length
    roof_length = (0.6, 0.72, 0.86)[kind] * cabin_length
    cabin_x = (-0.03, -0.15, -0.1)[kind] * length
    roof_shift = (0.0, -0.16, -0.2)[kind]
    cabin = (cabin_x, 0, (waist + height) / 2)
    parts = [
        box((0, 0, (0.2 + waist) / 2), (length, width, waist - 0.2), body),
        frustum(
            cabin,
            (cabin_length, width * 0.94, height - waist),
            (roof_length, width * 0.78),
            GLASS,
            top_shift=roof_shift,
            lid=body,
        ),
        *_wheels((length * 0.31, -length * 0.3), width, 0.33),
        *_lamps(length / 2, -length / 2, width / 2, waist * 0.85),
        box((-length / 2, 0, waist * 0.62), (0.04, 0.5, 0.12), RETRO_WHITE),
    ]
    return Shape.of(parts, size)


def pickup(rng: Rng) -> Shape:
    """A light truck with an open bed."""
    size = (rng.uniform(5.4, 6.1), rng.uniform(1.95, 2.1), rng.uniform(1.8, 2.0))
    length, width, height = size
    body = paint(_pick(_CAR_COLOURS, rng))
    waist = 0.58 * height
    wall = 0.08
    bed = length * 0.38
    bed_x = -length / 2 + bed / 2
    parts = [
        box((bed / 2, 0, (0.35 + waist) / 2), (length - bed, width, waist - 0.35), body),
        box((bed_x, 0, 0.55), (bed, width, 0.3), body),
        *(box((bed_x, side * (width - wall) / 2, 0.7), (bed, wall, waist - 0.4), body) for side in (-1, 1)),
        box((-length / 2 + wall / 2, 0, 0.75), (wall, width, waist - 0.45), body),
        frustum(
            (length * 0.04, 0, (waist + height) / 2),
            (length * 0.34, width * 0.94, height - waist),
            (length * 0.24, width * 0.82),
            GLASS,
            top_shift=-0.15,
            lid=body,
        ),
        *_wheels((length * 0.32, -length * 0.29), width, 0.4),
        *_lamps(length / 2, -length / 2, width / 2, waist * 0.8),
    ]
    return Shape.of(parts, size)


def box_truck(rng: Rng) -> Shape:
    """Cab, gap, and a cargo box higher than the cab."""
    size = (rng.uniform(6.5, 9.5), rng.uniform(2.3, 2.6), rng.uniform(2.9, 3.7))
    length, width, height = size
    cab_length = rng.uniform(1.7, 2.1)
    cab_height = min(2.7, 0.85 * height)
    cargo_length = length - cab_length - 0.35
    cargo_x = -length / 2 + cargo_length / 2
    livery = paint(_pick(_CAR_COLOURS, rng))
    parts = [
        *_cab(length / 2 - cab_length / 2, cab_length, width * 0.95, cab_height, paint(_pick(_CAR_COLOURS, rng))),
        box((0, 0, 0.75), (length - 0.2, width * 0.5, 0.3), METAL),
        box((cargo_x, 0, (height + 0.95) / 2), (cargo_length, width, height - 0.95), livery),
        *(
            box((cargo_x, s * width / 2, height * 0.62), (cargo_length * 0.7, 0.02, 0.5), paint((240, 240, 240)))
            for s in (-1, 1)
        ),
        *_wheels((length / 2 - 1.1, -length / 2 + 1.6), width * 0.96, 0.48, 0.3),
        *_lamps(length / 2, -length / 2, width / 2, 0.85),
    ]
    return Shape.of(parts, size)


def tractor(rng: Rng) -> Shape:
    """The truck that pulls a trailer: a tall cab on a short, low frame."""
    size = (rng.uniform(5.6, 6.4), rng.uniform(2.4, 2.55), rng.uniform(3.0, 3.6))
    length, width, height = size
    cab_length = 2.3
    parts = [
        *_cab(length / 2 - cab_length / 2, cab_length, width, height, paint(_pick(_CAR_COLOURS, rng))),
        box((-0.05, 0, 0.85), (length - 0.1, width * 0.45, 0.35), METAL),
        *_wheels((length / 2 - 1.3, -length / 2 + 0.7, -length / 2 + 1.9), width, 0.5, 0.35),
        *_lamps(length / 2, -length / 2, width / 2, 0.8),
    ]
    return Shape.of(parts, size)


def _cab(x: float, length: float, width: float, height: float, body: Surface) -> list[Mesh]:
    front = x + length / 2
    return [
        box((x, 0, (height + 0.45) / 2), (length, width, height - 0.45), body),
        box((front, 0, height * 0.7), (0.04, width * 0.85, height * 0.26), GLASS),
        *(box((x + 0.2, s * width / 2, height * 0.7), (length * 0.5, 0.04, height * 0.22), GLASS) for s in (-1, 1)),
    ]


def bus(rng: Rng) -> Shape:
    """A long smooth box with a band of windows, low floor."""
    size = (rng.uniform(10.2, 12.5), rng.uniform(2.55, 2.8), rng.uniform(3.0, 3.5))
    length, width, height = size
    body = paint(_pick(((220, 60, 40), (30, 120, 180), (240, 190, 40), (60, 150, 80)), rng))
    roof = paint((235, 235, 235))
    band = (height * 0.42, height * 0.8)
    parts = [
        box((0, 0, (0.3 + band[0]) / 2), (length, width, band[0] - 0.3), body),
        box((0, 0, sum(band) / 2), (length * 0.995, width * 0.985, band[1] - band[0]), GLASS),
        *(
            box((x, 0, sum(band) / 2), (0.14, width, band[1] - band[0]), body)
            for x in np.linspace(-length / 2 + 0.07, length / 2 - 0.07, 8)
        ),
        frustum(
            (0, 0, (band[1] + height) / 2),
            (length, width, height - band[1]),
            (length - 0.5, width - 0.4),
            roof,
        ),
        box((-length * 0.2, 0, height), (2.2, width * 0.6, 0.22), roof),
        *_wheels((length * 0.3, -length * 0.27), width * 0.99, 0.5, 0.3),
        *_lamps(length / 2, -length / 2, width / 2, 0.8),
    ]
    return Shape.of(parts, size)


def trailer(rng: Rng) -> Shape:
    """A box on a raised frame: axles at the rear, open below the front, no cab."""
    size = (rng.uniform(9.0, 12.5), rng.uniform(2.45, 2.6), rng.uniform(3.6, 4.0))
    length, width, height = size
    cargo = paint(_pick(((225, 225, 225), (60, 90, 150), (170, 50, 40), (90, 130, 90)), rng))
    rear = -length / 2
    parts = [
        box((0, 0, (height + 1.25) / 2), (length, width, height - 1.25), cargo),
        box((0, 0, 1.12), (length * 0.96, 0.9, 0.24), METAL),
        *_wheels((rear + 1.2, rear + 2.4, rear + 3.6), width, 0.5, 0.4),
        *(box((length * 0.28, s * 0.8, 0.6), (0.16, 0.16, 1.15), METAL) for s in (-1, 1)),
        *(box((rear + length / 2, s * width / 2, 1.35), (length * 0.9, 0.02, 0.08), RETRO_RED) for s in (-1, 1)),
        *(box((rear, s * 0.9, 1.0), (0.05, 0.35, 0.16), LAMP_RED) for s in (-1, 1)),
    ]
    return Shape.of(parts, size)


def excavator(rng: Rng) -> Shape:
    """Tracks, a turning house, and an arm reaching ahead."""
    size = (rng.uniform(6.2, 7.6), rng.uniform(2.4, 2.9), rng.uniform(2.8, 3.3))
    body = Surface(_MACHINE_YELLOW, 0.5)
    parts = [
        *(box((-1.4, s * 1.0, 0.42), (3.4, 0.5, 0.84), RUBBER) for s in (-1, 1)),
        box((-1.6, 0, 1.45), (2.9, 2.4, 1.0), body),
        box((-0.7, 0.7, 2.35), (1.3, 0.95, 1.1), GLASS),
        box((-0.7, 0.7, 2.95), (1.35, 1.0, 0.1), body),
        # The boom rises from the house; the stick hangs from its tip and carries the bucket.
        box((1.3, -0.15, 1.7), (3.2, 0.38, 0.45), body).tilted(0.5, (-0.3, 0, 1.7)),
        box((2.5, -0.15, 2.1), (0.35, 0.3, 2.4), body).tilted(0.15, (2.5, 0, 3.25)),
        frustum((2.7, -0.15, 0.5), (0.8, 1.0, 0.9), (0.5, 0.9), METAL),
    ]
    return Shape.of(parts, size)


def loader(rng: Rng) -> Shape:
    """A wheel loader: four tall wheels, cabin at the back, wide bucket ahead."""
    size = (rng.uniform(5.6, 7.0), rng.uniform(2.4, 2.8), rng.uniform(2.8, 3.3))
    body = Surface(_MACHINE_YELLOW, 0.5)
    parts = [
        box((-1.6, 0, 1.3), (2.6, 1.3, 1.0), body),
        box((0.5, 0, 1.0), (1.8, 1.0, 0.6), body),
        box((-0.7, 0, 2.3), (1.3, 1.3, 1.1), GLASS),
        box((-0.7, 0, 2.9), (1.4, 1.4, 0.12), body),
        *_wheels((1.0, -1.8), 2.3, 0.7, 0.55),
        *(box((1.9, s * 0.4, 1.0), (1.9, 0.18, 0.3), body).tilted(-0.25, (1.2, 0, 1.2)) for s in (-1, 1)),
        box((2.7, 0, 0.5), (0.12, 2.5, 1.0), METAL),
        box((3.1, 0, 0.1), (0.9, 2.5, 0.1), METAL),
    ]
    return Shape.of(parts, size)


def construction_vehicle(rng: Rng) -> Shape:
    return excavator(rng) if rng.random() < 0.6 else loader(rng)


def pedestrian(rng: Rng) -> Shape:
    """Two legs in mid-stride, trunk, swinging arms, head."""
    height = rng.uniform(1.55, 1.92)
    size = (rng.uniform(0.5, 0.8), rng.uniform(0.5, 0.68), height)
    top, bottom = (Surface(_pick(_CLOTHES, rng), rng.uniform(0.2, 0.5)) for _ in range(2))
    swing = rng.uniform(0.15, 0.45) * rng.choice((-1, 1))
    return Shape.of(figure(height, swing, top, bottom, SKIN), size)


def figure(height: float, swing: float, top: Surface, bottom: Surface, head: Surface) -> list[Mesh]:
    """A body of that height, metres, on two legs; legs and arms swing by ``swing`` radians."""
    hip = 0.5 * height
    return [
        *(box((0, s * 0.1, hip / 2), (0.15, 0.15, hip), bottom).tilted(s * swing, (0, 0, hip)) for s in (-1, 1)),
        frustum((0, 0, hip + 0.16 * height), (0.22, 0.32, 0.34 * height), (0.24, 0.44), top),
        *(
            box((0, s * 0.26, hip + 0.15 * height), (0.1, 0.1, 0.36 * height), top).tilted(
                -s * swing, (0, 0, hip + 0.32 * height)
            )
            for s in (-1, 1)
        ),
        ellipsoid((0, 0, 0.93 * height), (0.2, 0.18, 0.15 * height), head),
    ]


def _rider(seat: tuple[float, float], lean: float, top: Surface, bottom: Surface, helmet: Surface) -> list[Mesh]:
    x, z = seat
    return [
        frustum((x, 0, z + 0.28), (0.24, 0.34, 0.56), (0.24, 0.44), top).tilted(-lean, (x, 0, z)),
        *(
            box((x + 0.3, s * 0.24, z + 0.4), (0.6, 0.1, 0.1), top).tilted(-lean - 0.15, (x, 0, z + 0.4))
            for s in (-1, 1)
        ),
        *(
            box((x + 0.14, s * 0.14, z - 0.3), (0.16, 0.14, 0.68), bottom).tilted(0.3 * s, (x + 0.1, 0, z))
            for s in (-1, 1)
        ),
        ellipsoid((x + 0.7 * np.sin(lean), 0, z + 0.72 * np.cos(lean)), (0.26, 0.24, 0.27), helmet),
    ]


def bicycle_frame(colour: Surface, tyre: Surface, handlebar: Surface) -> list[Mesh]:
    return [
        *(cylinder((x, 0, 0.34), 0.34, 0.05, tyre, axis="y", sections=12) for x in (-0.52, 0.52)),
        box((0, 0, 0.72), (0.75, 0.06, 0.07), colour),
        box((0.05, 0, 0.5), (0.7, 0.06, 0.07), colour).tilted(0.5, (0.05, 0, 0.5)),
        box((0.45, 0, 0.75), (0.06, 0.06, 0.65), colour),
        box((-0.25, 0, 0.65), (0.06, 0.06, 0.6), colour),
        box((-0.25, 0, 0.96), (0.26, 0.15, 0.06), tyre),
        box((0.45, 0, 1.06), (0.06, 0.56, 0.06), handlebar),
    ]


def ridden_bicycle(rng: Rng) -> Shape:
    colours = [Surface(_pick(_CLOTHES, rng), 0.4) for _ in range(3)]
    helmet = paint(_pick(_CAR_COLOURS, rng))
    parts = [*bicycle_frame(colours[0], RUBBER, METAL), *_rider((-0.25, 1.0), 0.4, colours[1], colours[2], helmet)]
    return Shape.of(parts, (rng.uniform(1.62, 1.85), rng.uniform(0.55, 0.68), rng.uniform(1.65, 1.85)))


def parked_bicycle(rng: Rng) -> Shape:
    size = (rng.uniform(1.62, 1.85), rng.uniform(0.5, 0.62), rng.uniform(1.02, 1.14))
    return Shape.of(bicycle_frame(Surface(_pick(_CLOTHES, rng), 0.4), RUBBER, METAL), size)


def _motorcycle_frame(colour: Surface) -> list[Mesh]:
    return [
        *(cylinder((x, 0, 0.32), 0.32, 0.16, RUBBER, axis="y", sections=12) for x in (-0.7, 0.7)),
        box((0.0, 0, 0.5), (0.8, 0.36, 0.42), METAL),
        frustum((0.2, 0, 0.85), (0.55, 0.34, 0.3), (0.4, 0.24), colour),
        box((-0.45, 0, 0.82), (0.75, 0.3, 0.14), RUBBER),
        frustum((0.62, 0, 0.95), (0.3, 0.42, 0.5), (0.12, 0.3), colour, top_shift=-0.1),
        box((0.45, 0, 1.1), (0.06, 0.75, 0.06), METAL),
        box((-0.95, 0, 0.75), (0.12, 0.2, 0.12), LAMP_RED),
        box((0.79, 0, 0.95), (0.05, 0.2, 0.2), LAMP_WHITE),
    ]


def ridden_motorcycle(rng: Rng) -> Shape:
    clothes = [Surface(_pick(_CLOTHES, rng), 0.35) for _ in range(2)]
    helmet = paint(_pick(_CAR_COLOURS, rng))
    parts = [
        *_motorcycle_frame(paint(_pick(_CAR_COLOURS, rng))),
        *_rider((-0.3, 0.9), 0.25, clothes[0], clothes[1], helmet),
    ]
    return Shape.of(parts, (rng.uniform(2.0, 2.3), rng.uniform(0.75, 0.9), rng.uniform(1.5, 1.7)))


def parked_motorcycle(rng: Rng) -> Shape:
    size = (rng.uniform(2.0, 2.3), rng.uniform(0.72, 0.85), rng.uniform(1.15, 1.3))
    return Shape.of(_motorcycle_frame(paint(_pick(_CAR_COLOURS, rng))), size)


def traffic_cone(rng: Rng) -> Shape:
    """Orange, with a white retro-reflecting collar."""
    orange = Surface((236, 92, 20), 0.55)
    parts = [
        box((0, 0, 0.02), (0.4, 0.4, 0.04), RUBBER),
        cylinder((0, 0, 0.22), 0.16, 0.36, orange, end_radius=0.105),
        cylinder((0, 0, 0.5), 0.105, 0.2, RETRO_WHITE, end_radius=0.07),
        cylinder((0, 0, 0.675), 0.07, 0.15, orange, end_radius=0.03),
    ]
    side = rng.uniform(0.36, 0.44)
    return Shape.of(parts, (side, side, rng.uniform(0.7, 0.9)))


def barrier(rng: Rng) -> Shape:
    """Red and white boards on feet, heading across the boards."""
    width = rng.uniform(1.9, 2.5)
    boards = [
        box((0, y * width, z), (0.08, width / 6, 0.26), RETRO_RED if (i + j) % 2 else RETRO_WHITE)
        for j, z in enumerate((0.52, 0.87))
        for i, y in enumerate((np.arange(6) + 0.5) / 6 - 0.5)
    ]
    feet = [
        part
        for s in (-1, 1)
        for part in (
            box((0, s * width * 0.42, 0.05), (0.5, 0.12, 0.1), RUBBER),
            box((0, s * width * 0.42, 0.5), (0.08, 0.08, 1.0), METAL),
        )
    ]
    return Shape.of([*boards, *feet], (rng.uniform(0.45, 0.55), width, rng.uniform(0.95, 1.05)))


Builder = Callable[[Rng], Shape]
