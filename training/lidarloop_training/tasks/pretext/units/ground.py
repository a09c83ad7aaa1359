"""Ground removal: straight lines fitted to the lowest points of each direction.

Himmelsbach, Hundelshausen and Wuensche, "Fast segmentation of 3D point clouds for ground vehicles", IV 2010, section
III. Beside it Patchwork++ (Lee et al., IROS 2022) as a library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError
from lidarloop_core.labelling.points.ground_height import GroundHeight, sensor_height_m
from lidarloop_training.ranges import check_ranges

_STIFFNESS_M2 = 1.0
"""A line whose points' ranges vary by less than this (sum of squares) keeps the slope of the line before it."""

_FEWEST = 3
"""Least number of low points of a line."""

_REACH = 18
"""A direction borrows lines from others within this part of a full turn, to either side."""


@dataclass(frozen=True)
class GroundConfig:
    """How the ground is found. The first group of limits is the paper's, with its symbols; its values are not given.

    Attributes:
        method: ``lines``, the fit of lines, or ``patchwork``, the library pypatchworkpp.
        num_segments: number of directions, each of which has lines of its own.
        bin_m: length of the innermost bins of a direction, metres. Each bin gives its lowest point.
        bin_growth: growth of the bins' length with range, a share: points lie farther apart there.
        max_slope: steepest line (T_m), metres of height a metre.
        max_rmse_m: largest root mean square error of a line (T_RMSE), metres.
        max_step_m: largest height between a line's first point and the line before it, extended (T_d,prev), metres.
            For the first line, the line before is level and at the height of the ground below the sensor.
        max_height_m: points higher above their line than this are no ground (T_d,ground), metres.
    """

    method: Literal["lines", "patchwork"] = "lines"
    num_segments: int = 180
    bin_m: float = 0.4
    bin_growth: float = 0.03
    max_slope: float = 0.1
    max_rmse_m: float = 0.06
    max_step_m: float = 0.15
    max_height_m: float = 0.15

    def __post_init__(self) -> None:
        check_ranges(
            "GroundConfig",
            num_segments=(self.num_segments, 4, 10_000),
            bin_m=(self.bin_m, 0.01, 10),
            bin_growth=(self.bin_growth, 0, 1),
            max_slope=(self.max_slope, 0, 10),
            max_rmse_m=(self.max_rmse_m, 0, 10),
            max_step_m=(self.max_step_m, 0, 10),
            max_height_m=(self.max_height_m, 0, 10),
        )


def find_ground(points: npt.NDArray[np.float32], config: GroundConfig) -> npt.NDArray[np.bool_]:
    """Which points belong to the ground.

    Args:
        points: (N, ≥3) float32, x y z first, metres, in a frame with a vertical z axis, to a few degrees, and its origin
            near the sensor. Points that are not finite are no ground.
        config: settings.

    Returns:
        (N,) bool.

    Raises:
        ConfigError: ``patchwork`` is chosen and pypatchworkpp is not installed.
    """
    finite = np.isfinite(points[:, :3]).all(axis=1)
    is_ground = np.zeros(len(points), np.bool_)
    if finite.any():
        xyz = np.ascontiguousarray(points[finite, :3], np.float32)
        by_method = _by_patchwork if config.method == "patchwork" else ground_by_lines
        is_ground[finite] = by_method(xyz, _ground_below(xyz), config)
    return is_ground


def _ground_below(xyz: npt.NDArray[np.float32]) -> float:
    """Height of the ground below the origin, metres."""
    height_m = sensor_height_m(xyz)
    return float(GroundHeight(xyz).at(np.zeros((1, 2)))[0]) if height_m is None else -height_m


def ground_by_lines(xyz: npt.NDArray[np.float32], below_m: float, config: GroundConfig) -> npt.NDArray[np.bool_]:
    """The fit of lines.

    Where it differs from the paper: bins grow with range; between two lines the ground leads straight from one to the
    other, and where a direction has no line, the next directions' lines hold, instead of the closest line alone; points
    below a line are ground, for reflections lie there.

    Args:
        xyz: (N, 3) float32, finite, metres.
        below_m: height of the ground below the origin, metres.
        config: settings.

    Returns:
        (N,) bool.
    """
    limits = (config.max_slope, config.max_rmse_m, config.max_step_m)
    segment, place, num_bins = _places(xyz, config.num_segments, config.bin_m, config.bin_growth)
    height_m = _heights_above_lines(xyz, segment, place, (config.num_segments, num_bins), below_m, limits)
    is_ground: npt.NDArray[np.bool_] = height_m <= config.max_height_m
    return is_ground


def _places(
    xyz: npt.NDArray[np.float32], num_segments: int, bin_m: float, growth: float
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], int]:
    """Segment and bin of each point, (N,) int32 each, and the number of bins."""
    turn = np.arctan2(xyz[:, 1], xyz[:, 0]) / (2 * np.pi)
    segment = np.floor(turn * num_segments).astype(np.int32) % num_segments
    bins = np.hypot(xyz[:, 0], xyz[:, 1]) / bin_m
    if growth > 0:  # lengths of the bins are a geometric series
        bins = np.log1p(growth * bins) / np.log1p(growth)
    place = bins.astype(np.int32)
    return segment, place, int(place.max()) + 1


