"""Lane maps of Argoverse 2: the vector map that lies beside each log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.io import outside
from lidarloop_core.sample import LaneMap

STEP_M = 1.0
"""Largest spacing of the points of a centre line."""

_LANE_TYPES = ("VEHICLE", "BUS")


def read_lane_map(path: Path) -> LaneMap:
    """Centre lines of the lanes for motor vehicles, and the drivable areas' outlines, in city coordinates.

    Bicycle lanes are left out: the lanes give the heading of vehicles.

    Args:
        path: ``log_map_archive_<log>____<city>_city_<number>.json``.

    Raises:
        DatasetError: no such map.
    """
    try:
        raw = outside.read_json(path)
        lanes = [lane for lane in raw["lane_segments"].values() if lane["lane_type"] in _LANE_TYPES]
        centerlines = tuple(
            midline(_points(lane["left_lane_boundary"]), _points(lane["right_lane_boundary"])) for lane in lanes
        )
        in_intersection = tuple(bool(lane["is_intersection"]) for lane in lanes)
        areas = tuple(_points(area["area_boundary"])[:, :2] for area in raw["drivable_areas"].values())
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the file") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DatasetError(
            f"{path}: no vector map of Argoverse 2 ({type(error).__name__}: {error}); expected lane_segments with "
            "left_lane_boundary, right_lane_boundary and is_intersection, and drivable_areas: restore the file"
        ) from None
    return LaneMap(centerlines, tuple(str(lane["id"]) for lane in lanes), areas, in_intersection)


def midline(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The line half way between two boundaries that run the same way.

    Args:
        left: (K, 3) metres, K ≥ 2.
        right: (L, 3) metres, L ≥ 2.

    Returns:
        (M, 3) metres: the means of points that lie at equal shares of both boundaries' lengths, ``STEP_M`` apart or
        less.
    """
    num_points = int(np.ceil(max(_lengths(left)[-1], _lengths(right)[-1]) / STEP_M)) + 1
    shares = np.linspace(0.0, 1.0, max(num_points, 2))
    return (_at_shares(left, shares) + _at_shares(right, shares)) / 2


def _at_shares(line: npt.NDArray[np.float64], shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    lengths = _lengths(line)
    return np.stack([np.interp(shares * lengths[-1], lengths, line[:, axis]) for axis in range(3)], axis=1)


def _lengths(line: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(K,) metres from the start to each point, along the line."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])


def _points(raw: list[dict[str, Any]]) -> npt.NDArray[np.float64]:
    return np.array([(point["x"], point["y"], point["z"]) for point in raw], dtype=np.float64).reshape(-1, 3)
