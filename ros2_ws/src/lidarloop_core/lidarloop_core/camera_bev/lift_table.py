"""Where image features fall on the bird's-eye-view map: a table computed outside the graph, from calibration alone.

Source: Lift, Splat, Shoot (Philion and Fidler, ECCV 2020), sections 3.1 and 3.2: each cell of the image features is
lifted to a place at each depth, with its probability of that depth as weight, and a cell of the map is the sum over the
places in it. Theirs sums by a cumulative sum over sorted places, or by a kernel of its own. Here the sorted places are
cut into rows of ``CHUNK``, each within one cell, and the rows of a cell are summed after them: two gathers of fixed
width, no scatter, and sums that lose no digits. Beyond ``MOST_CHUNKS`` rows a cell's places are thinned evenly: with
nuScenes' arrangement of cameras in a few cells beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.camera_bev.rig import CHUNK, MOST_CHUNKS, CameraRig
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.pointcloud.grid import Grid

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PlacedCamera:
    """A calibrated camera.

    Attributes:
        intrinsics: (3, 3) pinhole matrix of the rectified picture, pixels; the first pixel's centre is at (0, 0).
        width, height: pixels of the picture that the matrix is for.
        lidar_SE3_camera: pose of the optical frame (x right, y down, z forward) in the LiDAR frame, metres.
    """

    intrinsics: npt.NDArray[np.float64]
    width: int
    height: int
    lidar_SE3_camera: SE3


@dataclass(frozen=True)
class LiftTable:
    """The inputs of a graph that say where image features fall; all indices are +1, and 0 is none.

    Attributes:
        places: (R, CHUNK) int32 places of each row: camera, row, column and depth, the last varying fastest.
        rows: (U, MOST_CHUNKS) int32 rows of ``places`` in each used cell of the map.
        cells: (columns × rows,) int32 row of ``rows`` of each cell of the map.
        num_thinned: number of places left out of cells with more than ``CHUNK × MOST_CHUNKS``.
    """

    places: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int32]
    cells: npt.NDArray[np.int32]
    num_thinned: int = 0

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Name of each input of the graph → array."""
        return {"lift_places": self.places, "lift_rows": self.rows, "lift_cells": self.cells}


def lift_table(
    cameras: Sequence[PlacedCamera | None],
    rig: CameraRig,
    grid: Grid,
    change: npt.NDArray[np.float64] | None = None,
) -> LiftTable:
    """The table of calibrated cameras.

    Args:
        cameras: one for each of ``rig.names``; None for a camera without a picture, which gives nothing.
        rig: what the model takes of them.
        grid: range and cells of the model.
        change: (3, 3) matrix that the points of the scene were multiplied by, for augmentation; None is the identity.
    """
    places = [place_of_cell(camera, rig) if camera is not None else None for camera in cameras]
    cells = [_cells(points, rig, grid, change) for points in places]
    return _table(np.concatenate(cells), int(np.prod(rig.map_shape(grid))))


def dark_table(rig: CameraRig, grid: Grid) -> LiftTable:
    """The table of a rig without any picture: the cameras' map is zero everywhere."""
    return lift_table([None] * len(rig.names), rig, grid)


def place_of_cell(camera: PlacedCamera, rig: CameraRig) -> npt.NDArray[np.float64]:
    """The places that one camera's features are lifted to.

    Returns:
        (rows × columns × depths, 3) float64, metres, LiDAR frame: the middle of each cell of the features at each
        depth, the depth varying fastest.
    """
    columns, rows = rig.feature_shape
    # The middle of a cell, in pixels of the network's picture and then of the camera's: edges are at -0.5.
    u = (np.arange(columns) + 0.5) * rig.stride * camera.width / rig.width - 0.5
    v = (np.arange(rows) + 0.5) * rig.stride * camera.height / rig.height - 0.5
    near, far = rig.depth_range_m
    depth = near + (np.arange(rig.num_depths) + 0.5) * (far - near) / rig.num_depths
    pixels = np.stack([*np.meshgrid(u, v), np.ones((rows, columns))], axis=-1).reshape(-1, 3)
    rays = np.linalg.solve(camera.intrinsics, pixels.T).T
    points = rays[:, None] * depth[:, None]  # the third component of a ray is 1, so its depth is the factor
    placed: npt.NDArray[np.float64] = camera.lidar_SE3_camera.transform(points.reshape(-1, 3))
    return placed


def _cells(
    places: npt.NDArray[np.float64] | None, rig: CameraRig, grid: Grid, change: npt.NDArray[np.float64] | None
) -> IndexArray:
    """(places of a camera,) cell of the map that each place is in, row × columns + column; -1 for none."""
    if places is None:
        return np.full(rig.num_places // len(rig.names), -1)
    if change is not None:
        places = places @ change.T
    columns, rows = rig.map_shape(grid)
    low, high = np.array(grid.ranges_m).T
    size = np.array(grid.cell_size_m[:2]) * rig.map_stride
    # Whatever is far away must not overflow an integer.
    inside = ((places >= low) & (places < high)).all(axis=1)
    column, row = np.floor((np.where(inside[:, None], places, low)[:, :2] - low[:2]) / size).astype(np.int64).T
    return np.where(inside, np.minimum(row, rows - 1) * columns + np.minimum(column, columns - 1), -1)


def _table(cell_of_place: IndexArray, num_cells: int) -> LiftTable:
    """The table from the cell of each place, -1 for none."""
    place = np.flatnonzero(cell_of_place >= 0)
    place = place[np.argsort(cell_of_place[place], kind="stable")]
    cell = cell_of_place[place]
    count = np.bincount(cell, minlength=num_cells)
    number = np.arange(len(place)) - (np.cumsum(count) - count)[cell]  # of the place in its cell

    # A full cell keeps, of its n places, those at which the share of the room grows by one.
    room = CHUNK * MOST_CHUNKS
    kept_count = np.minimum(count, room)
    after = (number + 1) * kept_count[cell] // np.maximum(count[cell], 1)
    kept = after > number * kept_count[cell] // np.maximum(count[cell], 1)
    place, cell, number = place[kept], cell[kept], after[kept] - 1

    used = np.flatnonzero(kept_count)
    num_rows = -(-kept_count // CHUNK)
    first_row = np.cumsum(num_rows) - num_rows
    places = np.zeros((max(1, int(num_rows.sum())), CHUNK), np.int32)
    places[first_row[cell] + number // CHUNK, number % CHUNK] = place + 1

    wanted = np.arange(MOST_CHUNKS)
    rows = np.zeros((max(1, len(used)), MOST_CHUNKS), np.int32)
    rows[: len(used)] = np.where(wanted < num_rows[used, None], first_row[used, None] + wanted + 1, 0)
    cells = np.zeros(num_cells, np.int32)
    cells[used] = np.arange(1, len(used) + 1)
    return LiftTable(places, rows, cells, num_thinned=int((count - kept_count).sum()))
