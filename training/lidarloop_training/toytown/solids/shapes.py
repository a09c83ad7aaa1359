"""Simple solids: triangle meshes whose faces carry their look to a camera and to a LiDAR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


Vector = tuple[float, float, float]
_NO_WAVE: Vector = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Pattern:
    """A second colour, in stripes or in checks, that a camera sees and a LiDAR does not.

    A point p (metres, in the frame the solid was made in) has the second colour where exactly one of the two waves is
    in the second half of its cycle, frac(wave · p) ≥ 1/2: one wave gives stripes, two give checks.

    Attributes:
        colour: RGB of the second colour, 0–255.
        waves: wave vectors, cycles per metre; stripes leave the second at zero.
    """

    colour: tuple[int, int, int]
    waves: tuple[Vector, Vector]

    @staticmethod
    def stripes(colour: tuple[int, int, int], wave: Vector) -> Pattern:
        return Pattern(colour, (wave, _NO_WAVE))


@dataclass(frozen=True)
class Surface:
    """Material of a face.

    Attributes:
        colour: RGB, 0–255.
        reflectivity: share of the LiDAR's light it sends back at normal incidence, 0–1.
        dropout: probability that a beam on it is lost, whatever the range: glass lets it through, leaves scatter it.
        pattern: its second colour; none by default.
    """

    colour: tuple[int, int, int]
    reflectivity: float
    dropout: float = 0.0
    pattern: Pattern | None = None


def paint(colour: tuple[int, int, int]) -> Surface:
    """Car paint: dark colours send back less infrared light, though never as little as they look."""
    luma = (0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]) / 255
    return Surface(colour, 0.15 + 0.45 * luma)


GLASS = Surface((38, 48, 58), 0.06, 0.5)
RUBBER = Surface((22, 22, 24), 0.08)
METAL = Surface((120, 122, 126), 0.5)
RETRO_WHITE = Surface((240, 240, 240), 1.0)
RETRO_RED = Surface((205, 30, 30), 0.9)
LAMP_WHITE = Surface((250, 248, 225), 0.6)
LAMP_RED = Surface((170, 15, 20), 0.8)
SKIN = Surface((200, 160, 135), 0.4)


@dataclass(frozen=True)
class Mesh:
    """Triangles with a look.

    Attributes:
        vertices: (V, 3) float64 metres.
        faces: (F, 3) int32 vertex indices, counter-clockwise from outside.
        colour: (F, 3) uint8 RGB.
        reflectivity: (F,) float32, as ``Surface``'s.
        dropout: (F,) float32, as ``Surface``'s.
        second_colour: (F, 3) uint8 RGB of each face's pattern; the first colour where there is none.
        waves: (F, 2, 3) float32 wave vectors of each face's pattern, cycles per metre, in the mesh's frame.
    """

    vertices: FloatArray
    faces: npt.NDArray[np.int32]
    colour: npt.NDArray[np.uint8]
    reflectivity: npt.NDArray[np.float32]
    dropout: npt.NDArray[np.float32]
    second_colour: npt.NDArray[np.uint8]
    waves: npt.NDArray[np.float32]

    @staticmethod
    def of(vertices: npt.ArrayLike, faces: npt.ArrayLike, surface: Surface | Sequence[Surface]) -> Mesh:
        """A mesh of one surface, or of one surface for each face."""
        triangles = np.asarray(faces, dtype=np.int32)
        surfaces = [surface] * len(triangles) if isinstance(surface, Surface) else list(surface)
        return Mesh(
            np.asarray(vertices, dtype=np.float64),
            triangles,
            np.array([s.colour for s in surfaces], dtype=np.uint8),
            np.array([s.reflectivity for s in surfaces], dtype=np.float32),
            np.array([s.dropout for s in surfaces], dtype=np.float32),
            np.array([s.pattern.colour if s.pattern else s.colour for s in surfaces], dtype=np.uint8),
            np.array([s.pattern.waves if s.pattern else (_NO_WAVE, _NO_WAVE) for s in surfaces], dtype=np.float32),
        )

    @cached_property
    def patterned(self) -> npt.NDArray[np.bool_]:
        """(F,) whether a face has a pattern."""
        found: npt.NDArray[np.bool_] = self.waves.any(axis=(1, 2))
        return found

    def pattern_at(self, face: npt.NDArray[np.int32], points: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """(N, 3) uint8 RGB of points (N, 3) in the mesh's frame, metres, on the faces (N,) that they lie on."""
        cycles = np.einsum("nwk,nk->wn", self.waves[face], points)
        first, second = cycles - np.floor(cycles) >= 0.5
        shown: npt.NDArray[np.uint8] = np.where((first != second)[:, None], self.second_colour[face], self.colour[face])
        return shown

    def moved(self, translation: npt.ArrayLike, yaw_rad: float = 0.0) -> Mesh:
        """Turned about +z through the origin, then moved."""
        c, s = np.cos(yaw_rad), np.sin(yaw_rad)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        vertices = self.vertices @ turn.T + np.asarray(translation, dtype=np.float64)
        return replace(self, vertices=vertices, waves=self.waves @ turn.T.astype(np.float32))

    def tilted(self, pitch_rad: float, pivot: npt.ArrayLike) -> Mesh:
        """Turned about the y axis through ``pivot``; positive lifts what lies ahead."""
        c, s = np.cos(pitch_rad), np.sin(pitch_rad)
        turn = np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])
        centre = np.asarray(pivot, dtype=np.float64)
        vertices = (self.vertices - centre) @ turn.T + centre
        return replace(self, vertices=vertices, waves=self.waves @ turn.T.astype(np.float32))

    def fitted(self, size: npt.ArrayLike) -> Mesh:
        """Scaled and moved so that its tight cuboid is ``size`` (length, width, height), centred at the origin."""
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        scale = np.asarray(size, dtype=np.float64) / (high - low)
        vertices = (self.vertices - (low + high) / 2) * scale
        return replace(self, vertices=vertices, waves=(self.waves / scale).astype(np.float32))


