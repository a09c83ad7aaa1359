"""Sweeps kept on the GPU, merged and grouped there: the host sends the newest sweep and reads back five numbers.

The kernels are in ``voxelize.cu``; this puts them in order. ``group_pillars`` says what they compute.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import CloudFormatError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.inference.padding import Bucket
from lidarloop_core.model.spec import ModelSpec

_CHUNK = 64  # CHUNK of voxelize.cu
_POINTER, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_int, ctypes.c_float


def source() -> str:
    """The text of ``voxelize.cu``."""
    return resources.files("lidarloop_core.pointcloud").joinpath("voxelize.cu").read_text(encoding="utf-8")


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
    """``Counts`` of voxelize.cu: what the host gets to know."""

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
"""``Grid`` of voxelize.cu."""


def _grid(spec: ModelSpec) -> npt.NDArray[Any]:
    ranges = (spec.x_range_m, spec.y_range_m, spec.z_range_m)
    low, high = tuple(r[0] for r in ranges), tuple(r[1] for r in ranges)
    return np.array(
        [(low, high, spec.pillar_size_m, *spec.grid_size, spec.max_points_per_pillar, spec.max_pillars)], _GRID
    )


@dataclass
class _Sweep:
    memory: Memory
    num_points: int
    stamp_ns: int
    world_SE3_lidar: SE3


class CudaSweeps:
    """The last sweeps on the device, and their points in the newest one's frame.

    Args:
        device: runs the kernels.
        spec: the model's contract: columns and number of sweeps.
        sweep_columns: columns of the sweeps that will be added, x y z first.
        max_sweep_points: most points of one sweep.
    """

    def __init__(self, device: Device, spec: ModelSpec, sweep_columns: Sequence[str], max_sweep_points: int) -> None:
        missing = [name for name in spec.point_columns if name not in sweep_columns and name != "dt"]
        if missing:
            raise CloudFormatError(
                f"sweeps with columns {', '.join(sweep_columns)} lack {', '.join(missing)}; {spec.name} expects "
                f"{', '.join(spec.point_columns)}: take a sensor that has them, or a model that does without"
            )
        self._device = device
        self._spec = spec
        self._num_columns = len(sweep_columns)
        self.max_sweep_points = max_sweep_points
        chosen = [sweep_columns.index(name) if name in sweep_columns else -1 for name in spec.point_columns]
        self._source = device.allocate(4 * len(chosen))
        device.upload(self._source, np.array(chosen, np.int32))
        size = 4 * self._num_columns * max_sweep_points
        self._free = [device.allocate(size) for _ in range(spec.num_sweeps)]
        self._sweeps: deque[_Sweep] = deque()
        self._poses = [device.allocate(48) for _ in range(spec.num_sweeps)]
        self.max_cloud_points = spec.num_sweeps * max_sweep_points
        self.cloud = device.allocate(4 * len(spec.point_columns) * self.max_cloud_points)

    def clear(self) -> None:
        """Forgets all sweeps, e.g. after time jumped back."""
        while self._sweeps:
            self._free.append(self._sweeps.popleft().memory)

    def add(self, points: npt.NDArray[np.float32], stamp_ns: int, world_SE3_lidar: SE3) -> int:
        """Sends a new sweep and merges all into ``cloud``: the newest first, as ``merge_sweeps`` does.

        Returns:
            How many points ``cloud`` holds.
        """
        if points.shape[1:] != (self._num_columns,) or len(points) > self.max_sweep_points:
            raise CloudFormatError(
                f"received a sweep of shape {points.shape}; expected at most {self.max_sweep_points} points of "
                f"{self._num_columns} columns"
            )
        if not self._free:
            self._free.append(self._sweeps.pop().memory)
        memory = self._free.pop()
        self._device.upload(memory, np.ascontiguousarray(points, np.float32))
        self._sweeps.appendleft(_Sweep(memory, len(points), stamp_ns, world_SE3_lidar))
        return self._merge()

    def _merge(self) -> int:
        columns = len(self._spec.point_columns)
        age_column = self._spec.point_columns.index("dt") if "dt" in self._spec.point_columns else -1
        newest, start = self._sweeps[0], 0
        lidar_SE3_world = newest.world_SE3_lidar.inverse()
        for sweep, pose in zip(self._sweeps, self._poses, strict=False):
            motion = SE3.identity() if sweep is newest else lidar_SE3_world @ sweep.world_SE3_lidar
            matrix = np.concatenate([motion.rotation, motion.translation[:, None]], axis=1)
            self._device.upload(pose, matrix.astype(np.float32))
            to = self.cloud.address + 4 * columns * start
            age_s = float((newest.stamp_ns - sweep.stamp_ns) * 1e-9)
            addresses = (sweep.memory.address, pose.address, self._source.address)
            arguments = (*addresses, self._num_columns, columns, age_column, age_s, to)
            kinds = (_POINTER, _POINTER, _POINTER, _INT, _INT, _INT, _FLOAT, _POINTER)
            self._device.launch("compensate", sweep.num_points, arguments, kinds)
            start += sweep.num_points
        return start
