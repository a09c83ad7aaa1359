"""What stands along the streets and belongs to no class: buildings, trees, poles, signs, bins, hedges, shelters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_training.toytown.solids.shapes import (
    GLASS,
    METAL,
    RETRO_RED,
    RETRO_WHITE,
    Mesh,
    Surface,
    box,
    cylinder,
    ellipsoid,
    join,
)
from lidarloop_training.toytown.streets.ground import Ground
from lidarloop_training.toytown.streets.point_classes import MANMADE, VEGETATION
from lidarloop_training.toytown.streets.roads import PAVEMENT_WIDTH_M, Street

FloatArray = npt.NDArray[np.float64]

_WALLS = ((168, 92, 70), (196, 178, 150), (142, 142, 146), (205, 200, 190), (120, 96, 84), (176, 150, 110))
_LEAVES = ((58, 96, 42), (76, 112, 50), (50, 84, 46))
_BARK = Surface((92, 72, 54), 0.25)


@dataclass(frozen=True)
class Obstacle:
    """Ground that furniture takes up: actors keep off it. Metres, world frame."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Thing:
    """A part of the scenery.

    Attributes:
        mesh: its faces.
        label: what a point on it is called, an index into ``POINT_CLASSES``.
        yaw_rad: how far it was turned from the frame it was made in, counter-clockwise.
    """

    mesh: Mesh
    label: int
    yaw_rad: float = 0.0

    def moved(self, translation: npt.ArrayLike, yaw_rad: float) -> Thing:
        """Turned about +z through the origin, then moved; see ``Mesh.moved``."""
        return Thing(self.mesh.moved(translation, yaw_rad), self.label, self.yaw_rad + yaw_rad)

    @property
    def cuboid(self) -> FloatArray:
        """(7,) x, y, z, length, width, height, yaw of its tight cuboid, metres and radians, in the mesh's frame."""
        c, s = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        upright = self.mesh.vertices @ turn
        low, high = upright.min(axis=0), upright.max(axis=0)
        return np.concatenate([turn @ (low + high) / 2, high - low, [self.yaw_rad]])


def street_scenery(street: Street, ground: Ground, rng: np.random.Generator) -> tuple[list[Thing], list[Obstacle]]:
    """Everything along both sides of a street."""
    things: list[Thing] = []
    obstacles: list[Obstacle] = []
    for side in (-1, 1):
        things += _frontage(street, side, ground, rng)
        s = rng.uniform(2, 6)
        while s < street.length_m - 2:
            thing, radius = _furniture(rng)
            at = street.at(s, side * (street.half_width_m + 0.55))
            things.append(thing.moved(_stand(ground, at), street.yaw_at(s) + (np.pi if side > 0 else 0)))
            obstacles.append(Obstacle(float(at[0]), float(at[1]), radius))
            s += rng.uniform(5, 11)
    return things, obstacles


def _stand(ground: Ground, at: FloatArray) -> FloatArray:
    return np.append(at, ground.height(at[None])[0])


def _frontage(street: Street, side: int, ground: Ground, rng: np.random.Generator) -> list[Thing]:
    """Buildings, with gardens of trees and hedges between them."""
    things = []
    s = 3.0
    while s < street.length_m - 6:
        length = rng.uniform(8, 18)
        back = street.half_width_m + PAVEMENT_WIDTH_M
        yaw = street.yaw_at(s + length / 2) + (np.pi if side > 0 else 0)
        if rng.random() < 0.68 and s + length < street.length_m - 2:
            depth = rng.uniform(7, 10)
            at = street.at(s + length / 2, side * (back + 0.8 + depth / 2))
            building = _building((length - 0.6, depth, rng.uniform(4, 14)), rng)
            things.append(Thing(building, MANMADE).moved(_stand(ground, at), yaw))
        else:
            for place in np.arange(s + 2, min(s + length, street.length_m - 2), 4.0):
                at = street.at(place, side * (back + rng.uniform(2, 7)))
                tree = Thing(_tree(rng), VEGETATION)
                things.append(tree.moved(_stand(ground, at), rng.uniform(0, 6)))
            if rng.random() < 0.6:
                at = street.at(s + length / 2, side * (back + 0.6))
                hedge = box((0, 0, 0.6), (length - 2, 0.7, rng.uniform(0.9, 1.4)), _leaves(rng))
                things.append(Thing(hedge, VEGETATION).moved(_stand(ground, at), yaw))
        s += length
    return things


