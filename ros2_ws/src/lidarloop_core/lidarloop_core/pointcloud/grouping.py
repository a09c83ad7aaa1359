"""Points → pillars: the index tensors that the exported graph takes.

``group_pillars`` (numba) is the one implementation, for the data loader and for the vehicle.
``group_pillars_reference`` computes the same in readable numpy; the two agree bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from lidarloop_core.pointcloud.grid import PillarGrid


@dataclass(frozen=True)
class PillarIndex:
    """Points grouped by pillar; the first four are the graph's inputs.

    Every point of the cloud is accounted for: N = N' + num_out_of_range + num_over_full + num_thinned.

    Attributes:
        points: (N', C) float32, the points kept, in their old order, metres, LiDAR frame.
        slot: (N',) int64, ``pillar * max_points_per_pillar + place in the pillar``, distinct.
        cell: (P,) int64, ``row * num_columns + column`` of each pillar, distinct; column along x, row along y. Pillars
            are numbered by their first point.
        count: (P,) int64, number of points kept in each pillar, 1 … max_points_per_pillar.
        num_out_of_range: number of points outside the range, or not finite.
        num_over_full: number of points left out because their pillar was full.
        num_thinned: number of points left out with their pillar, because the cloud has more than ``max_pillars``.
        num_pillars_found: number of pillars before thinning.
    """

    points: npt.NDArray[np.float32]
    slot: npt.NDArray[np.int64]
    cell: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    num_out_of_range: int
    num_over_full: int
    num_thinned: int
    num_pillars_found: int

    @property
    def is_empty(self) -> bool:
        """Whether no point is in range."""
        return len(self.points) == 0

    @property
    def num_cells(self) -> int:
        """Cells that hold points: P."""
        return len(self.cell)

    @property
    def overfull(self) -> tuple[str, ...]:
        """What exceeded its capacity; see ``overfull_pillars``."""
        return overfull_pillars(self.num_pillars_found, len(self.cell))

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The graph's inputs by name: points (N', C), slot (N',), cell (P,), count (P,)."""
        return {"points": self.points, "slot": self.slot, "cell": self.cell, "count": self.count}


def overfull_pillars(num_found: int, capacity: int) -> tuple[str, ...]:
    """``("17000 pillars, the model takes 16000",)``; empty where they fit."""
    return (f"{num_found} pillars, the model takes {capacity}",) if num_found > capacity else ()


def group_pillars(points: npt.NDArray[np.float32], grid: PillarGrid) -> PillarIndex:
    """Sorts points into pillars.

    A point belongs to the cell ``floor((x - low) / size)``, computed in float64. Above ``max_pillars``, pillars are
    left out with all their points, evenly in row-major order of cells, so that objects everywhere keep their share.

    Args:
        points: (N, C) float32, x y z first, metres, LiDAR frame.
        grid: ranges, cell size and capacities of the model.
    """
    points = np.ascontiguousarray(points, dtype=np.float32)
    low, high = zip(*grid.ranges_m, strict=True)
    kept, slot, cell, count, num_out_of_range, num_thinned, num_found = _group(
        points, low, high, grid.cell_size_m, *grid.shape, grid.max_points_per_pillar, grid.max_pillars
    )
    num_over_full = len(points) - len(kept) - num_out_of_range - num_thinned
    return PillarIndex(kept, slot, cell, count, num_out_of_range, num_over_full, num_thinned, num_found)


@numba.njit(cache=True, nogil=True)
def _group(points, low, high, size, num_columns, num_rows, max_points, max_pillars):  # type: ignore[no-untyped-def]
    num_points = len(points)
    cell_of_point = np.empty(num_points, np.int32)
    pillar_of_cell = np.full(num_columns * num_rows, -1, np.int32)
    num_out_of_range = 0
    num_found = 0
    for i in range(num_points):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        # Written so that NaN is outside.
        if not (low[0] <= x < high[0] and low[1] <= y < high[1] and low[2] <= z < high[2]):
            cell_of_point[i] = -1
            num_out_of_range += 1
            continue
        # A quotient just below the last edge may round up to it.
        column = min(int((x - low[0]) / size[0]), num_columns - 1)
        row = min(int((y - low[1]) / size[1]), num_rows - 1)
        cell = row * num_columns + column
        cell_of_point[i] = cell
        if pillar_of_cell[cell] < 0:
            pillar_of_cell[cell] = num_found
            num_found += 1

    if num_found > max_pillars:
        _thin(cell_of_point, pillar_of_cell, num_found, max_pillars)

    num_pillars = min(num_found, max_pillars)
    kept = np.empty_like(points)
    slot = np.empty(num_points, np.int64)
    cells = np.empty(num_pillars, np.int64)
    counts = np.zeros(num_pillars, np.int64)
    num_kept = 0
    num_thinned = 0
    for i in range(num_points):
        cell = cell_of_point[i]
        if cell < 0:
            continue
        pillar = pillar_of_cell[cell]
        if pillar < 0:
            num_thinned += 1
            continue
        place = counts[pillar]
        if place == max_points:
            continue
        counts[pillar] = place + 1
        cells[pillar] = cell
        slot[num_kept] = pillar * max_points + place
        for c in range(points.shape[1]):
            kept[num_kept, c] = points[i, c]
        num_kept += 1
    return kept[:num_kept], slot[:num_kept], cells, counts, num_out_of_range, num_thinned, num_found


@numba.njit(cache=True, nogil=True)
def _thin(cell_of_point, pillar_of_cell, num_found, max_pillars):  # type: ignore[no-untyped-def]
    """Takes ``num_found - max_pillars`` pillars out of the table and renumbers the others by their first point."""
    rank = 0
    for cell in range(len(pillar_of_cell)):
        if pillar_of_cell[cell] >= 0:
            is_kept = (rank + 1) * max_pillars // num_found > rank * max_pillars // num_found
            pillar_of_cell[cell] = -2 if is_kept else -1
            rank += 1
    num_pillars = 0
    for i in range(len(cell_of_point)):
        cell = cell_of_point[i]
        if cell >= 0 and pillar_of_cell[cell] == -2:
            pillar_of_cell[cell] = num_pillars
            num_pillars += 1


def group_pillars_reference(points: npt.NDArray[np.float32], grid: PillarGrid) -> PillarIndex:
    """``group_pillars`` of (N, C) points step by step in numpy: slower, to be read and tested against."""
    low, high = np.array(grid.ranges_m).T
    shape = np.array(grid.shape)

    # 1. The cell of each point in range.
    xyz = points[:, :3].astype(np.float64)
    in_range = ((xyz >= low) & (xyz < high)).all(axis=1)
    column_row = ((xyz[in_range, :2] - low[:2]) / grid.cell_size_m).astype(np.int64)
    column_row = np.minimum(column_row, shape - 1)
    cell_of_point = column_row[:, 1] * shape[0] + column_row[:, 0]
    inside = np.flatnonzero(in_range)

    # 2. The cells in use; evenly fewer of them if there are too many.
    used = np.unique(cell_of_point)
    rank = np.arange(len(used))
    num_used, num_kept = len(used), min(len(used), grid.max_pillars)
    if num_used > num_kept:
        used = used[(rank + 1) * num_kept // num_used > rank * num_kept // num_used]
    stays = np.isin(cell_of_point, used)
    num_thinned = int(np.count_nonzero(~stays))
    cell_of_point, inside = cell_of_point[stays], inside[stays]

    # 3. Pillars numbered by their first point, and each point's place in its pillar.
    _, first, inverse = np.unique(cell_of_point, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    pillar = number[inverse.reshape(-1)]
    by_pillar = np.argsort(pillar, kind="stable")
    start = np.searchsorted(pillar[by_pillar], np.arange(len(first)))
    place = np.empty(len(pillar), np.int64)
    place[by_pillar] = np.arange(len(pillar)) - start[pillar[by_pillar]]

    # 4. Full pillars take no more.
    fits = place < grid.max_points_per_pillar
    return PillarIndex(
        points=points[inside[fits]],
        slot=pillar[fits] * grid.max_points_per_pillar + place[fits],
        cell=cell_of_point[np.sort(first)],
        count=np.bincount(pillar[fits], minlength=len(first)).astype(np.int64),
        num_out_of_range=int(np.count_nonzero(~in_range)),
        num_over_full=int(np.count_nonzero(~fits)),
        num_thinned=num_thinned,
        num_pillars_found=num_used,
    )
