"""The ground of the town: a gently uneven height field, and what covers it (asphalt, markings, pavement, grass)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull

from lidarloop_training.toytown.solids.shapes import Mesh, Surface, join
from lidarloop_training.toytown.streets.roads import LANE_WIDTH_M, PAVEMENT_WIDTH_M, RoadNetwork, Street

FloatArray = npt.NDArray[np.float64]

KERB_M = 0.13
CELL_M = 0.1
_MESH_CELL_M = 4.0

GRASS, ASPHALT, MARKING, PAVEMENT = range(4)
COVERS = (
    Surface((96, 124, 66), 0.28, 0.03),
    Surface((78, 79, 82), 0.14),
    Surface((222, 222, 214), 0.75),
    Surface((160, 156, 150), 0.3),
)
"""The surface of each cover, by its code."""


@dataclass(frozen=True)
class Ground:
    """Heights and covers.

    Attributes:
        waves: (W, 4) amplitude, wave vector x and y, phase: their sum is the height.
        origin: (2,) corner of the cover raster.
        cover: (rows = y, columns = x) uint8 codes, ``CELL_M`` cells.
    """

    waves: FloatArray
    origin: FloatArray
    cover: npt.NDArray[np.uint8]

    def base_height(self, xy: FloatArray) -> FloatArray:
        """(N,) height of the carriageway's level at (N, 2)."""
        amplitude, kx, ky, phase = self.waves.T
        height: FloatArray = np.sin(np.outer(xy[:, 0], kx) + np.outer(xy[:, 1], ky) + phase) @ amplitude
        return height

    def gradient(self, xy: FloatArray) -> FloatArray:
        """(N, 2) slope of ``base_height``."""
        amplitude, kx, ky, phase = self.waves.T
        slope = np.cos(np.outer(xy[:, 0], kx) + np.outer(xy[:, 1], ky) + phase) * amplitude
        return np.column_stack([slope @ kx, slope @ ky])

    def cover_at(self, xy: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
        """(N,) cover codes; grass beyond the raster."""
        column, row = ((xy - self.origin) / CELL_M).astype(np.int64).T
        height, width = self.cover.shape
        known = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        codes = self.cover[np.where(known, row, 0), np.where(known, column, 0)]
        return np.where(known, codes, np.uint8(GRASS))

    def height(self, xy: FloatArray) -> FloatArray:
        """(N,) height one stands on: pavements lie a kerb higher."""
        height: FloatArray = self.base_height(xy) + KERB_M * (self.cover_at(xy) == PAVEMENT)
        return height


def build_ground(
    network: RoadNetwork, streets: Iterable[Street], junctions: Iterable[int], rng: np.random.Generator
) -> Ground:
    """Lays the ground under the given streets and junctions."""
    wavelength = rng.uniform(45, 130, 5)
    direction = rng.uniform(0, 2 * np.pi, 5)
    wave_number = 2 * np.pi / wavelength
    waves = np.column_stack(
        [wavelength * 0.0008, wave_number * np.cos(direction), wave_number * np.sin(direction), rng.uniform(0, 6.28, 5)]
    )
    streets = list(streets)
    extent = np.concatenate([s.middle for s in streets])
    origin = np.floor(extent.min(axis=0) - 30)
    columns, rows = np.ceil((extent.max(axis=0) + 30 - origin) / CELL_M).astype(int)
    ground = Ground(waves, origin, np.zeros((rows, columns), np.uint8))
    for street in streets:
        _cover_street(ground, street)
    for junction in junctions:
        outline = network.junction_outline(junction)
        if len(outline) > 2:
            _cover_hull(ground, outline)
    return ground


def _cover_street(ground: Ground, street: Street) -> None:
    """Paints the cross-section along the street, in points so close that every cell gets one."""
    step = 0.65 * CELL_M
    outer = street.half_width_m + PAVEMENT_WIDTH_M
    across = np.arange(-outer, outer, step)
    along = np.arange(0, street.length_m, step)
    s, d = np.meshgrid(along, across, indexing="ij")
    code = np.where(np.abs(d) > street.half_width_m, PAVEMENT, ASPHALT).astype(np.uint8)
    dashed = (s % 9.0) < 4.5
    code[np.abs(d) < 0.1] = MARKING
    for lane in range(1, street.lanes_per_side):
        code[(np.abs(np.abs(d) - lane * LANE_WIDTH_M) < 0.08) & dashed] = MARKING
    edge = street.lanes_per_side * LANE_WIDTH_M
    code[(np.abs(np.abs(d) - edge) < 0.06) & ((s % 3.0) < 1.5)] = MARKING
    carriageway = np.abs(d) < street.half_width_m
    from_end = np.minimum(s, street.length_m - s)
    code[carriageway & (from_end > 1.0) & (from_end < 3.5) & ((d % 1.0) < 0.5)] = MARKING  # zebra crossings
    stop_side = np.where(s < street.length_m / 2, d > 0, d < 0) & (np.abs(d) < edge)
    code[stop_side & (from_end > 4.3) & (from_end < 4.7)] = MARKING  # stop lines
    column, row = ((street.at(s, d) - ground.origin) / CELL_M).astype(np.int64).transpose(2, 0, 1)
    ground.cover[row, column] = code


def _cover_hull(ground: Ground, outline: FloatArray) -> None:
    # A junction at the rim may reach beyond the raster, which is laid round the streets' middles.
    low = np.maximum(((outline.min(axis=0) - ground.origin) / CELL_M).astype(int), 0)
    high = np.minimum(((outline.max(axis=0) - ground.origin) / CELL_M).astype(int) + 1, ground.cover.shape[::-1])
    columns, rows = np.arange(low[0], high[0]), np.arange(low[1], high[1])
    x = ground.origin[0] + (columns + 0.5) * CELL_M
    y = ground.origin[1] + (rows + 0.5) * CELL_M
    inside = np.ones((len(rows), len(columns)), dtype=bool)
    for nx, ny, offset in np.unique(ConvexHull(outline).equations, axis=0):
        inside &= nx * x[None, :] + ny * y[:, None] + offset <= 0
    ground.cover[low[1] : high[1], low[0] : high[0]][inside] = ASPHALT


def ground_mesh(ground: Ground, streets: Iterable[Street], low: FloatArray, high: FloatArray) -> tuple[Mesh, int]:
    """The height field between two corners, and the raised pavements.

    Args:
        ground: heights and covers.
        streets: streets with pavements.
        low, high: (2,) corners with the least and largest x and y, metres, world frame.

    Returns:
        the mesh, and how many of its first faces take their look from the cover below them.
    """
    x = np.arange(low[0], high[0] + _MESH_CELL_M, _MESH_CELL_M)
    y = np.arange(low[1], high[1] + _MESH_CELL_M, _MESH_CELL_M)
    xy = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    field = _grid_mesh(np.column_stack([xy, ground.base_height(xy)]), len(y), len(x), COVERS[GRASS])
    raised = [_pavement_mesh(ground, street, side) for street in streets for side in (-1, 1)]
    return join([field, *raised]), len(field.faces)


def _grid_mesh(vertices: FloatArray, rows: int, columns: int, surface: Surface) -> Mesh:
    """Two triangles for each cell of a (rows, columns) grid; faces look up where columns run along x, rows along y."""
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    lower = np.column_stack([corner, corner + 1, corner + columns + 1])
    upper = np.column_stack([corner, corner + columns + 1, corner + columns])
    return Mesh.of(vertices, np.concatenate([lower, upper]), surface)


def _pavement_mesh(ground: Ground, street: Street, side: int) -> Mesh:
    inner, outer = street.half_width_m, street.half_width_m + PAVEMENT_WIDTH_M
    s = np.linspace(0, street.length_m, max(int(street.length_m / 2), 2))
    profile = ((inner, -0.05), (inner, KERB_M), (outer, KERB_M), (outer, -0.05))
    lines = []
    for offset, lift in profile[::side]:
        xy = street.at(s, side * offset)
        lines.append(np.column_stack([xy, ground.base_height(xy) + lift]))
    return _grid_mesh(np.concatenate(lines), len(profile), len(s), COVERS[PAVEMENT])
