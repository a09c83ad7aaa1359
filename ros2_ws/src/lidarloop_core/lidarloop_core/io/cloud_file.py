"""Clouds stored as bare numbers, as nuScenes and KITTI do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.io import regular_file

_MOST_BYTES = 1 << 30
_MAX_RANGE_M = 1000.0
_MAX_SHARE_OUTSIDE = 0.01
"""Single points with wild numbers are the sensor's; a wrong layout or scale shows in nearly all of them."""


@dataclass(frozen=True)
class CloudFormat:
    """What the numbers of a format are, for files carry no word about it.

    Attributes:
        name: name of the format, for errors.
        num_columns: numbers per point; the first four are x y z in metres and the intensity.
        max_intensity: largest intensity that the format allows.
        max_share_brighter: share of the points that may be brighter nevertheless.
        min_intensity: smallest intensity that the format allows.
    """

    name: str
    num_columns: int
    max_intensity: float
    max_share_brighter: float = _MAX_SHARE_OUTSIDE
    min_intensity: float = 0.0


KITTI = CloudFormat("KITTI", 4, 1.0)
ONCE = CloudFormat("ONCE", 4, 1.0, max_share_brighter=0.25)  # retro-reflectors exceed 1
# nuScenes' own are 0–255; tables that we write hold intensities as a vehicle recorded them.
NUSCENES = CloudFormat("nuScenes", 5, 65535.0, min_intensity=-65535.0)


def read_format(path: Path, format: CloudFormat) -> npt.NDArray[np.float32]:
    """A cloud of a known format: (N, C) float32, intensities as stored.

    Raises:
        DatasetError: as ``read_cloud``, or more than a few of the numbers are outside the format's ranges.
    """
    points = read_cloud(path, format.num_columns)
    finite = points[np.isfinite(points[:, :4]).all(axis=1)]
    if not len(finite):
        return points
    intensities = finite[:, 3]
    far = float((np.abs(finite[:, :3]) > _MAX_RANGE_M).any(axis=1).mean())
    dark = float((intensities < format.min_intensity).mean())
    bright = float((intensities > format.max_intensity).mean())
    if far > _MAX_SHARE_OUTSIDE or dark > _MAX_SHARE_OUTSIDE or bright > format.max_share_brighter:
        raise DatasetError(
            f"{path}: received coordinates up to {np.abs(finite[:, :3]).max():.4g} m and intensities from "
            f"{intensities.min():.4g} to {intensities.max():.4g}; a {format.name} cloud has {format.num_columns} "
            f"float32 per point, coordinates within {_MAX_RANGE_M:g} m and intensities of {format.min_intensity:g}–"
            f"{format.max_intensity:g}: the file is of another format or scale, convert it"
        )
    return points


def read_unit_intensities(path: Path, format: CloudFormat) -> npt.NDArray[np.float32]:
    """A cloud of a format whose intensities lie in 0–1, as ours of 0–255: (N, C) float32.

    Raises:
        DatasetError: as ``read_format``.
    """
    points = read_format(path, format)
    with np.errstate(over="ignore"):
        points[:, 3] = (points[:, 3] * np.float32(255.0)).clip(0.0, 255.0)
    return points


def read_cloud(path: Path, num_columns: int, dtype: str = "<f4") -> npt.NDArray[np.float32]:
    """A cloud stored as bare numbers: (N, C) float32, where C is ``num_columns``.

    Raises:
        DatasetError: the file is missing, no regular one, or does not hold an integer number of points.
    """
    point = num_columns * np.dtype(dtype).itemsize
    try:
        data = regular_file.read_bytes(path, _MOST_BYTES)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the file") from None
    if len(data) % point:
        raise DatasetError(
            f"{path}: received {len(data)} bytes; expected a multiple of {point} ({num_columns} numbers of type "
            f"{np.dtype(dtype).name} per point): the file is truncated or of another format"
        )
    return np.array(np.frombuffer(data, dtype).reshape(-1, num_columns), np.float32)
