"""Clouds that are on the GPU, grouped there: the host reads back five numbers.

The kernels are in ``grouping.cu``; this puts them in order. ``group_pillars`` says what they compute.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from importlib import resources
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import CloudFormatError
from lidarloop_core.model.padding import Bucket
from lidarloop_core.model.spec import ModelSpec

_CHUNK = 64  # CHUNK of grouping.cu
_POINTER, _INT = ctypes.c_void_p, ctypes.c_int


def source() -> str:
    """The text of ``grouping.cu``."""
    return resources.files("lidarloop_core.gpu").joinpath("grouping.cu").read_text(encoding="utf-8")


class Address(int):
    """Of something on the device; kernels take it as a pointer, where a plain int is a number."""


class Memory(Protocol):
    """Bytes on the device, freed with the object."""

    address: int


class Device(Protocol):
    """What runs the kernels: a GPU (``gpu_device.GpuDevice``), or in tests the CPU. All in order, as on a stream."""

    def allocate(self, num_bytes: int) -> Memory: ...

    def upload(self, memory: Memory, array: npt.NDArray[Any], offset: int = 0) -> None:
        """Copies to the device; ``array`` may change afterwards."""
        ...

    def download(self, memory: Memory, num_bytes: int) -> bytes:
        """Waits for what was started, and copies to the host."""
        ...

    def launch(self, name: str, num_items: int, arguments: Sequence[Any], kinds: Sequence[type]) -> None: ...


class GroupedCounts(NamedTuple):
    """``Counts`` of grouping.cu: what the host gets to know."""

    num_out_of_range: int
    num_pillars_found: int
    num_pillars: int
    num_points: int
    num_thinned: int


class CudaGrouping:
    """Groups points that are on the device into the graph's inputs, also on the device.

    Args:
        device: runs the kernels.
        spec: the model's contract.
        max_cloud_points: most points of one cloud, all sweeps together.

    Attributes:
        points, slot, cell, count: memory of the graph's inputs, sized for ``capacity``.
    """

    def __init__(self, device: Device, spec: ModelSpec, max_cloud_points: int) -> None:
        self._device = device
        self._spec = spec
        self.max_cloud_points = max_cloud_points
        columns, rows = spec.grid_size
        self._num_cells = columns * rows
        most_pillars = min(spec.max_pillars, self._num_cells)
        self.capacity = Bucket(most_pillars * spec.max_points_per_pillar, most_pillars)
        self._grid = device.allocate(_GRID.itemsize)
        device.upload(self._grid, _grid(spec))
        self._counts = device.allocate(5 * 4)
        names_of_cells = ("first", "members", "filled", "rank", "kept", "kept_members", "start", "kept_before")
        names_of_points = ("cell_of_point", "list", "is_first", "place", "is_kept")
        self._ints = {name: device.allocate(4 * self._num_cells) for name in names_of_cells}
        self._ints |= {name: device.allocate(4 * max_cloud_points) for name in names_of_points}
        self._sums, number = [], max(self._num_cells, max_cloud_points)
        while number > 1:
            number = -(-number // _CHUNK)
            self._sums.append(device.allocate(4 * number))
        self._unread = device.allocate(4)
        self.points = device.allocate(4 * len(spec.point_columns) * self.capacity.num_points)
        self.slot = device.allocate(8 * self.capacity.num_points)
        self.cell = device.allocate(8 * self.capacity.num_pillars)
        self.count = device.allocate(8 * self.capacity.num_pillars)

    def group(self, points: Memory, num_points: int) -> GroupedCounts:
        """Fills ``points``, ``slot``, ``cell`` and ``count`` from a cloud on the device.

        Args:
            points: (num_points, C) float32 in ``spec.point_columns``.
            num_points: at most ``max_cloud_points``.
        """
        if num_points > self.max_cloud_points:
            raise CloudFormatError(
                f"grouping received {num_points} points; expected at most {self.max_cloud_points}: make it larger"
            )
        columns, cells, grid, counts = len(self._spec.point_columns), self._num_cells, self._grid, self._counts
        run, ints, unread = self._run, self._ints, Address(self._unread.address)
        run("clear_counts", 1, counts)
        run("clear_cells", cells, ints["first"], ints["members"], ints["filled"])
        cell_of_point, first, members = ints["cell_of_point"], ints["first"], ints["members"]
        run("assign", num_points, points, columns, grid, cell_of_point, first, members, counts)
        run("mark_used", cells, members, ints["rank"])
        self._prefix_sum(ints["rank"], ints["rank"], cells, Address(counts.address + 4))
        run("thin", cells, ints["rank"], grid, counts, ints["kept"], members, ints["kept_members"])
        self._prefix_sum(ints["kept"], ints["kept_before"], cells, Address(counts.address + 8))
        self._prefix_sum(ints["kept_members"], ints["start"], cells, unread)
        run(
            *("list_members", num_points, cell_of_point, ints["kept"], ints["start"], first),
            *(ints["filled"], ints["list"], ints["is_first"], counts),
        )
        run(
            *("place_points", num_points, cell_of_point, ints["kept"], ints["start"], members),
            *(ints["list"], grid, ints["place"], ints["is_kept"]),
        )
        self._prefix_sum(ints["is_first"], ints["is_first"], num_points, unread)
        self._prefix_sum(ints["is_kept"], ints["is_kept"], num_points, Address(counts.address + 12))
        run(
            *("write_points", num_points, points, columns, cell_of_point, first, members, ints["is_first"]),
            *(ints["place"], ints["is_kept"], grid, self.points, self.slot, self.cell, self.count),
        )
        values = np.frombuffer(self._device.download(counts, 20), np.int32)
        return GroupedCounts(*(int(value) for value in values))

    def pad(self, counts: GroupedCounts, bucket: Bucket) -> None:
        """Fills up to a bucket with what changes no output (see ``inference.padding``); at least one point was kept."""
        added_points = bucket.num_points - counts.num_points
        added_pillars = bucket.num_pillars - counts.num_pillars
        columns = len(self._spec.point_columns)
        self._run("pad_points", added_points, self.points, self.slot, columns, counts.num_points)
        if added_pillars:
            self._run(
                *("pad_cells", self._num_cells, self._ints["kept"], self._ints["kept_before"]),
                *(self.cell, self.count, counts.num_pillars, added_pillars),
            )

    def _prefix_sum(self, values: Memory, out: Memory, number: int, total: Address, level: int = 0) -> None:
        """Exclusive; ``out`` may be ``values``. The sum of all goes to ``total``."""
        sums, num_chunks = self._sums[level], -(-number // _CHUNK)
        self._run("sum_chunks", num_chunks, values, sums, number)
        if num_chunks > _CHUNK:
            self._prefix_sum(sums, sums, num_chunks, total, level + 1)
        else:
            self._run("scan_one", 1, sums, num_chunks, total)
        self._run("scan_chunks", num_chunks, values, sums, out, number)

    def _run(self, name: str, num_items: int, *arguments: Memory | Address | int) -> None:
        if num_items == 0:
            return
        values = [a if isinstance(a, int) else a.address for a in arguments]
        kinds = [_INT if type(a) is int else _POINTER for a in arguments]
        self._device.launch(name, num_items, values, kinds)


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
"""``Grid`` of grouping.cu."""


def _grid(spec: ModelSpec) -> npt.NDArray[Any]:
    ranges = (spec.x_range_m, spec.y_range_m, spec.z_range_m)
    low, high = tuple(r[0] for r in ranges), tuple(r[1] for r in ranges)
    return np.array(
        [(low, high, spec.pillar_size_m, *spec.grid_size, spec.max_points_per_pillar, spec.max_pillars)], _GRID
    )
