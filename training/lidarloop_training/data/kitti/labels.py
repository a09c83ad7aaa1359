"""KITTI's label lines: boxes in the rectified reference camera's frame, at the bottom centre, y down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import regular_file

_MOST_BYTES = 1 << 26


def label_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and words of each line of a label file that is not empty.

    Raises:
        DatasetError: the file cannot be read.
    """
    try:
        lines = regular_file.read_text(path, _MOST_BYTES).splitlines()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the file") from None
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if words:
            yield number, words


def box_in_lidar(fields: npt.NDArray[np.float64], lidar_SE3_reference: SE3) -> list[float]:
    """The nine columns of ``BOX_COLUMNS`` in the Velodyne's frame, velocity unknown.

    ``rotation_y`` turns about the camera's y axis, which points down: at 0 the object heads along the camera's x, at
    -π/2 along its z, the way the camera looks.

    Args:
        fields: (7,) ``height width length x y z rotation_y``, metres and radians.
        lidar_SE3_reference: rectified reference camera to Velodyne.
    """
    height, width, length, x, y, z, rotation_y = fields.tolist()
    center = lidar_SE3_reference.transform(np.array([[x, y - height / 2, z]]))[0]
    heading = lidar_SE3_reference.rotate(np.array([[np.cos(rotation_y), 0.0, -np.sin(rotation_y)]]))[0]
    return [*center, length, width, height, np.arctan2(heading[1], heading[0]), np.nan, np.nan]
