"""A cloud as the graph of a sparse network takes it: voxels, and the neighbour tables of all levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.pointcloud.grid import VoxelGrid, VoxelLevel
from lidarloop_core.sparse.occupancy import Window
from lidarloop_core.sparse.tables import LevelPlan, LevelTables, build_tables, dense_table
from lidarloop_core.sparse.voxels import VoxelIndex, group_voxels


@dataclass(frozen=True)
class VoxelCloud:
    """A cloud's voxels and tables.

    Attributes:
        points: (N, C) float32, the cloud as it came, metres, LiDAR frame.
        index: its points by voxel.
        levels: tables of each level of the grid, the grid itself first.
        gives_points: whether the network answers for each point (a U-Net) and not for the cells of a BEV map.
    """

    points: npt.NDArray[np.float32]
    index: VoxelIndex
    levels: tuple[LevelTables, ...]
    gives_points: bool

    @property
    def is_empty(self) -> bool:
        """Whether no point is in range."""
        return len(self.index.features) == 0

    @property
    def num_cells(self) -> int:
        """Cells that hold points: V."""
        return len(self.index.features)

    @property
    def num_out_of_range(self) -> int:
        """Points outside the range, or not finite."""
        return self.index.num_out_of_range

    @property
    def num_thinned(self) -> int:
        """Points left out with their voxel, because the cloud has more voxels than the capacity."""
        return self.index.num_thinned

    @property
    def num_over_full(self) -> int:
        """0: a voxel takes any number of points."""
        return 0

    @property
    def overfull(self) -> tuple[str, ...]:
        """What exceeded its capacity; see ``overfull_levels``."""
        found = ((level.voxels.num_found, level.voxels.num_voxels) for level in self.levels)
        return overfull_levels(*zip(*found, strict=True))

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The graph's inputs by name, those of ``voxel_inputs``. A level without voxels has one, unused row."""
        found: dict[str, npt.NDArray[Any]] = {}
        if self.gives_points:
            found["points"], found["voxel_of_point"] = self.points, self.index.voxel_of_point
        found["voxels"] = _filled(self.index.features)
        for number, level in enumerate(self.levels):
            tables = {"strided": level.down, "inverse": level.up, "neighbours": level.submanifold}
            found.update({f"{name}_{number}": _filled(table) for name, table in tables.items() if table is not None})
        if not self.gives_points:
            found["cells"] = dense_table(self.levels[-1].voxels)
        return found


def overfull_levels(num_found: Sequence[int], num_voxels: Sequence[int]) -> tuple[str, ...]:
    """Levels that were thinned: ``("90000 voxels at level 0, the model takes 80000",)``.

    Args:
        num_found: voxels of each level before thinning.
        num_voxels: voxels of each level after it.
    """
    return tuple(
        f"{found} voxels at level {number}, the model takes {most}"
        for number, (found, most) in enumerate(zip(num_found, num_voxels, strict=True))
        if found > most
    )


def group_for_network(points: npt.NDArray[np.float32], grid: VoxelGrid, *, gives_points: bool) -> VoxelCloud:
    """Sorts points into voxels and builds all tables.

    Args:
        points: (N, C) float32, x y z first, metres, LiDAR frame.
        grid: ranges, voxel size and levels of the model.
        gives_points: whether the network answers for each point; then there are inverse tables, and submanifold ones on
            every level. Otherwise the last level, one layer high, is the BEV map.
    """
    index = group_voxels(points, grid)
    return VoxelCloud(points, index, build_tables(index.voxels, plan_of(grid, gives_points=gives_points)), gives_points)


def plan_of(grid: VoxelGrid, *, gives_points: bool) -> tuple[LevelPlan, ...]:
    """The tables that a network on this grid needs; see ``group_for_network``."""
    below = tuple(
        LevelPlan(
            most,
            window_of(level),
            has_submanifold=gives_points or level is not grid.levels[-1],
            has_inverse=gives_points,
        )
        for level, most in zip(grid.levels, grid.level_capacities[1:], strict=True)
    )
    return (LevelPlan(grid.level_capacities[0]), *below)


def window_of(level: VoxelLevel) -> Window:
    """Geometry of the strided convolution that makes a level."""
    return Window(level.kernel, level.stride, level.padding)


def _filled(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(V, K), with a row of zeros where there is none: a graph takes one row at least."""
    return rows if len(rows) else np.zeros((1, rows.shape[1]), rows.dtype)