def join(parts: Sequence[Mesh]) -> Mesh:
    """All parts as one mesh, faces in order."""
    starts = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    return Mesh(
        np.concatenate([p.vertices for p in parts]),
        np.concatenate([p.faces + np.int32(start) for p, start in zip(parts, starts, strict=True)]),
        np.concatenate([p.colour for p in parts]),
        np.concatenate([p.reflectivity for p in parts]),
        np.concatenate([p.dropout for p in parts]),
        np.concatenate([p.second_colour for p in parts]),
        np.concatenate([p.waves for p in parts]),
    )


_BOX_FACES = np.array(
    # bottom and top, right and front, left and back
    [0, 2, 1, 0, 3, 2, 4, 5, 6, 4, 6, 7, 0, 1, 5, 0, 5, 4, 1, 2, 6, 1, 6, 5, 2, 3, 7, 2, 7, 6, 3, 0, 4, 3, 4, 7]
).reshape(-1, 3)


def box(center: npt.ArrayLike, size: npt.ArrayLike, surface: Surface) -> Mesh:
    """An upright cuboid: ``size`` is (length, width, height)."""
    length, width, _ = np.asarray(size, dtype=np.float64)
    return frustum(center, size, (length, width), surface)


def frustum(
    center: npt.ArrayLike,
    size: npt.ArrayLike,
    top: tuple[float, float],
    sides: Surface,
    *,
    top_shift: float = 0.0,
    lid: Surface | None = None,
) -> Mesh:
    """A cuboid whose top is (length, width) ``top``, shifted by ``top_shift`` along x; ``lid`` covers the top."""
    length, width, height = np.asarray(size, dtype=np.float64)
    corner = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    low = np.column_stack([corner * (length, width), np.full(4, -height / 2)])
    high = np.column_stack([corner * top + (top_shift, 0), np.full(4, height / 2)])
    surfaces = [sides] * 2 + [lid or sides] * 2 + [sides] * 8
    return Mesh.of(np.concatenate([low, high]) + np.asarray(center, dtype=np.float64), _BOX_FACES, surfaces)


def cylinder(
    center: npt.ArrayLike,
    radius: float,
    length: float,
    surface: Surface,
    *,
    axis: str = "z",
    end_radius: float | None = None,
    sections: int = 10,
) -> Mesh:
    """A cylinder, or a cone where ``end_radius`` differs from ``radius``, with its caps.

    Args:
        center: (3,) middle, metres.
        radius: radius at the lower end, metres.
        length: length along ``axis``, metres.
        surface: material of all faces.
        axis: "x", "y" or "z".
        end_radius: radius at the upper end, metres; ``radius`` when not given.
        sections: number of side faces.
    """
    angle = np.arange(sections) * 2 * np.pi / sections
    ring = np.column_stack([np.cos(angle), np.sin(angle)])
    low = np.column_stack([ring * radius, np.full(sections, -length / 2)])
    high = np.column_stack([ring * (radius if end_radius is None else end_radius), np.full(sections, length / 2)])
    vertices = np.concatenate([low, high, [[0, 0, -length / 2], [0, 0, length / 2]]])
    i = np.arange(sections)
    j = (i + 1) % sections
    bottom, top = np.full(sections, 2 * sections), np.full(sections, 2 * sections + 1)
    faces = np.concatenate(
        [
            np.column_stack([i, j, j + sections]),
            np.column_stack([i, j + sections, i + sections]),
            np.column_stack([bottom, j, i]),
            np.column_stack([top, i + sections, j + sections]),
        ]
    )
    order = {"z": [0, 1, 2], "y": [1, 2, 0], "x": [2, 0, 1]}[axis]  # cyclic, so that faces keep their outside
    return Mesh.of(vertices[:, order] + np.asarray(center, dtype=np.float64), faces, surface)


def ellipsoid(
    center: npt.ArrayLike, size: npt.ArrayLike, surface: Surface, *, rings: int = 4, sections: int = 8
) -> Mesh:
    """A low-poly ellipsoid inscribed in the cuboid ``size``."""
    polar = np.pi * np.arange(1, rings) / rings
    azimuth = 2 * np.pi * np.arange(sections) / sections
    body = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(azimuth),
            np.sin(polar)[:, None] * np.sin(azimuth),
            np.cos(polar)[:, None] * np.ones(sections),
        ],
        axis=-1,
    ).reshape(-1, 3)
    vertices = np.concatenate([body, [[0, 0, 1], [0, 0, -1]]])
    i = np.arange(sections)
    j = (i + 1) % sections
    north, south = np.full(sections, len(body)), np.full(sections, len(body) + 1)
    last = (rings - 2) * sections
    faces = [np.column_stack([north, i, j]), np.column_stack([south, j + last, i + last])]
    for ring in range(rings - 2):
        upper, lower = ring * sections, (ring + 1) * sections
        faces += [
            np.column_stack([i + upper, i + lower, j + lower]),
            np.column_stack([i + upper, j + lower, j + upper]),
        ]
    half = np.asarray(size, dtype=np.float64) / 2
    return Mesh.of(vertices * half + np.asarray(center, dtype=np.float64), np.concatenate(faces), surface)
