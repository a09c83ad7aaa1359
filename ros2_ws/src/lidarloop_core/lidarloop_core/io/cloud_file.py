"""Clouds stored as bare numbers, as nuScenes and KITTI do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError


def read_cloud(path: Path, num_columns: int, dtype: str = "<f4") -> npt.NDArray[np.float32]:
    """A cloud stored as bare numbers: (N, C) float32, where C is ``num_columns``.

    Raises:
        DatasetError: the file is missing or does not hold an integer number of points.
    """
    try:
        numbers = np.fromfile(path, dtype=dtype)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the file") from None
    size, point = path.stat().st_size, num_columns * np.dtype(dtype).itemsize
    if size % point:
        raise DatasetError(
            f"{path}: received {size} bytes; expected a multiple of {point} ({num_columns} numbers of type "
            f"{np.dtype(dtype).name} per point): the file is truncated or of another format"
        )
    return numbers.reshape(-1, num_columns).astype(np.float32, copy=False)
