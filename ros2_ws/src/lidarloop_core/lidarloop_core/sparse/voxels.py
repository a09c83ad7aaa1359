"""Points → voxels: the mean of each voxel's points, for a sparse network.

CenterPoint and SECOND take the mean of a voxel's first ten points, since their grouping stores points by slots. Ours
sums as it goes, so that the mean is over all of them: nearer to the surface, no slots, and no order of points in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.pointcloud.grid import VoxelGrid
from lidarloop_core.sparse.compiled import average, list_rows, mark
from lidarloop_core.sparse.occupancy import (
    GridShape,
    Occupancy,
    check_shape,
    occupancy_of_words,
    thinned_reference,
)


@dataclass(frozen=True)
class VoxelIndex:
    """Points sorted out by voxel.

    Every point of the cloud is accounted for: N = Σ count + num_out_of_range + num_thinned.

    Attributes:
        features: (V, C) float32, mean of each voxel's points in the cloud's columns; rows in order of position.
        count: (V,) int32, points in each voxel, at least 1.
        voxel_of_point: (N,) int32, row + 1 of each point's voxel, 0 for a point without one.
        voxels: the occupied voxels, V of them.
        num_out_of_range: points outside the range, or not finite.
        num_thinned: points left out with their voxel, because the cloud has more voxels than the capacity.
    """

    features: npt.NDArray[np.float32]
    count: npt.NDArray[np.int32]
    voxel_of_point: npt.NDArray[np.int32]
    voxels: Occupancy
    num_out_of_range: int
    num_thinned: int


def group_voxels(points: npt.NDArray[np.float32], grid: VoxelGrid) -> VoxelIndex:
    """Sorts points into voxels and takes the mean of each.

    A point belongs to the voxel ``floor((x - low) / size)``, computed in float64. Sums are float32, over a voxel's
    points in their order in the cloud. Above the capacity, whole voxels are left out, evenly in row order.

    Args:
        points: (N, C) float32, C ≥ 3; x, y, z first, metres, LiDAR frame.
        grid: ranges, voxel size and capacity.

    Raises:
        ConfigError: the grid has more than 64 layers, or 2^31 voxels and more.
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    shape = GridShape(*grid.shape)
    check_shape(shape)
    low, high = (tuple(float(end[i]) for end in grid.ranges_m) for i in (0, 1))
    words = np.zeros(shape.num_cells, np.uint64)
    place = np.empty((len(points), 2), np.int32)
    size = tuple(float(edge) for edge in grid.cell_size_m)
    num_out_of_range = mark(points, low, high, size, tuple(shape), words, place)
    voxels = occupancy_of_words(shape, words, grid.capacity)
    features = np.zeros((voxels.num_voxels, points.shape[1]), np.float32)
    count = np.zeros(voxels.num_voxels, np.int32)
    voxel_of_point = np.empty(len(points), np.int32)
    num_thinned = list_rows(place, words, voxels.before, voxel_of_point)
    average(points, voxel_of_point, features, count)
    return VoxelIndex(features, count, voxel_of_point, voxels, num_out_of_range, num_thinned)


def group_voxels_reference(points: npt.NDArray[np.float32], grid: VoxelGrid) -> VoxelIndex:
    """``group_voxels`` of (N, C) points step by step in numpy: slower, to be read and tested against."""
    shape = GridShape(*grid.shape)
    low, high = np.array(grid.ranges_m).T

    # 1. The position of each point's voxel.
    xyz = points[:, :3].astype(np.float64)
    in_range = ((xyz >= low) & (xyz < high)).all(axis=1)
    place = ((xyz[in_range] - low) / grid.cell_size_m).astype(np.int64)
    column, row, layer = np.minimum(place, np.array(shape) - 1).T
    position = ((row * shape.columns + column) * shape.layers + layer).astype(np.int32)

    # 2. The voxels in use, evenly fewer of them if there are too many, and the row of each point.
    used, num_found = thinned_reference(position, grid.capacity)
    stays = np.isin(position, used)
    voxel_of_point = np.zeros(len(points), np.int32)
    voxel_of_point[np.flatnonzero(in_range)[stays]] = np.searchsorted(used, position[stays]) + 1

    # 3. Sums in the order of points, one after another.
    rows, kept = voxel_of_point[voxel_of_point > 0] - 1, points[voxel_of_point > 0]
    sums = np.zeros((len(used), points.shape[1]), np.float32)
    np.add.at(sums, rows, kept)
    count = np.bincount(rows, minlength=len(used)).astype(np.int32)
    return VoxelIndex(
        features=sums / count.astype(np.float32)[:, None],
        count=count,
        voxel_of_point=voxel_of_point,
        voxels=_occupancy_reference(shape, used, num_found),
        num_out_of_range=int(np.count_nonzero(~in_range)),
        num_thinned=int(np.count_nonzero(~stays)),
    )


def _occupancy_reference(shape: GridShape, position: npt.NDArray[np.int32], num_found: int) -> Occupancy:
    cell, layer = np.divmod(position.astype(np.int64), shape.layers)
    words = np.zeros(shape.num_cells, np.uint64)
    np.bitwise_or.at(words, cell, np.uint64(1) << layer.astype(np.uint64))
    in_cell = np.bincount(cell, minlength=shape.num_cells)
    return Occupancy(shape, words, (np.cumsum(in_cell) - in_cell).astype(np.int32), position, num_found)
