"""Clouds that are on the GPU, grouped there into voxels, and their neighbour tables: the host reads back one count a
level, and two of points.

The kernels are in ``voxels.cu``; this puts them in order. They compute what ``group_for_network`` computes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lidarloop_core.gpu.counts import GroupedCounts, check_fits
from lidarloop_core.gpu.launcher import Address, Device, Launcher, Memory, num_chunks
from lidarloop_core.model.outputs import Segmentation
from lidarloop_core.model.padding import RepeatFirst
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import Sizes, bucket_for, capacity
from lidarloop_core.pointcloud.grid import VoxelGrid
from lidarloop_core.sparse.cloud import overfull_levels, plan_of
from lidarloop_core.sparse.occupancy import (
    MAX_LAYERS,
    SUBMANIFOLD,
    GridShape,
    Window,
    check_shape,
    column_outputs,
)
from lidarloop_core.sparse.tables import LevelPlan

_DIGIT_BITS = 6  # DIGIT_BITS of voxels.cu


class CudaVoxels:
    """See ``CudaGrouping``, for a model on voxels.

    Args:
        device: runs the kernels.
        spec: contract of the model.
        grid: its grid.
        max_cloud_points: most points of one cloud, all sweeps together.

    Attributes:
        inputs: name of an input → its memory, sized for the model's capacity, that of points for the largest cloud.

    Raises:
        ConfigError: a level has 2^31 voxels and more.
        CudaOutOfMemoryError: the device has too little memory.
    """

    def __init__(self, device: Device, spec: ModelSpec, grid: VoxelGrid, max_cloud_points: int) -> None:
        self._device = device
        self._tensors = spec.inputs
        self._num_columns = len(spec.point_columns)
        self._max_cloud_points = max_cloud_points
        self._grid = device.allocate(_GRID.itemsize)
        device.upload(self._grid, _grid(grid))
        self._gives_points = isinstance(spec.outputs, Segmentation)
        plan = plan_of(grid, gives_points=self._gives_points)
        self._num_counts = 2 + len(plan)  # points out of range, points thinned, voxels found at each level
        self._counts = device.allocate(4 * self._num_counts)
        self._levels = _levels(device, plan, GridShape(*grid.shape), self._counts.address + 8)
        largest = _largest(spec, max_cloud_points)
        self.inputs = {tensor.name: device.allocate(tensor.num_bytes(largest)) for tensor in spec.inputs}
        num_digits = max_cloud_points + (1 << _DIGIT_BITS)  # of each chunk of points, one count a digit
        self._ints = {name: device.allocate(4 * max_cloud_points) for name in ("position", "list", "sorted")}
        self._ints["digits"] = device.allocate(4 * num_digits)
        self._voxel_of_point = self.inputs.get("voxel_of_point") or device.allocate(4 * max_cloud_points)
        self._launcher = Launcher(device, max(num_digits, *(level.shape.num_cells for level in self._levels)))
        self._unread = device.allocate(4)

    def group(self, points: Memory, num_points: int) -> GroupedCounts:
        """See ``CudaGrouping.group``; points (num_points, C)."""
        check_fits(num_points, self._max_cloud_points)
        self._launcher.run("clear", self._num_counts, self._counts)
        self._occupy(points, num_points)
        self._average(points, num_points)
        self._fill_tables()
        if self._gives_points:
            self._launcher.run("copy", num_points * self._num_columns, points, self.inputs["points"])
        return self._read_counts(num_points)

    def pad(self, counts: GroupedCounts, bucket: Sizes) -> None:
        """See ``CudaGrouping.pad``: the first point again, and zeros in all else."""
        for tensor in self._tensors:
            if tensor.dimension is None:
                continue
            name, memory = tensor.dimension.name, self.inputs[tensor.name]
            row_size = math.prod(tensor.shape_at({name: 1}))
            num_rows, num_added = counts.rows[name], bucket[name] - counts.rows[name]
            if isinstance(tensor.padding, RepeatFirst):
                self._launcher.run("repeat_first", num_added, memory, row_size, num_rows)
            else:
                self._launcher.run("clear", row_size * num_added, Address(memory.address + 4 * row_size * num_rows))

    def _occupy(self, points: Memory, num_points: int) -> None:
        """The voxels of all levels, numbered and thinned."""
        run, first = self._launcher.run, self._levels[0]
        run("clear", 2 * first.shape.num_cells, first.words)
        out_of_range = Address(self._counts.address)
        position = self._ints["position"]
        run("mark_voxels", num_points, points, self._num_columns, self._grid, position, first.words, out_of_range)
        for number, level in enumerate(self._levels):
            num_cells = level.shape.num_cells
            if level.down is None:
                run("count_voxels", num_cells, level.words, level.before)
            else:
                finer = self._levels[number - 1]
                run("stride_voxels", num_cells, finer.words, level.down.memory, level.words, level.before)
            self._launcher.prefix_sum(level.before, level.before, num_cells, level.num_found)
            run(
                *("number_voxels", num_cells, level.num_found, level.capacity, level.shape.layers),
                *(level.words, level.before, level.position),
            )

    def _average(self, points: Memory, num_points: int) -> None:
        """The mean of each voxel's points, added up in their order: points are sorted by voxel, 6 bits a pass."""
        run, ints, first = self._launcher.run, self._ints, self._levels[0]
        voxel, unsorted, by_voxel = self._voxel_of_point, ints["list"], ints["sorted"]
        thinned = Address(self._counts.address + 4)
        run(
            *("find_voxels", num_points, ints["position"], first.shape.layers, first.words, first.before),
            *(voxel, unsorted, thinned),
        )
        chunks, digits = num_chunks(num_points), ints["digits"]
        for shift in range(0, first.capacity.bit_length(), _DIGIT_BITS):
            run("count_digits", chunks, unsorted, voxel, shift, digits, num_points)
            self._launcher.prefix_sum(digits, digits, chunks << _DIGIT_BITS, Address(self._unread.address))
            run("move_points", chunks, unsorted, voxel, shift, digits, by_voxel, num_points)
            unsorted, by_voxel = by_voxel, unsorted
        run("average", num_points, points, self._num_columns, unsorted, voxel, self.inputs["voxels"])

    def _fill_tables(self) -> None:
        for number, level in enumerate(self._levels):
            if level.down is not None:
                finer = self._levels[number - 1]
                self._fill_table(f"strided_{number}", finer, level, level.down)
                if self._gives_points:
                    self._fill_inverse(f"inverse_{number}", finer, level, level.down)
            if level.within is not None:
                self._fill_table(f"neighbours_{number}", level, level, level.within)
        if not self._gives_points:
            self._fill_map(self._levels[-1])

    def _fill_table(self, name: str, source: _Level, target: _Level, of: _Convolution) -> None:
        self._launcher.run(
            *("fill_table", target.capacity * of.num_columns, source.words, source.before, of.memory),
            *(target.position, target.num_found, target.capacity, self.inputs[name]),
        )

    def _fill_inverse(self, name: str, finer: _Level, coarser: _Level, of: _Convolution) -> None:
        self._launcher.run(
            *("fill_inverse", finer.capacity * of.num_columns, coarser.words, coarser.before, of.memory),
            *(finer.position, finer.num_found, finer.capacity, self.inputs[name]),
        )

    def _fill_map(self, last: _Level) -> None:
        num_places = last.shape.num_cells * last.shape.layers
        self._launcher.run("fill_dense", num_places, last.words, last.before, last.shape.layers, self.inputs["cells"])

    def _read_counts(self, num_points: int) -> GroupedCounts:
        """Waits for the kernels."""
        read = np.frombuffer(self._device.download(self._counts, 4 * self._num_counts), np.int32)
        num_out_of_range, num_thinned, *found = (int(value) for value in read)
        names = [f"num_voxels_{number}" for number in range(len(found))]
        rows = [min(number, level.capacity) for number, level in zip(found, self._levels, strict=True)]
        return GroupedCounts(
            rows=({"num_points": num_points} if self._gives_points else {}) | dict(zip(names, rows, strict=True)),
            num_found=dict(zip(names, found, strict=True)),
            num_out_of_range=num_out_of_range,
            num_over_full=0,
            num_thinned=num_thinned,
            overfull=overfull_levels(found, rows),
        )


