"""Height of the ground around the vehicle, from a cloud alone.

Cells of a grid each give their low points. Those that lie on vehicles, bushes and walls stick out of the surroundings,
for the ground slopes gently: planes are fitted to the surroundings of each cell, first wide, then narrow, and what lies
above them counts less and less. This is robust local regression (LOWESS: Cleveland, JASA 1979) with a loss that
forgives what is above sooner than what is below, done for all cells at once by normalised convolution (Knutsson and
Westin, CVPR 1993).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lidarloop_core.labelling.points.own_vehicle import without_own_vehicle

CELL_M = 2.0
"""Side of the cells."""

MAX_RANGE_M = 80.0
"""Points beyond are ignored; there the ground is as high as at the edge."""

_SIDE = 2 * int(MAX_RANGE_M / CELL_M)  # cells

# Tuned on the undersides of labelled boxes of nuScenes, KITTI, Argoverse 2 and the toy town.
_LOW_SHARE = 0.1  # of a cell's points may lie below the ground: reflections
_BAND_M = 0.15  # the low points of a cell lie within this of one height
_ENOUGH_POINTS = 5  # low points, for a cell to have full weight
_START_M = 1.0  # heights above the lowest one around are forgiven, to begin with
_STEPS = ((20.0, 0.3), (12.0, 0.15), (6.0, 0.1), (3.0, 0.06))  # of fitting: radius, height above forgiven, metres
_BELOW = 6.0  # heights below are forgiven as many times more
_EVERYWHERE = 1e-8  # the window's height far from its cell, for where nothing else is near
_FLAT_M2 = 1.0  # pulls slopes that rest on few cells towards zero

# Of the cells round the sensor so many, and such a share, show the ground: bare, and as high as the surface.
_MANY_POINTS = 30_000  # suffice
_NEAR_SIDE = 16  # cells: 16 m to each side
_BARE = 0.5  # share of a cell's points that are low ones
_ENOUGH_CELLS = 12
_ENOUGH_SHARE = 0.25

_Grid = npt.NDArray[np.float64]


class GroundHeight:
    """The ground's height over a grid round the sensor."""

    def __init__(self, points: npt.NDArray[Any]) -> None:
        """Estimates the ground, in 6 ms.

        Args:
            points: (N, ≥3) metres, in a frame with a vertical z axis, to a few degrees, and its origin near the sensor.
        """
        self._heights = _surface(*_low_points(points, _SIDE))

    def at(self, xy: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Heights of the ground.

        Args:
            xy: (N, ≥2) metres.

        Returns:
            (N,) metres, cloud's frame; NaN if the cloud had no point.
        """
        place = (np.asarray(xy, np.float64)[:, :2] + MAX_RANGE_M) / CELL_M - 0.5
        heights: npt.NDArray[np.float64] = ndimage.map_coordinates(
            self._heights, place[:, ::-1].T, order=1, mode="nearest"
        )
        return heights


def sensor_height_m(points: npt.NDArray[np.float32]) -> float | None:
    """Height of the frame's origin above the ground below it, metres; None where too little ground is seen to be sure.

    Each cell round the sensor has one vote, whatever its number of points: it shows the ground where most of its points
    are low ones that lie on the fitted surface. So channels that crowd at the horizon, near walls and a roof below the
    sensor do not outweigh the ground. In 2 ms.

    Args:
        points: (N, ≥3) metres, as for ``GroundHeight``; the vehicle's own returns are left out here.
    """
    few = points[:: 1 + len(points) // _MANY_POINTS]
    x, y, z, weight = _low_points(without_own_vehicle(few), _NEAR_SIDE)
    surface = _surface(x, y, z, weight)
    middle = np.arange(_NEAR_SIDE) + 0.5 - _NEAR_SIDE / 2
    near = (np.hypot(middle, middle[:, None]) < _NEAR_SIDE / 2) & (weight > 0)
    num_on_ground = int(np.count_nonzero(near & (weight > _BARE) & (np.abs(z - surface) < _BAND_M)))
    if num_on_ground < _ENOUGH_CELLS or num_on_ground < _ENOUGH_SHARE * np.count_nonzero(near):
        return None
    centre = _NEAR_SIDE // 2
    return -float(surface[centre - 1 : centre + 1, centre - 1 : centre + 1].mean())


@numba.njit(cache=True, nogil=True)
def _low_points(points, side):  # type: ignore[no-untyped-def]
    """Mean of each cell's low points (x and y from the cell's middle, and z), and its weight."""
    cell = np.full(len(points), -1)
    starts = np.zeros(side * side + 1, np.int64)
    for i in range(len(points)):
        column, row = np.floor(points[i, 0] / CELL_M) + side // 2, np.floor(points[i, 1] / CELL_M) + side // 2
        if 0 <= column < side and 0 <= row < side:
            cell[i] = int(row) * side + int(column)
            starts[cell[i] + 1] += 1
    starts = np.cumsum(starts)
    by_cell = np.empty(starts[-1], np.int64)
    free = starts[:-1].copy()
    for i in range(len(points)):
        if cell[i] >= 0:
            by_cell[free[cell[i]]] = i
            free[cell[i]] += 1
    x, y, z = np.zeros((side, side)), np.zeros((side, side)), np.zeros((side, side))
    weight = np.zeros((side, side))
    for c in range(side * side):
        own = by_cell[starts[c] : starts[c + 1]]
        if len(own) == 0:
            continue
        rank = int(len(own) * _LOW_SHARE)
        low = np.partition(points[own, 2], rank)[rank]
        num_low, sum_x, sum_y, sum_z = 0, 0.0, 0.0, 0.0
        for i in own:
            if abs(points[i, 2] - low) <= _BAND_M:
                num_low += 1
                sum_x, sum_y, sum_z = sum_x + points[i, 0], sum_y + points[i, 1], sum_z + points[i, 2]
        row, column = c // side, c % side
        x[row, column] = sum_x / num_low - (column - side // 2 + 0.5) * CELL_M
        y[row, column] = sum_y / num_low - (row - side // 2 + 0.5) * CELL_M
        z[row, column] = sum_z / num_low
        # Bare ground has low points alone; where others stand above them the low ones may be an object's as well.
        weight[row, column] = min(num_low, _ENOUGH_POINTS) / _ENOUGH_POINTS * num_low / len(own)
    return x, y, z, weight


def _surface(x: _Grid, y: _Grid, z: _Grid, weight: _Grid) -> _Grid:
    """(rows, columns) heights at the middles of the cells, metres."""
    if not weight.any():
        return np.full_like(z, np.nan)
    lowest_about = ndimage.minimum_filter(np.where(weight > 0, z, np.inf), size=5)
    residual, above_m = np.where(weight > 0, z - lowest_about, 0.0), _START_M
    height = z
    for radius_m, next_above_m in _STEPS:
        scale = np.where(residual > 0, above_m, _BELOW * above_m)
        height, slope_x, slope_y = _planes(x, y, z, weight / np.square(1 + np.square(residual / scale)), radius_m)
        residual, above_m = z - (height + slope_x * x + slope_y * y), next_above_m
    return height


def _planes(x: _Grid, y: _Grid, z: _Grid, weight: _Grid, radius_m: float) -> tuple[_Grid, _Grid, _Grid]:
    """Fits a plane to the surroundings of each cell; gives the height at its middle and the slopes along x and y.

    Args:
        x, y: places of the heights ``z``, from the middles of their cells, metres.
        z: heights, metres.
        weight: weights of the heights.
        radius_m: standard deviation of the Gaussian window, metres.
    """
    middle = (np.arange(len(z)) + 0.5) * CELL_M
    x, y = x + middle, y + middle[:, None]

    def blurred(values: _Grid) -> _Grid:
        weighted = weight * values
        near: _Grid = ndimage.gaussian_filter(weighted, radius_m / CELL_M, mode="constant", truncate=3.0)
        return near + _EVERYWHERE * float(weighted.sum())

    total = blurred(np.ones_like(z))
    mean_x, mean_y, mean_z = blurred(x) / total, blurred(y) / total, blurred(z) / total
    xx, xy, yy = (blurred(p) / total for p in (x * x, x * y, y * y))
    xz, yz = blurred(x * z) / total - mean_x * mean_z, blurred(y * z) / total - mean_y * mean_z
    xx, xy, yy = xx - mean_x**2 + _FLAT_M2, xy - mean_x * mean_y, yy - mean_y**2 + _FLAT_M2
    determinant = xx * yy - xy * xy
    slope_x, slope_y = (xz * yy - yz * xy) / determinant, (yz * xx - xz * xy) / determinant
    return mean_z + slope_x * (middle - mean_x) + slope_y * (middle[:, None] - mean_y), slope_x, slope_y