def _leaves(rng: np.random.Generator) -> Surface:
    return Surface(_LEAVES[rng.integers(len(_LEAVES))], 0.35, 0.18)


def _building(size: tuple[float, float, float], rng: np.random.Generator) -> Mesh:
    """A block with window panes; its front is the +y side (towards the street)."""
    length, depth, height = size
    wall = Surface(_WALLS[rng.integers(len(_WALLS))], rng.uniform(0.2, 0.4))
    parts = [box((0, 0, height / 2 - 0.5), (length, depth, height + 1), wall)]
    columns, floors = max(int(length / 2.8), 1), max(int(height / 3.1), 1)
    for floor in range(floors):
        for column in range(columns):
            x = (column + 0.5) * length / columns - length / 2
            parts.append(box((x, depth / 2, 1.7 + 3.1 * floor), (1.3, 0.06, 1.4), GLASS))
    door = Surface((90, 60, 40), 0.3)
    parts.append(box((length / 4, depth / 2, 1.0), (1.0, 0.12, 2.1), door))
    if rng.random() < 0.4:
        parts.append(box((0, 0, height + 0.5), (length * 0.4, depth * 0.5, 1.6), wall))
    return join(parts)


def _tree(rng: np.random.Generator) -> Mesh:
    height = rng.uniform(4.5, 8)
    width = rng.uniform(2.4, 4)
    leaves = _leaves(rng)
    parts = [cylinder((0, 0, height * 0.25), rng.uniform(0.1, 0.2), height * 0.5, _BARK, sections=7)]
    for _ in range(3):
        x, y = rng.uniform(-0.5, 0.5, 2)
        crown = (width * rng.uniform(0.6, 1), width * rng.uniform(0.6, 1), height * 0.45)
        parts.append(ellipsoid((x, y, height * 0.62 + rng.uniform(-0.5, 0.7)), crown, leaves))
    return join(parts)


def _furniture(rng: np.random.Generator) -> tuple[Thing, float]:
    """A thing on the kerb, and the radius it takes up. Some look like an actor at first sight: that is their use."""
    kind = rng.choice(6, p=[0.24, 0.3, 0.16, 0.14, 0.1, 0.06])
    if kind == 0:
        return Thing(_tree(rng), VEGETATION), 0.3
    mesh, radius = _made(kind, rng)
    return Thing(mesh, MANMADE), radius


def _made(kind: int, rng: np.random.Generator) -> tuple[Mesh, float]:
    """A thing on the kerb that does not grow, and the radius it takes up."""
    if kind == 1:  # street lamp, its arm over the road
        arm = box((0, 0.7, 6.4), (0.12, 1.6, 0.12), METAL)
        return join([cylinder((0, 0, 3.2), 0.08, 6.4, METAL, sections=8), arm]), 0.25
    if kind == 2:  # traffic sign
        face = RETRO_RED if rng.random() < 0.5 else RETRO_WHITE
        pole = cylinder((0, 0, 1.2), 0.035, 2.4, METAL, sections=6)
        return join([pole, cylinder((0.05, 0, 2.35), 0.32, 0.03, face, axis="x", sections=12)]), 0.4
    if kind == 3:  # litter bin
        return cylinder((0, 0, 0.5), 0.26, 1.0, Surface((48, 70, 56), 0.3), sections=10), 0.4
    if kind == 4:  # electric cabinet
        return box((0, 0, 0.6), (rng.uniform(0.6, 1.1), 0.4, rng.uniform(1.0, 1.4)), Surface((150, 156, 150), 0.4)), 0.7
    roof = box((0, 0, 2.4), (3.2, 1.1, 0.1), METAL)  # bus shelter
    back = box((0, -0.5, 1.2), (3.2, 0.05, 2.3), GLASS)
    bench = box((0, -0.2, 0.45), (2.2, 0.35, 0.08), METAL)
    return join([roof, back, bench, box((1.55, 0, 1.2), (0.08, 1.0, 2.4), METAL)]), 1.8
