"""The ground as straight lines, fitted to the lowest points of each direction from near to far.

Himmelsbach, Hundelshausen and Wuensche, "Fast segmentation of 3D point clouds for ground vehicles", IV 2010, section
III.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

_STIFFNESS_M2 = 1.0
"""A line whose points' ranges vary by less than this (sum of squares) keeps the slope of the line before it."""

_FEWEST = 3
"""Least number of low points of a line."""

_REACH = 18
"""A direction borrows lines from others within this part of a full turn, to either side."""

_MOST_BINS = 2000


class PolarGrid(NamedTuple):
    """Directions, and the bins in which each gives its lowest point.

    Attributes:
        num_segments: number of directions.
        bin_m: length of the innermost bins, metres.
        bin_growth: growth of the bins' length with range, a share.
    """

    num_segments: int
    bin_m: float
    bin_growth: float


class LineLimits(NamedTuple):
    """What a line may be.

    Attributes:
        max_slope: steepest line (T_m), metres of height a metre.
        max_rmse_m: largest root mean square error (T_RMSE), metres.
        max_step_m: largest height of a line's first point above or below the line before it (T_d,prev), metres.
    """

    max_slope: float
    max_rmse_m: float
    max_step_m: float


def heights_above_lines(
    xyz: npt.NDArray[np.float32], below_m: float, polar: PolarGrid, limits: LineLimits
) -> npt.NDArray[np.float32]:
    """Heights of points above the lines of their directions.

    Where it differs from the paper: bins grow with range; a line has three points at least, and a short one keeps near
    the slope of the line before it; between two lines the ground leads straight from one to the other, and where a
    direction has no line, the next directions' lines hold, in place of the closest line.

    Args:
        xyz: (N, 3) float32, finite, at least one point, metres.
        below_m: height of the ground below the origin, metres.
        polar: directions and bins.
        limits: what a line may be.

    Returns:
        (N,) float32, metres.
    """
    segment, place = _places(xyz, polar)
    shape = (polar.num_segments, int(place.max()) + 1)
    heights: npt.NDArray[np.float32] = _heights(xyz, segment, place, shape, below_m, limits)
    return heights


def _places(xyz: npt.NDArray[np.float32], polar: PolarGrid) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Segment and bin of each point, (N,) int32 each."""
    turn = np.arctan2(xyz[:, 1], xyz[:, 0]) / (2 * np.pi)
    segment = np.floor(turn * polar.num_segments).astype(np.int32) % polar.num_segments
    bins = np.hypot(xyz[:, 0], xyz[:, 1]) / polar.bin_m
    if polar.bin_growth > 0:  # lengths of the bins are a geometric series
        bins = np.log1p(polar.bin_growth * bins) / np.log1p(polar.bin_growth)
    return segment, np.minimum(bins, _MOST_BINS).astype(np.int32)


@numba.njit(cache=True, nogil=True)
def _heights(xyz, segment, place, shape, below_m, limits):  # type: ignore[no-untyped-def]
    """(N,) heights of the points above the lines of their directions."""
    low_r, low_z = np.zeros(shape, np.float32), np.full(shape, np.inf, np.float32)
    for i in range(len(xyz)):
        s, b = segment[i], place[i]
        if xyz[i, 2] < low_z[s, b]:
            low_z[s, b] = xyz[i, 2]
            low_r[s, b] = np.hypot(xyz[i, 0], xyz[i, 1])
    slope, offset = np.full(shape, np.nan), np.zeros(shape)  # the line that covers a bin
    for s in range(shape[0]):
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
    """Fits lines to one direction's low points, near to far (Algorithm 1); writes them to the bins they cover."""
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
    """Lines for the bins without one: those of the nearest direction with one, else the own direction's last."""
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
