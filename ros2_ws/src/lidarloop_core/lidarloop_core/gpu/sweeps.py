"""Sweeps kept on the GPU and merged there: the host sends the newest one and its pose.

The cloud is that of ``merge_sweeps``, bit by bit: the kernel ``compensate`` of ``sweeps.cu`` adds in the same order.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lidarloop_core.errors import CloudFormatError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.gpu.launcher import Device, Memory
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.deskew import SweepMotion
from lidarloop_core.pointcloud.point_time import TIME_COLUMN
from lidarloop_core.pointcloud.sweep_buffer import SweepBuffer
from lidarloop_core.pointcloud.sweeps import age_s, newest_SE3_older, thinning_stride
from lidarloop_core.sample import Sweep

_POINTER, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_int, ctypes.c_float


class Merged(NamedTuple):
    """Counts of a merged cloud.

    Attributes:
        num_sweeps: number of sweeps merged, the newest included.
        num_points: number of points in all of them.
        num_kept: number of points in ``cloud``; fewer where the cloud was thinned.
    """

    num_sweeps: int
    num_points: int
    num_kept: int


class _Block(NamedTuple):
    memory: Memory
    num_bytes: int


@dataclass(frozen=True)
class _Sent:
    """A sweep whose points are on the device; otherwise as ``Sweep``."""

    block: _Block
    num_points: int
    stamp_ns: int
    ego_SE3_lidar: SE3
    world_SE3_ego: SE3 | None


class CudaSweeps:
    """The sweeps on the device that later clouds may need, and the points of the last cloud.

    Memory grows with the first sweeps and is reused afterwards, since an allocation stops a GPU.

    Args:
        device: runs the kernels.
        spec: the model's contract: columns, number of sweeps and the time between them.
        sweep_columns: names of the sweeps' columns, x y z first.
        max_cloud_points: number of points above which a merged cloud is thinned evenly.

    Attributes:
        cloud: memory of the merged points, (num_kept, C) float32 in ``spec.point_columns``, metres, the newest sweep's
            LiDAR frame, its points first.

    Raises:
        CloudFormatError: the sweeps lack a column of the model.
        CudaOutOfMemoryError: the device has too little memory.
    """

    def __init__(self, device: Device, spec: ModelSpec, sweep_columns: Sequence[str], max_cloud_points: int) -> None:
        missing = [name for name in spec.point_columns if name not in sweep_columns and name != "dt"]
        if missing:
            raise CloudFormatError(
                f"sweeps with columns {', '.join(sweep_columns)} lack {', '.join(missing)}; {spec.name} expects "
                f"{', '.join(spec.point_columns)}: take a sensor that has them, or a model without them"
            )
        self._device = device
        self._columns = tuple(sweep_columns)
        self._num_columns = len(spec.point_columns)
        self._age_column = spec.point_columns.index("dt") if "dt" in spec.point_columns else -1
        self.max_cloud_points = max_cloud_points
        chosen = [self._columns.index(name) if name in self._columns else -1 for name in spec.point_columns]
        self._source = device.allocate(4 * len(chosen))
        device.upload(self._source, np.array(chosen, np.int32))
        self._poses = [device.allocate(48) for _ in range(spec.num_sweeps)]
        self.cloud = device.allocate(4 * self._num_columns * max_cloud_points)
        self._kept: SweepBuffer[_Sent] = SweepBuffer(spec.num_sweeps, spec.sweep_interval_s)
        self._newest: _Sent | None = None
        self._free: list[_Block] = []
        self._motion: _Block | None = None

    def merge(self, newest: Sweep, motion: SweepMotion | None = None) -> Merged:
        """Sends a sweep, and fills ``cloud`` from it and the earlier sweeps that belong to it.

        Its memory is reused by the next call unless ``keep`` is called before, so a sweep may be merged again.

        Args:
            newest: the sweep; with the column ``TIME_COLUMN`` where there is a motion.
            motion: the motion of the LiDAR during the sweep, which is taken out; None leaves points where they are.

        Raises:
            CloudFormatError: a sweep of other columns.
            DatasetError: sweeps without a pose, or younger than the newest.
            CudaOutOfMemoryError: the device has too little memory.
        """
        if newest.columns != self._columns or newest.points.shape[1:] != (len(self._columns),):
            raise CloudFormatError(
                f"received a sweep of shape {newest.points.shape} with columns {', '.join(newest.columns)}; expected "
                f"{', '.join(self._columns)}"
            )
        unkept, self._newest = self._newest, None
        if unkept is not None:
            self._recycle([unkept])
        self._newest = self._send(newest)
        if motion is not None:
            self._deskew(self._newest, motion)
        return self._fill(self._kept.select(self._newest))

    def keep(self) -> None:
        """Keeps the sweep that was merged last for later clouds."""
        sent, self._newest = self._newest, None
        if sent is not None:
            self._recycle(self._kept.keep(sent))

    def clear(self) -> None:
        """Removes all sweeps, e.g. after time jumped back."""
        self._recycle(self._kept.clear())

    def adopt(self, other: CudaSweeps) -> None:
        """Takes over the sweeps kept by another, of the same columns and on the same GPU."""
        self._kept.adopt(other._kept)

    def _send(self, sweep: Sweep) -> _Sent:
        points = np.ascontiguousarray(sweep.points, np.float32)
        block = self._block(points.nbytes)
        self._device.upload(block.memory, points)
        return _Sent(block, len(points), sweep.stamp_ns, sweep.ego_SE3_lidar, sweep.world_SE3_ego)

    def _deskew(self, sweep: _Sent, motion: SweepMotion) -> None:
        """Brings the points of a sweep, in place, to its stamp, as ``deskewed`` does on the host."""
        if self._motion is None or self._motion.num_bytes < motion.poses.nbytes:
            self._motion = _Block(self._device.allocate(2 * motion.poses.nbytes), 2 * motion.poses.nbytes)
        self._device.upload(self._motion.memory, motion.poses)
        arguments = (
            *(sweep.block.memory.address, self._motion.memory.address, len(self._columns)),
            *(self._columns.index(TIME_COLUMN), motion.start_s, motion.per_s, len(motion.poses)),
        )
        kinds = (_POINTER, _POINTER, _INT, _INT, _FLOAT, _FLOAT, _INT)
        self._device.launch("deskew", sweep.num_points, arguments, kinds)

    def _block(self, num_bytes: int) -> _Block:
        """Memory for a sweep: the smallest that is free and large enough, else a new one in the place of a free one."""
        self._free.sort(key=lambda block: block.num_bytes)
        for i, block in enumerate(self._free):
            if block.num_bytes >= num_bytes:
                return self._free.pop(i)
        if self._free:
            self._free.pop()
        roomy = num_bytes + num_bytes // 4  # the next sweep may have a few points more
        return _Block(self._device.allocate(roomy), roomy)

    def _recycle(self, sweeps: Iterable[_Sent]) -> None:
        self._free.extend(sweep.block for sweep in sweeps)

    def _fill(self, sweeps: Sequence[_Sent]) -> Merged:
        num_points = sum(sweep.num_points for sweep in sweeps)
        stride = thinning_stride(num_points, self.max_cloud_points)
        num_before = num_kept = 0
        for sweep, pose in zip(sweeps, self._poses, strict=False):
            first = -num_before % stride  # of this sweep's points, as strides run on from sweep to sweep
            number = len(range(first, sweep.num_points, stride))
            self._compensate(sweep, sweeps[0], pose, first, stride, number, num_kept)
            num_before += sweep.num_points
            num_kept += number
        return Merged(len(sweeps), num_points, num_kept)

    def _compensate(
        self, sweep: _Sent, newest: _Sent, pose: Memory, first: int, stride: int, number: int, place: int
    ) -> None:
        """Every ``stride``-th point of a sweep, from ``first`` on, into ``cloud`` from ``place`` on."""
        motion = SE3.identity() if sweep is newest else newest_SE3_older(newest, sweep)
        matrix = np.concatenate([motion.rotation, motion.translation[:, None]], axis=1)
        self._device.upload(pose, matrix.astype(np.float32))
        row = 4 * len(self._columns)
        begin, to = sweep.block.memory.address + row * first, self.cloud.address + 4 * self._num_columns * place
        # Rows that are left out are, to the kernel, further columns that it does not take.
        arguments = (
            *(begin, pose.address, self._source.address, len(self._columns) * stride),
            *(self._num_columns, self._age_column, age_s(newest, sweep), to),
        )
        kinds = (_POINTER, _POINTER, _POINTER, _INT, _INT, _INT, _FLOAT, _POINTER)
        self._device.launch("compensate", number, arguments, kinds)
