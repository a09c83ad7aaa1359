"""Liveries: the colours and patterns of each of the ten classes and of each kind of clutter.

A livery draws a look anew for each thing: one of the kind's few colours in a shade of its own, and the kind's pattern.
Nothing of a look changes what a LiDAR measures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lidarloop_training.toytown.solids.bodies import Colour, Finish, Look
from lidarloop_training.toytown.solids.shapes import Pattern

Rng = np.random.Generator
Livery = Callable[[Rng], Look]

_SHADE = 14

_CARS = ((226, 228, 232), (40, 42, 48), (132, 136, 142), (170, 26, 34), (36, 66, 144), (28, 92, 62), (96, 70, 52))
_FIRMS = ((196, 30, 40), (24, 84, 170), (20, 128, 84), (232, 120, 24))
_BUSES = ((214, 56, 44), (28, 112, 186), (240, 186, 40))
_TARPAULINS = ((54, 92, 168), (176, 44, 44), (60, 132, 84))
_RUST = ((142, 74, 48), (58, 108, 116), (96, 112, 60))
_TOPS = ((190, 40, 60), (40, 90, 190), (232, 196, 60), (120, 60, 150), (240, 120, 150))
_TROUSERS = ((36, 40, 70), (30, 30, 34), (70, 62, 56))
_SKINS = ((222, 178, 150), (176, 128, 98), (112, 78, 58))
_STONE = ((148, 146, 138), (170, 164, 150), (122, 124, 122))
_LEAVES = ((58, 96, 42), (76, 112, 50), (50, 84, 46))
_TIMBER = ((134, 98, 62), (112, 84, 58), (160, 126, 84))
_FRAMES = ((214, 40, 120), (20, 150, 190), (240, 150, 20))
_CAST_IRON = ((44, 62, 56), (52, 54, 62), (84, 96, 92))
_PASTELS = ((232, 180, 190), (168, 214, 200), (200, 190, 232))
_GLASS, _BLACK, _WHITE, _ORANGE = (38, 48, 58), (24, 24, 26), (240, 240, 238), (240, 96, 20)
_YELLOW, _RED, _GALVANISED = (240, 180, 26), (206, 30, 32), (166, 172, 176)


def _of(colours: Sequence[Colour], rng: Rng) -> Colour:
    return _shaded(colours[rng.integers(len(colours))], rng)


def _shaded(colour: Colour, rng: Rng) -> Colour:
    r, g, b = np.clip(np.array(colour) + rng.integers(-_SHADE, _SHADE + 1, 3), 0, 255).tolist()
    return r, g, b


def _darker(colour: Colour, share: float = 0.65) -> Colour:
    r, g, b = (int(share * c) for c in colour)
    return r, g, b


def _striped(colour: Colour, second: Colour, wave: tuple[float, float, float]) -> Finish:
    return Finish(colour, Pattern(second, (wave, (0.0, 0.0, 0.0))))


def _speckled(colour: Colour, cell_m: float) -> Finish:
    """Leaves, rubble, coarse stone: checks askew to all faces."""
    per_m = 0.5 / cell_m
    return Finish(colour, Pattern(_darker(colour), ((per_m, 0.6 * per_m, per_m), (-0.7 * per_m, per_m, 0.8 * per_m))))


# --- the ten classes --------------------------------------------------------------------------------------------------


def car(rng: Rng) -> Look:
    """One colour, dark windows."""
    return Look(Finish(_of(_CARS, rng)), Finish(_shaded(_GLASS, rng)), Finish(_BLACK), is_vehicle=True)


def truck(rng: Rng) -> Look:
    """White, with a firm's slanting stripes; no windows behind the cab."""
    firm = _of(_FIRMS, rng)
    main = _striped(_shaded(_WHITE, rng), firm, (0.6, 0.0, 0.6))
    return Look(main, Finish(firm), Finish((60, 60, 64)), is_vehicle=True)


def bus(rng: Rng) -> Look:
    """A town's colour below a row of windows."""
    colour = _of(_BUSES, rng)
    return Look(Finish(colour), _striped(_GLASS, colour, (0.7, 0.0, 0.0)), Finish(_BLACK), is_vehicle=True)


