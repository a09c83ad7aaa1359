"""Where nothing is known of a sample: the cells that no camera looks at, where its labels were made from pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.camera import in_image, project
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import CameraImage, Sample, camera_SE3_lidar
from lidarloop_training.tasks.augment import SceneChange

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

_OBJECT_CENTER_M = 0.8
"""Height above the ground at which a cell has to be in a picture: that of the middle of most objects, metres."""


def map_shape(spec: ModelSpec, stride: int) -> tuple[int, int]:
    """Rows and columns of the head's map."""
    columns, rows = (size // stride for size in spec.grid.shape[:2])
    return rows, columns


def cell_centers(spec: ModelSpec, stride: int) -> FloatArray:
    """(H × W, 2) x and y of the middle of each cell of the head's map, row by row; metres, LiDAR frame."""
    rows, columns = map_shape(spec, stride)
    x = spec.grid.x_range_m[0] + (np.arange(columns) + 0.5) * spec.grid.cell_size_m[0] * stride
    y = spec.grid.y_range_m[0] + (np.arange(rows) + 0.5) * spec.grid.cell_size_m[1] * stride
    places: FloatArray = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return places


def unseen_cells(sample: Sample, spec: ModelSpec, stride: int, change: SceneChange) -> BoolArray:
    """(H, W) cells of a changed scene whose objects may lack a label, because no picture of the sample shows them.

    None where the labels do not depend on the cameras; all where they do and the sample has no picture.

    Args:
        sample: the sample as it was recorded, with its cameras.
        spec: range, cell size and height of the LiDAR.
        stride: cells of the grid that one cell of the head's map spans, each way.
        change: what was done to the scene.
    """
    shape = map_shape(spec, stride)
    if sample.annotations is None or not sample.annotations.in_view_only:
        return np.zeros(shape, np.bool_)
    places = change.undone(cell_centers(spec, stride))
    xyz = np.column_stack([places, np.full(len(places), _OBJECT_CENTER_M - spec.lidar_height_m)])
    seen = np.zeros(len(xyz), np.bool_)
    for image in sample.cameras:
        seen |= is_in_picture(image, sample, xyz)
    return ~seen.reshape(shape)


def is_in_picture(image: CameraImage, sample: Sample, xyz: FloatArray) -> BoolArray:
    """(N,) whether places (N, 3), metres, in the keyframe LiDAR's frame, lie in a picture; what hides them is left out
    of account."""
    pixels, depth_m = project(camera_SE3_lidar(image, sample.keyframe).transform(xyz), image.intrinsics)
    return in_image(pixels, depth_m, image.width, image.height)
