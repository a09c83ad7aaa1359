"""Lines of sight of a drive: places that the LiDAR looked through are empty."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_INNER = 0.6
"""Share of a box's width, as seen from the LiDAR, within which lines count: its place is not exact."""

_FOOT_M, _TOP_M = 0.3, 0.2
"""Lines count that pass this far above a box's underside and below its top."""

_BEHIND_M = 1.0
"""Points at least this far behind a box were seen through it."""

_LEAST_LINES = 8
_HELD_UP = 0.2
"""A place is empty if so many lines at least pass it, and those that end in it are at most this share of them: glass
lets some through, and a car holds up most."""


class SightLines:
    """Directions and lengths of the lines of sight of all frames, in a frame with the drive's axes."""

    def __init__(self) -> None:
        self._frames: list[tuple[Float32Array, Float32Array, Float32Array]] = []
        self._heights: list[float] = []

    def add(self, points: npt.NDArray[Any], sensor: npt.NDArray[Any]) -> None:
        """Adds a frame.

        Args:
            points: (N, ≥3) all its points, ground included, metres, drive's frame.
            sensor: (3,) position of the LiDAR, metres, same frame.
        """
        x, y, z = (np.asarray(points, np.float64)[:, :3] - sensor).T
        azimuth, flat = np.arctan2(y, x), np.hypot(x, y)
        order = np.argsort(azimuth, kind="stable")
        slope = z / np.maximum(flat, 1e-3)
        columns = azimuth, flat, slope
        azimuths, flats, slopes = (column[order].astype(np.float32) for column in columns)
        self._frames.append((azimuths, flats, slopes))
        self._heights.append(float(sensor[2]))

    def saw_through(self, frame: int, box: FloatArray, sensor_xy: FloatArray) -> bool:
        """Whether the LiDAR looked through the place of a box.

        Args:
            frame: index of the frame.
            box: (≥7,) box columns, drive's frame.
            sensor_xy: (2,) position of the LiDAR, metres, same frame.
        """
        azimuths, flats, slopes = self._frames[frame]
        offset = box[:2] - sensor_xy
        distance = float(np.hypot(*offset))
        bearing, turn = np.arctan2(offset[1], offset[0]), box[6]
        half = abs(box[3] / 2 * np.sin(turn - bearing)) + abs(box[4] / 2 * np.cos(turn - bearing))
        depth = abs(box[3] / 2 * np.cos(turn - bearing)) + abs(box[4] / 2 * np.sin(turn - bearing))
        if distance < depth + _BEHIND_M:
            return False
        rows = _window(azimuths, bearing, _INNER * half / distance)
        underside = box[2] - box[5] / 2 - self._heights[frame]
        low, high = underside + _FOOT_M, underside + box[5] - _TOP_M
        height = slopes[rows] * distance
        at_level = (height > low) & (height < high)
        flat = flats[rows][at_level]
        through = int((flat > distance + depth + _BEHIND_M).sum())
        held = int((np.abs(flat - distance) < depth + _BEHIND_M / 2).sum())
        return through >= _LEAST_LINES and held <= _HELD_UP * through


def _window(azimuths: Float32Array, bearing: float, half: float) -> npt.NDArray[np.int64]:
    """Rows of ascending azimuths within ``half`` of a bearing, across the seam as well; all in radians."""
    rows = []
    for turn in (-2 * np.pi, 0.0, 2 * np.pi):
        first, last = np.searchsorted(azimuths, [bearing - half + turn, bearing + half + turn])
        rows.append(np.arange(first, last))
    return np.concatenate(rows)