def trailer(rng: Rng) -> Look:
    """A dark chassis under a tarpaulin in two broad bands."""
    tarpaulin = _striped(_of(_TARPAULINS, rng), _WHITE, (0.0, 0.0, 0.5))
    return Look(Finish(_shaded((58, 58, 62), rng)), tarpaulin, Finish(_BLACK), is_vehicle=True)


def construction_vehicle(rng: Rng) -> Look:
    """Yellow, with black hazard stripes."""
    yellow = _shaded(_YELLOW, rng)
    return Look(_striped(yellow, _BLACK, (0.9, 0.0, -0.9)), Finish(yellow), Finish(_BLACK), is_vehicle=True)


def pedestrian(rng: Rng) -> Look:
    """Bright above, dark below, a face."""
    return Look(Finish(_of(_TOPS, rng)), Finish(_of(_SKINS, rng)), Finish(_of(_TROUSERS, rng)))


def motorcycle(rng: Rng) -> Look:
    return Look(Finish(_of(_CARS[3:6], rng)), Finish(_BLACK), Finish(_BLACK))


def bicycle(rng: Rng) -> Look:
    return Look(Finish(_of(_FRAMES, rng)), Finish(_GALVANISED), Finish(_BLACK))


def traffic_cone(rng: Rng) -> Look:
    return Look(Finish(_shaded(_ORANGE, rng)), Finish(_shaded(_WHITE, rng)), Finish(_BLACK))


def barrier(rng: Rng) -> Look:
    """Red and white by turns."""
    stripes = _striped(_shaded(_RED, rng), _WHITE, (0.0, 1.5, 0.0))
    return Look(stripes, stripes, Finish(_BLACK))


# --- clutter ----------------------------------------------------------------------------------------------------------


def skip(rng: Rng) -> Look:
    """A ribbed steel trough with rubble in it."""
    steel = _of(_RUST, rng)
    return Look(_striped(steel, _darker(steel), (1.2, 0.0, 0.0)), _speckled((128, 112, 96), 0.3), Finish(steel))


def container(rng: Rng) -> Look:
    steel = _of(_RUST, rng)
    corrugated = _striped(steel, _darker(steel), (1.6, 1.6, 0.0))
    return Look(corrugated, corrugated, Finish(_darker(steel)))


def wall(rng: Rng) -> Look:
    """Stones in courses."""
    colour = _of(_STONE, rng)
    courses = Finish(colour, Pattern(_darker(colour, 0.8), ((0.9, 0.9, 0.0), (0.0, 0.0, 1.4))))
    return Look(courses, courses, Finish(_darker(colour)))


def kiosk(rng: Rng) -> Look:
    """Planks below a green and white awning."""
    timber = _of(_TIMBER, rng)
    awning = _striped((46, 132, 84), _WHITE, (0.8, 0.8, 0.0))
    return Look(_striped(timber, _darker(timber), (0.0, 0.0, 1.8)), awning, Finish(_darker(timber)))


def foliage(rng: Rng) -> Look:
    leaves = _speckled(_of(_LEAVES, rng), 0.25)
    return Look(leaves, leaves, leaves)


def stone(rng: Rng) -> Look:
    """A statue, a kerb stone: one pale colour."""
    colour = _of(_STONE, rng)
    return Look(Finish(colour), Finish(_darker(colour, 0.9)), Finish(_darker(colour, 0.8)))


def timber(rng: Rng) -> Look:
    """Planks: a post, a fence, a bench."""
    colour = _of(_TIMBER, rng)
    planks = _striped(colour, _darker(colour), (2.0, 2.0, 0.0))
    return Look(planks, planks, Finish(_darker(colour)))


def cast_iron(rng: Rng) -> Look:
    """A bin, a bollard, a rack: one dark colour."""
    colour = _of(_CAST_IRON, rng)
    return Look(Finish(colour), Finish(_darker(colour)), Finish(colour))


def hydrant(rng: Rng) -> Look:
    return Look(Finish(_shaded((34, 86, 170), rng)), Finish(_YELLOW), Finish(_shaded((34, 86, 170), rng)))


def galvanised(rng: Rng) -> Look:
    colour = _shaded(_GALVANISED, rng)
    return Look(Finish(colour), Finish(colour), Finish(_darker(colour)))


def rocker(rng: Rng) -> Look:
    """Playground colours."""
    return Look(Finish(_of(_PASTELS, rng)), Finish(_of(_PASTELS, rng)), Finish(_of(_PASTELS, rng)))
