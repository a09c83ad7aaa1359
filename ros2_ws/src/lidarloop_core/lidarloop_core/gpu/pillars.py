"""Clouds that are on the GPU, grouped there into pillars: the host reads back five numbers.

The kernels are in ``pillars.cu``; this puts them in order. They compute what ``group_pillars`` computes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.gpu.counts import GroupedCounts, check_fits
from lidarloop_core.gpu.launcher import Address, Device, Launcher, Memory
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import Sizes, capacity
from lidarloop_core.pointcloud.grid import PillarGrid
from lidarloop_core.pointcloud.grouping import overfull_pillars

_NUM_COUNTS = 5
_VALUES_PER_SLOT = 2  # an int64 is two values of four bytes


class CudaPillars:
    """See ``CudaGrouping``, for a model on pillars.

    Args:
        device: runs the kernels.
        spec: contract of the model.
        grid: its grid.
        max_cloud_points: most points of one cloud, all sweeps together.

    Attributes:
        inputs: name of an input → its memory, sized for the model's capacity.

    Raises:
        CudaOutOfMemoryError: the device has too little memory.
    """

    def __init__(self, device: Device, spec: ModelSpec, grid: PillarGrid, max_cloud_points: int) -> None:
        self._device = device
        self._num_columns = len(spec.point_columns)
        self._max_cloud_points = max_cloud_points
        self._most_pillars = grid.most_pillars
        self._num_cells = grid.num_cells
        self._grid = device.allocate(_GRID.itemsize)
        device.upload(self._grid, _grid(grid))
        self._counts = device.allocate(4 * _NUM_COUNTS)
        names_of_cells = ("first", "members", "filled", "rank", "kept", "kept_members", "start", "kept_before")
        names_of_points = ("cell_of_point", "list", "is_first", "place", "is_kept")
        self._ints = {name: device.allocate(4 * self._num_cells) for name in names_of_cells}
        self._ints |= {name: device.allocate(4 * max_cloud_points) for name in names_of_points}
        self._launcher = Launcher(device, max(self._num_cells, max_cloud_points))
        self._unread = device.allocate(4)
        largest = capacity(spec.inputs)
        self.inputs = {tensor.name: device.allocate(tensor.num_bytes(largest)) for tensor in spec.inputs}

    def group(self, points: Memory, num_points: int) -> GroupedCounts:
        """See ``CudaGrouping.group``; points (num_points, C)."""
        check_fits(num_points, self._max_cloud_points)
        columns, cells, grid, counts = self._num_columns, self._num_cells, self._grid, self._counts
        run, prefix_sum = self._launcher.run, self._launcher.prefix_sum
        ints, unread, inputs = self._ints, Address(self._unread.address), self.inputs
        run("clear", _NUM_COUNTS, counts)
        run("clear_cells", cells, ints["first"], ints["members"], ints["filled"])
        cell_of_point, first, members = ints["cell_of_point"], ints["first"], ints["members"]
        run("assign", num_points, points, columns, grid, cell_of_point, first, members, counts)
        run("mark_used", cells, members, ints["rank"])
        prefix_sum(ints["rank"], ints["rank"], cells, Address(counts.address + 4))
        run("thin", cells, ints["rank"], grid, counts, ints["kept"], members, ints["kept_members"])
        prefix_sum(ints["kept"], ints["kept_before"], cells, Address(counts.address + 8))
        prefix_sum(ints["kept_members"], ints["start"], cells, unread)
        run(
            *("list_members", num_points, cell_of_point, ints["kept"], ints["start"], first),
            *(ints["filled"], ints["list"], ints["is_first"], counts),
        )
        run(
            *("place_points", num_points, cell_of_point, ints["kept"], ints["start"], members),
            *(ints["list"], grid, ints["place"], ints["is_kept"]),
        )
        prefix_sum(ints["is_first"], ints["is_first"], num_points, unread)
        prefix_sum(ints["is_kept"], ints["is_kept"], num_points, Address(counts.address + 12))
        run(
            *("write_points", num_points, points, columns, cell_of_point, first, members, ints["is_first"]),
            *(ints["place"], ints["is_kept"], grid),
            *(inputs["points"], inputs["slot"], inputs["cell"], inputs["count"]),
        )
        return self._read_counts(num_points)

    def pad(self, counts: GroupedCounts, bucket: Sizes) -> None:
        """See ``CudaGrouping.pad``."""
        inputs, num_points, num_pillars = self.inputs, counts.rows["num_points"], counts.rows["num_pillars"]
        added_points, added_pillars = bucket["num_points"] - num_points, bucket["num_pillars"] - num_pillars
        run = self._launcher.run
        run("repeat_first", added_points, inputs["points"], self._num_columns, num_points)
        run("repeat_first", added_points, inputs["slot"], _VALUES_PER_SLOT, num_points)
        if added_pillars:
            run(
                *("pad_cells", self._num_cells, self._ints["kept"], self._ints["kept_before"]),
                *(inputs["cell"], inputs["count"], num_pillars, added_pillars),
            )

    def _read_counts(self, num_points: int) -> GroupedCounts:
        """Waits for the kernels; the numbers are ``PillarCounts`` of pillars.cu."""
        read = np.frombuffer(self._device.download(self._counts, 4 * _NUM_COUNTS), np.int32)
        num_out_of_range, num_found, num_pillars, num_kept, num_thinned = (int(value) for value in read)
        return GroupedCounts(
            rows={"num_points": num_kept, "num_pillars": num_pillars},
            num_found={"num_pillars": num_found},
            num_out_of_range=num_out_of_range,
            num_over_full=num_points - num_out_of_range - num_thinned - num_kept,
            num_thinned=num_thinned,
            overfull=overfull_pillars(num_found, self._most_pillars),
        )


_GRID = np.dtype(
    [
        ("low", "<f8", 3),
        ("high", "<f8", 3),
        ("size", "<f8", 2),
        ("columns", "<i4"),
        ("rows", "<i4"),
        ("max_points", "<i4"),
        ("max_pillars", "<i4"),
    ]
)
"""``PillarGrid`` of pillars.cu."""


def _grid(grid: PillarGrid) -> npt.NDArray[Any]:
    low, high = zip(*grid.ranges_m, strict=True)
    return np.array([(low, high, grid.cell_size_m, *grid.shape, grid.max_points_per_pillar, grid.max_pillars)], _GRID)
