"""PandaSet's JSON files: calibrations, poses and times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError, PoseError
from lidarloop_core.io import outside

_MOST_BYTES = 1 << 28


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        DatasetError: the file is missing, too large or no JSON.
    """
    try:
        return outside.read_json(path, _MOST_BYTES)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the file") from None
    except ValueError as error:
        raise DatasetError(f"{path}: is no JSON ({error}); restore the file") from None


@contextmanager
def layout_checked(path: Path) -> Iterator[None]:
    """Names the file whose content is not as expected.

    Raises:
        DatasetError: the block looked for what is not there, or found what is no number or no rigid transform.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, PoseError) as error:
        raise DatasetError(
            f"{path}: {type(error).__name__}: {error}; expected the layout of a PandaSet sequence: restore the file"
        ) from None


def pinhole(lens: dict[str, float]) -> npt.NDArray[np.float64]:
    """(3, 3) matrix, pixels, from fx, fy, cx, cy."""
    return np.array([[lens["fx"], 0.0, lens["cx"]], [0.0, lens["fy"], lens["cy"]], [0.0, 0.0, 1.0]], np.float64)


def nanoseconds(seconds: float) -> int:
    """Seconds since 1970 as float64 hold no more than microseconds."""
    return round(float(seconds) * 1e6) * 1000
