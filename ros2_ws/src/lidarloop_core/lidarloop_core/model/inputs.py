"""The tensors that a graph takes, by the grid that its points are grouped into."""

from __future__ import annotations

import math

import numpy as np

from lidarloop_core.model.padding import Constant, RepeatFirst, UnusedIndex
from lidarloop_core.model.tensors import Dimension, TensorSpec
from lidarloop_core.pointcloud.grid import PillarGrid, VoxelGrid

_FLOAT, _INDEX = np.dtype(np.float32), np.dtype(np.int64)
_NEIGHBOURS = 27  # of a voxel and those round it, 3 × 3 × 3


def pillar_inputs(grid: PillarGrid, num_columns: int) -> tuple[TensorSpec, ...]:
    """See ``PillarIndex``. Usual is a cloud that fills half of the pillars and a third of their places."""
    points = Dimension("num_points", max(1, grid.most_points // 6), grid.most_points)
    pillars = Dimension("num_pillars", max(1, grid.most_pillars // 2), grid.most_pillars)
    return (
        TensorSpec("points", _FLOAT, (points, num_columns), RepeatFirst()),
        TensorSpec("slot", _INDEX, (points,), RepeatFirst()),
        TensorSpec("cell", _INDEX, (pillars,), UnusedIndex(grid.num_cells)),
        TensorSpec("count", _INDEX, (pillars,), Constant(1)),
    )


def voxel_inputs(grid: VoxelGrid, num_columns: int) -> tuple[TensorSpec, ...]:
    """Means of the points in each voxel; the rows of each voxel's neighbours, level by level; cells of the last level.

    Tables hold row + 1, and 0 where there is no neighbour: what the graph gathers from begins with a row of zeros.
    Padded rows of a table are 0, so that they gather zeros alone.
    """
    rows = [
        Dimension(f"num_voxels_{level}", max(1, most // 2), most) for level, most in enumerate(grid.level_capacities)
    ]
    tensors = [TensorSpec("voxels", _FLOAT, (rows[0], num_columns), Constant(0))]
    for level, row in enumerate(rows):
        if level > 0:
            taps = math.prod(grid.levels[level - 1].kernel)
            tensors.append(TensorSpec(f"strided_{level}", _INDEX, (row, taps), Constant(0)))
        tensors.append(TensorSpec(f"neighbours_{level}", _INDEX, (row, _NEIGHBOURS), Constant(0)))
    cells = math.prod(grid.level_shapes[-1])
    return (*tensors, TensorSpec("cell", _INDEX, (rows[-1],), UnusedIndex(cells)))
