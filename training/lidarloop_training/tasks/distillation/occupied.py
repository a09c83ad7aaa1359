"""The occupied cells of a grouped cloud at one level of an encoder: voxels, or pillars on the ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.group import GroupedCloud
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import PillarGrid, VoxelGrid
from lidarloop_core.pointcloud.grouping import PillarIndex
from lidarloop_core.sparse.cloud import VoxelCloud


@dataclass(frozen=True)
class LevelGrid:
    """The grid of one level.

    Attributes:
        number: the level, counted from 0, the spec's grid.
        shape: columns along x and rows along y.
        first_center_m: (D,) float64 middle of the first cell, metres, LiDAR frame: x y z, of pillars x y, since a
            pillar has no height of its own.
        step_m: (D,) float64 distance of neighbouring middles, metres.
        map_shape: columns and rows of the head's map.
    """

    number: int
    shape: tuple[int, int]
    first_center_m: npt.NDArray[np.float64]
    step_m: npt.NDArray[np.float64]
    map_shape: tuple[int, int]

    @property
    def num_axes(self) -> int:
        """D, 3 for voxels and 2 for pillars."""
        return len(self.step_m)

    def centers_m(self, cells: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(V, D) middles of (V, ≥D) cells, metres."""
        return self.first_center_m + cells[:, : self.num_axes] * self.step_m

    def map_cells(self, cells: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(V,) row × columns + column of the map's cell below each of (V, ≥2) cells."""
        (columns, rows), (map_columns, map_rows) = self.shape, self.map_shape
        return cells[:, 1] * map_rows // rows * map_columns + cells[:, 0] * map_columns // columns

    def map_cell_of_rows(self, cells: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """``map_cells`` of each row of the level's tensors: -1 for the unused row of voxels where there are none."""
        if len(cells) == 0 and self.num_axes == 3:
            return np.full(1, -1)
        return self.map_cells(cells)


def level_grid(spec: ModelSpec, level: int, stride: int) -> LevelGrid:
    """The grid of a level above the map.

    Args:
        spec: contract of a detector.
        level: index of its encoder's levels above the map; negative ones count from the last.
        stride: cells of the spec's grid that one cell of the head's map spans, each way.

    Raises:
        ConfigError: there is no such level, or the map's cells are finer.
    """
    grid = spec.grid
    num_levels = 1 if isinstance(grid, PillarGrid) else len(grid.levels)
    if not -num_levels <= level < num_levels:
        raise ConfigError(
            f"voxel_level received {level}; expected {-num_levels}…{num_levels - 1}: the encoder of {spec.name} has "
            f"{num_levels} above its map"
        )
    number = level % num_levels
    map_shape = (grid.shape[0] // stride, grid.shape[1] // stride)
    if isinstance(grid, PillarGrid):
        step = np.array(grid.cell_size_m)
        first = np.array([grid.x_range_m[0], grid.y_range_m[0]]) + step / 2
        return LevelGrid(number, grid.shape, first, step, map_shape)
    columns, rows, _ = grid.level_shapes[number]
    if columns % map_shape[0] or rows % map_shape[1]:
        raise ConfigError(
            f"voxel_level received {level}, whose {columns} × {rows} cells are no multiple of the map's "
            f"{map_shape[0]} × {map_shape[1]}; expected a finer level"
        )
    return LevelGrid(number, (columns, rows), *_middles(grid, number), map_shape)


def _middles(grid: VoxelGrid, number: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Middle of a level's first cell, and the step: a strided convolution's cell lies in the middle of its window."""
    first, step = np.full(3, 0.5), np.ones(3)  # in cells of the spec's grid
    for level in grid.levels[:number]:
        first = first + step * ((np.array(level.kernel) - 1) / 2 - np.array(level.padding))
        step = step * np.array(level.stride)
    low, size = np.array([low for low, _ in grid.ranges_m]), np.array(grid.cell_size_m)
    return low + first * size, step * size


def occupied_cells(cloud: GroupedCloud, grid: LevelGrid) -> npt.NDArray[np.int64]:
    """(V, 3) of voxels or (V, 2) of pillars: column, row (and layer) of each occupied cell, in the tensors' order."""
    if isinstance(cloud, PillarIndex):
        row, column = np.divmod(cloud.cell, grid.shape[0])
        return np.stack([column, row], axis=1)
    assert isinstance(cloud, VoxelCloud)
    return cloud.levels[grid.number].voxels.coordinates().astype(np.int64)