@numba.njit(cache=True, nogil=True)
def _heights_above_lines(xyz, segment, place, shape, below_m, limits):  # type: ignore[no-untyped-def]
    """(N,) heights of the points above the lines of their directions."""
    num_segments, num_bins = shape
    low_r, low_z = np.zeros(shape, np.float32), np.full(shape, np.inf, np.float32)
    for i in range(len(xyz)):
        s, b = segment[i], place[i]
        if xyz[i, 2] < low_z[s, b]:
            low_z[s, b] = xyz[i, 2]
            low_r[s, b] = np.hypot(xyz[i, 0], xyz[i, 1])
    slope, offset = np.full(shape, np.nan), np.zeros(shape)  # the line that covers a bin
    for s in range(num_segments):
        _fit_lines(low_r[s], low_z[s], below_m, limits, slope[s], offset[s])
        _bridge(slope[s], offset[s], low_r[s])
    slope, offset = _borrowed(slope, offset, below_m)
    heights = np.empty(len(xyz), np.float32)
    for i in range(len(xyz)):
        s, b = segment[i], place[i]
        heights[i] = xyz[i, 2] - (slope[s, b] * np.hypot(xyz[i, 0], xyz[i, 1]) + offset[s, b])
    return heights


@numba.njit(cache=True, nogil=True)
def _fit_lines(r, z, below_m, limits, slope, offset):  # type: ignore[no-untyped-def]
    """Fits lines to one direction's low points from near to far (Algorithm 1) and writes them to the bins they cover."""
    max_slope, max_rmse_m, max_step_m = limits
    before_slope, before_offset, has_before = 0.0, below_m, False
    sums = np.zeros(6)  # of the open line's points: number, r, z, r², rz, z²
    line_slope, line_offset = 0.0, 0.0
    first, last = 0, -1
    for b in range(len(r)):
        if z[b] == np.inf:
            continue
        terms = np.array([1.0, r[b], z[b], r[b] * r[b], r[b] * z[b], z[b] * z[b]])
        if sums[0] > 0:
            next_slope, next_offset, rmse_m = _line(sums + terms, before_slope)
            if abs(next_slope) <= max_slope and rmse_m <= max_rmse_m:
                sums, line_slope, line_offset, last = sums + terms, next_slope, next_offset, b
                continue
            if sums[0] == 1 and z[b] > z[last]:
                continue  # an obstacle behind a single low point
            if sums[0] >= _FEWEST:
                slope[first : last + 1], offset[first : last + 1] = line_slope, line_offset
                before_slope, before_offset, has_before = line_slope, line_offset, True
            sums = np.zeros(6)
        step_m = max_step_m if has_before else max_step_m + max_slope * r[b]
        if abs(z[b] - (before_slope * r[b] + before_offset)) <= step_m:
            sums, first, last = terms, b, b
    if sums[0] >= _FEWEST:
        slope[first : last + 1], offset[first : last + 1] = line_slope, line_offset


@numba.njit(cache=True, nogil=True)
def _line(sums, usual_slope):  # type: ignore[no-untyped-def]
    """Slope, offset and root mean square error of the line through points; short ones keep near the usual slope."""
    n = sums[0]
    mean_r, mean_z = sums[1] / n, sums[2] / n
    rr, rz, zz = sums[3] - n * mean_r * mean_r, sums[4] - n * mean_r * mean_z, sums[5] - n * mean_z * mean_z
    slope = (rz + _STIFFNESS_M2 * usual_slope) / (rr + _STIFFNESS_M2)
    squares = zz - 2 * slope * rz + slope * slope * rr
    return slope, mean_z - slope * mean_r, np.sqrt(max(squares, 0.0) / n)


@numba.njit(cache=True, nogil=True)
def _bridge(slope, offset, low_r):  # type: ignore[no-untyped-def]
    """Writes straight lines to the bins between two lines of a direction."""
    before = -1
    for b in range(len(slope)):
        if np.isnan(slope[b]):
            continue
        if 0 <= before < b - 1:
            r0, r1 = low_r[before], low_r[b]
            z0, z1 = slope[before] * r0 + offset[before], slope[b] * r1 + offset[b]
            slope[before + 1 : b] = (z1 - z0) / (r1 - r0)
            offset[before + 1 : b] = z0 - (z1 - z0) / (r1 - r0) * r0
        before = b


@numba.njit(cache=True, nogil=True)
def _borrowed(slope, offset, below_m):  # type: ignore[no-untyped-def]
    """Lines for the bins that have none: those of the nearest direction that has, else the own direction's last line."""
    num_segments, num_bins = slope.shape
    full_slope, full_offset = slope.copy(), offset.copy()
    for s in range(num_segments):
        own_slope, own_offset = 0.0, below_m
        for b in range(num_bins):
            if not np.isnan(slope[s, b]):
                own_slope, own_offset = slope[s, b], offset[s, b]
                continue
            full_slope[s, b], full_offset[s, b] = own_slope, own_offset
            for aside in range(1, num_segments // _REACH + 1):
                other = (s + aside) % num_segments
                if np.isnan(slope[other, b]):
                    other = (s - aside) % num_segments
                if not np.isnan(slope[other, b]):
                    full_slope[s, b], full_offset[s, b] = slope[other, b], offset[other, b]
                    break
    return full_slope, full_offset


def _by_patchwork(xyz: npt.NDArray[np.float32], below_m: float, config: GroundConfig) -> npt.NDArray[np.bool_]:
    """The same by Patchwork++ with its own settings."""
    try:
        import pypatchworkpp
    except ImportError as error:
        raise ConfigError(
            f"GroundConfig received method patchwork, but pypatchworkpp cannot be imported ({error}); expected it "
            "installed: pip install 'lidarloop[patchwork]', or choose lines"
        ) from None
    parameters = pypatchworkpp.Parameters()
    parameters.sensor_height = -below_m
    parameters.enable_RNR = False  # it needs intensities, and the sensor's own scale of them
    patchwork: Any = pypatchworkpp.patchworkpp(parameters)
    patchwork.estimateGround(np.asfortranarray(xyz, np.float64))
    is_ground = np.zeros(len(xyz), np.bool_)
    is_ground[np.asarray(patchwork.getGroundIndices(), np.int64)] = True
    return is_ground