class _Convolution(NamedTuple):
    """Geometry of a convolution between two grids.

    Attributes:
        memory: ``Convolution`` of voxels.cu.
        num_columns: columns of the kernel.
    """

    memory: Memory
    num_columns: int


class _Level(NamedTuple):
    """One grid of the network, on the device.

    Attributes:
        shape: size of the grid, in voxels.
        capacity: most voxels.
        words, before, position: as of ``Occupancy``, the last with room for the capacity.
        num_found: address of the number of voxels before thinning.
        within: submanifold convolution on this level; None where none runs.
        down: strided convolution from the level before; None for the first.
    """

    shape: GridShape
    capacity: int
    words: Memory
    before: Memory
    position: Memory
    num_found: Address
    within: _Convolution | None
    down: _Convolution | None


def _largest(spec: ModelSpec, max_cloud_points: int) -> Sizes:
    """The capacity, but of points no more than a bucket that holds the largest cloud."""
    most = capacity(spec.inputs)
    points = {name: max_cloud_points for name in most if name == "num_points"}
    return most | bucket_for(points, most)


def _levels(device: Device, plan: Sequence[LevelPlan], shape: GridShape, counts: int) -> list[_Level]:
    found: list[_Level] = []
    for number, entry in enumerate(plan):
        down = None
        if entry.window is not None:
            finer, shape = shape, entry.window.output_shape(shape)
            down = _convolution(device, entry.window, finer, shape)
        check_shape(shape)
        found.append(
            _Level(
                shape,
                entry.max_voxels,
                words=device.allocate(8 * shape.num_cells),
                before=device.allocate(4 * shape.num_cells),
                position=device.allocate(4 * entry.max_voxels),
                num_found=Address(counts + 4 * number),
                within=_convolution(device, SUBMANIFOLD, shape, shape) if entry.has_submanifold else None,
                down=down,
            )
        )
    return found


def _convolution(device: Device, window: Window, source: GridShape, target: GridShape) -> _Convolution:
    reached = np.zeros(MAX_LAYERS, np.uint64)
    reached[: source.layers] = column_outputs(source, target, window)
    memory = device.allocate(_CONVOLUTION.itemsize)
    device.upload(memory, np.array([(reached, *window, source, target)], _CONVOLUTION))
    return _Convolution(memory, window.kernel[0] * window.kernel[1])


_GRID = np.dtype([("low", "<f8", 3), ("high", "<f8", 3), ("size", "<f8", 3), ("shape", "<i4", 3)])
"""``VoxelGrid`` of voxels.cu."""

_CONVOLUTION = np.dtype(
    [
        ("reached", "<u8", MAX_LAYERS),
        ("kernel", "<i4", 3),
        ("stride", "<i4", 3),
        ("padding", "<i4", 3),
        ("source", "<i4", 3),
        ("target", "<i4", 3),
    ]
)
"""``Convolution`` of voxels.cu."""


def _grid(grid: VoxelGrid) -> npt.NDArray[Any]:
    low, high = zip(*grid.ranges_m, strict=True)
    return np.array([(low, high, grid.cell_size_m, grid.shape)], _GRID)
