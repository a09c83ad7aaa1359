"""Clouds that are on the GPU, grouped there: the host reads back five numbers.

The kernels are in ``grouping.cu``; this puts them in order. They compute what ``group_pillars`` computes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from importlib import resources
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import CloudFormatError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import Sizes, capacity
from lidarloop_core.pointcloud.grid import PillarGrid

_CHUNK = 64  # CHUNK of grouping.cu
_POINTER, _INT = ctypes.c_void_p, ctypes.c_int


def source() -> str:
    """The text of ``grouping.cu``."""
    return resources.files("lidarloop_core.gpu").joinpath("grouping.cu").read_text(encoding="utf-8")


class Address(int):
    """An address on the device; kernels take it as a pointer, where a plain int is a number."""


class Memory(Protocol):
    """Bytes on the device, freed with the object.

    Attributes:
        address: address of the first byte on the device.
    """

    address: int


class Device(Protocol):
    """What runs the kernels: a GPU (``GpuDevice``), or in tests the CPU. All in order, as on a stream."""

    def allocate(self, num_bytes: int) -> Memory:
        """Memory on the device; raises CudaOutOfMemoryError where there is too little."""
        ...

    def upload(self, memory: Memory, array: npt.NDArray[Any], offset: int = 0) -> None:
        """Copies an array (N, …) to the device, ``offset`` bytes into the memory; the array may change at once."""
        ...

    def download(self, memory: Memory, num_bytes: int) -> bytes:
        """Waits for the work so far, and copies to the host."""
        ...

    def launch(self, name: str, num_items: int, arguments: Sequence[Any], kinds: Sequence[type]) -> None:
        """Runs a kernel once per item; see ``Kernels.launch``."""
        ...


class GroupedCounts(NamedTuple):
    """``Counts`` of grouping.cu, which the host reads back.

    Attributes:
        num_out_of_range: number of points outside the range, or not finite.
        num_pillars_found: number of pillars before thinning.
        num_pillars: number of pillars after it.
        num_points: number of points kept.
        num_thinned: number of points left out with their pillar.
    """

    num_out_of_range: int
    num_pillars_found: int
    num_pillars: int
    num_points: int
    num_thinned: int

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes of the graph's inputs by the names of their dimensions."""
        return {"num_points": self.num_points, "num_pillars": self.num_pillars}


class CudaGrouping:
    """Groups points that are on the device into pillars, the graph's inputs, also on the device.

    Args:
        device: runs the kernels.
        spec: the contract of a model on pillars.
        max_cloud_points: most points of one cloud, all sweeps together.

    Attributes:
        inputs: name of an input → its memory, sized for the model's capacity.

    Raises:
        ModelFileError: the model is not on pillars.
        CudaOutOfMemoryError: the device has too little memory.
    """

    def __init__(self, device: Device, spec: ModelSpec, max_cloud_points: int) -> None:
        self._device = device
        self._num_columns = len(spec.point_columns)
        self.max_cloud_points = max_cloud_points
        grid = spec.pillars
        self._num_cells = grid.num_cells
        self._grid = device.allocate(_GRID.itemsize)
        device.upload(self._grid, _grid(grid))
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
        largest = capacity(spec.inputs)
        self.inputs = {tensor.name: device.allocate(tensor.num_bytes(largest)) for tensor in spec.inputs}

    def group(self, points: Memory, num_points: int) -> GroupedCounts:
        """Fills ``inputs`` from a cloud on the device.

        Args:
            points: (num_points, C) float32 in ``spec.point_columns``, metres, LiDAR frame.
            num_points: number of points, at most ``max_cloud_points``.

        Raises:
            CloudFormatError: more points than that.
        """
        if num_points > self.max_cloud_points:
            raise CloudFormatError(
                f"grouping received {num_points} points; expected at most {self.max_cloud_points}: make it larger"
            )
        columns, cells, grid, counts = self._num_columns, self._num_cells, self._grid, self._counts
        run, ints, unread, inputs = self._run, self._ints, Address(self._unread.address), self.inputs
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
            *(ints["place"], ints["is_kept"], grid),
            *(inputs["points"], inputs["slot"], inputs["cell"], inputs["count"]),
        )
        values = np.frombuffer(self._device.download(counts, 20), np.int32)
        return GroupedCounts(*(int(value) for value in values))

    def pad(self, counts: GroupedCounts, bucket: Sizes) -> None:
        """Fills the inputs up to a bucket as the padding of their ``TensorSpec`` does.

        Args:
            counts: counts of the cloud that was grouped last; at least one point was kept.
            bucket: the padded sizes.
        """
        inputs, num_points, num_pillars = self.inputs, counts.num_points, counts.num_pillars
        added_points, added_pillars = bucket["num_points"] - num_points, bucket["num_pillars"] - num_pillars
        self._run("pad_points", added_points, inputs["points"], inputs["slot"], self._num_columns, num_points)
        if added_pillars:
            self._run(
                *("pad_cells", self._num_cells, self._ints["kept"], self._ints["kept_before"]),
                *(inputs["cell"], inputs["count"], num_pillars, added_pillars),
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


def _grid(grid: PillarGrid) -> npt.NDArray[Any]:
    low, high = zip(*grid.ranges_m, strict=True)
    return np.array([(low, high, grid.cell_size_m, *grid.shape, grid.max_points_per_pillar, grid.max_pillars)], _GRID)
