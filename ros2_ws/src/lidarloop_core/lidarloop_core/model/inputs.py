"""The tensors that a graph takes, by the grid that its points are grouped into."""

from __future__ import annotations

import numpy as np

from lidarloop_core.camera_bev.rig import CHUNK, MOST_CHUNKS, CameraRig
from lidarloop_core.model.padding import Constant, RepeatFirst, UnusedIndex
from lidarloop_core.model.tensors import Dimension, TensorSpec
from lidarloop_core.pointcloud.grid import Grid, PillarGrid, VoxelGrid
from lidarloop_core.sparse.cloud import plan_of
from lidarloop_core.sparse.occupancy import SUBMANIFOLD

MAX_POINTS = 1 << 20
"""Points of a cloud that is segmented: an engine's profile needs a limit."""

_FLOAT, _INDEX, _TABLE = np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.int32)
_BYTE = np.dtype(np.uint8)


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


def voxel_inputs(grid: VoxelGrid, num_columns: int, *, gives_points: bool) -> tuple[TensorSpec, ...]:
    """See ``VoxelCloud.tensors``. Usual is a cloud that fills half of each level.

    Tables hold row + 1, and 0 where there is no voxel: what the graph gathers from begins with a row of zeros. Padded
    rows of a table are 0, so that they gather zeros alone, and no row of the cloud gathers them.

    Args:
        grid: the model's grid.
        num_columns: columns of a point, C.
        gives_points: whether the network answers for each point; see ``group_for_network``.
    """
    rows = [
        Dimension(f"num_voxels_{level}", max(1, most // 2), most) for level, most in enumerate(grid.level_capacities)
    ]
    tensors = []
    if gives_points:
        points = Dimension("num_points", max(1, grid.level_capacities[0]), MAX_POINTS)
        tensors.append(TensorSpec("points", _FLOAT, (points, num_columns), RepeatFirst()))
        tensors.append(TensorSpec("voxel_of_point", _TABLE, (points,), RepeatFirst()))
    tensors.append(TensorSpec("voxels", _FLOAT, (rows[0], num_columns), Constant(0)))
    for number, plan in enumerate(plan_of(grid, gives_points=gives_points)):
        if plan.window is not None:
            places = plan.window.num_places
            tensors.append(TensorSpec(f"strided_{number}", _TABLE, (rows[number], places), Constant(0)))
            if plan.has_inverse:
                tensors.append(TensorSpec(f"inverse_{number}", _TABLE, (rows[number - 1], places), Constant(0)))
        if plan.has_submanifold:
            places = SUBMANIFOLD.num_places
            tensors.append(TensorSpec(f"neighbours_{number}", _TABLE, (rows[number], places), Constant(0)))
    if not gives_points:
        columns, map_rows, layers = grid.level_shapes[-1]
        tensors.append(TensorSpec("cells", _TABLE, (columns * map_rows, layers)))
    return tuple(tensors)


def camera_inputs(rig: CameraRig, grid: Grid) -> tuple[TensorSpec, ...]:
    """See ``Pictures`` and ``LiftTable``. Usual is a rig of which half of the places are in range.

    Padded rows are 0, so that they gather zeros alone, and no cell of the map gathers them.

    Args:
        rig: what the model takes of its cameras.
        grid: the model's grid.
    """
    columns, map_rows = rig.map_shape(grid)
    most_used = min(columns * map_rows, rig.num_places)
    most_rows = rig.num_places // CHUNK + most_used  # each used cell has one row that is not full
    rows = Dimension("num_lift_rows", max(1, most_rows // 2), most_rows)
    used = Dimension("num_lift_cells", max(1, most_used // 2), most_used)
    return (
        TensorSpec("images", _BYTE, (len(rig.names), rig.height, rig.width, 3)),
        TensorSpec("lift_places", _TABLE, (rows, CHUNK), Constant(0)),
        TensorSpec("lift_rows", _TABLE, (used, MOST_CHUNKS), Constant(0)),
        TensorSpec("lift_cells", _TABLE, (columns * map_rows,)),
    )
