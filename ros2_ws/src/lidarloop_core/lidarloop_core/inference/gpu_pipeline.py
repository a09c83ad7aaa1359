"""GpuPipeline: from the newest sweep to the network's outputs without leaving the GPU.

The host sends one sweep and its pose, and reads back a few counts (of points, and of pillars or voxels) and the boxes,
or the labels of points. Older sweeps are kept on the device and moved by ego-motion there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lidarloop_core.camera_bev.pictures import Pictures
from lidarloop_core.errors import BackendError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.gpu.counts import GroupedCounts
from lidarloop_core.gpu.cuda import CudaOutOfMemoryError
from lidarloop_core.gpu.grouping import CudaGrouping, cuda_grouping
from lidarloop_core.gpu.launcher import Device
from lidarloop_core.gpu.sweeps import CudaSweeps
from lidarloop_core.inference.cloud_model import counts_of, warm_up_clouds
from lidarloop_core.inference.detector import Detections, Detector
from lidarloop_core.inference.segmenter import PointLabels, Segmenter
from lidarloop_core.inference.stage_clock import StageClock
from lidarloop_core.inference.sweep_pipeline import SweepAnswer, SweepPipeline, sweep_columns
from lidarloop_core.inference.tensorrt.backend import TensorRtBackend
from lidarloop_core.pointcloud.deskew import SweepMotion, deskewed
from lidarloop_core.pointcloud.point_time import TIME_COLUMN
from lidarloop_core.pointcloud.sweeps import thinning_stride
from lidarloop_core.sample import Sweep


class _OnDevice(NamedTuple):
    """Everything that holds memory, and what reads it back."""

    device: Device
    sweeps: CudaSweeps
    grouping: CudaGrouping


class GpuPipeline:
    """A ``SweepPipeline``. Stages: ``merge`` sends the sweep to the GPU, ``group`` waits until it is merged and grouped
    there, ``infer`` until the network's outputs are back.

    Args:
        model: on a ``TensorRtBackend``.
        max_points: number of points above which a merged cloud is thinned evenly.
        device: runs the kernels on the backend's stream; by default the backend's own GPU.
        deskews: whether sweeps come with the time of each point.

    Raises:
        BackendError: the backend is another, the kernels cannot be compiled, or memory does not suffice.
        ModelFileError: a segmenter that is not on voxels.
    """

    def __init__(
        self, model: Detector | Segmenter, max_points: int, device: Device | None = None, *, deskews: bool = False
    ) -> None:
        backend = model.backend
        if not isinstance(backend, TensorRtBackend):
            raise BackendError(
                f"sweeps on the GPU received a model on {backend.device}; expected TensorRT: open it there, or keep "
                "the sweeps on the host"
            )
        self.model: Detector | Segmenter = model
        self.columns = sweep_columns(backend.spec)
        self._sent_columns = (*self.columns, TIME_COLUMN) if deskews else self.columns
        self._backend = backend
        self._max_points = max_points
        with self._memory_explained():
            if device is None:
                from lidarloop_core.gpu.device import GpuDevice

                device = GpuDevice(backend.cuda)
            sweeps = CudaSweeps(device, backend.spec, self._sent_columns, max_points)
            grouping = cuda_grouping(device, backend.spec, max_points)
        self._on_device: _OnDevice | None = _OnDevice(device, sweeps, grouping)

    def answer(self, newest: Sweep, motion: SweepMotion | None = None, pictures: Pictures | None = None) -> SweepAnswer:
        assert pictures is None, "a model with cameras is refused"
        assert self._on_device is not None, "the pipeline was closed"
        _, sweeps, grouping = self._on_device
        model, clock = self.model, StageClock()
        with self._memory_explained():
            self._backend.cuda.make_current()  # the pipeline may have been opened by another thread
            merged = sweeps.merge(newest, motion)
            clock.stop("merge")
            counts = grouping.group(sweeps.cloud, merged.num_kept)
            clock.stop("group")
            outputs = self._infer(grouping, counts)
            clock.stop("infer")
            found: Detections | PointLabels
            counted: dict[str, Any] = {"stage_ms": {}, **counts_of(counts, merged.num_kept)}
            if isinstance(model, Detector):
                found = Detections(boxes=model.boxes(outputs), **counted)
            else:
                stride = thinning_stride(merged.num_points, self._max_points)
                number = len(range(0, len(newest.points), stride))  # the newest sweep's points are the cloud's first
                labels, scores = model.labels(_first(outputs, number), self._has_voxel(number))
                found = PointLabels(labels=labels, scores=scores, **counted).of_first(len(newest.points), stride)
                if TIME_COLUMN in newest.columns:
                    newest = deskewed(newest, motion)  # bit by bit what the labels belong to on the device
        clock.stop("postprocess")
        sweeps.keep()
        timed = replace(found, stage_ms=clock.stage_ms)
        return SweepAnswer(timed, num_sweeps=merged.num_sweeps, num_points=merged.num_points, newest=newest)

    def forget(self) -> None:
        if self._on_device is not None:
            self._on_device.sweeps.clear()

    def adopt(self, before: SweepPipeline) -> None:
        """Takes over the sweeps where they lie on the device: nothing is copied."""
        if not isinstance(before, GpuPipeline) or before._sent_columns != self._sent_columns:
            return
        if self._on_device is not None and before._on_device is not None:
            self._on_device.sweeps.adopt(before._on_device.sweeps)

    def warm_up(self) -> None:
        """Runs each cloud twice: a bucket's first run settles shapes, its second is captured."""
        for points in 2 * list(warm_up_clouds(self.model.spec, len(self._sent_columns))):
            self.answer(Sweep(points, self._sent_columns, 0, SE3.identity(), None))
        self.model.warm_up_postprocessing()

    def close(self) -> None:
        self._on_device = None  # memory is freed with what holds it

    def _infer(self, grouping: CudaGrouping, counts: GroupedCounts) -> dict[str, npt.NDArray[Any]] | None:
        if counts.is_empty:
            return None
        grouping.pad(counts, self._backend.bucket(counts.sizes))
        addresses = {name: memory.address for name, memory in grouping.inputs.items()}
        return self._backend.infer_on_device(counts.sizes, addresses)

    def _has_voxel(self, number: int) -> npt.NDArray[np.bool_]:
        """Whether the network answers for each of the first points of the cloud that was grouped last."""
        assert self._on_device is not None
        voxel_of_point = self._on_device.grouping.inputs["voxel_of_point"]
        return np.frombuffer(self._on_device.device.download(voxel_of_point, 4 * number), np.int32) > 0

    @contextmanager
    def _memory_explained(self) -> Iterator[None]:
        try:
            yield
        except CudaOutOfMemoryError as error:
            free, total = self._backend.cuda.free_and_total_bytes()
            raise BackendError(
                f"{self._backend.spec.name}: the sweeps need more memory than {self._backend.cuda.gpu} has left "
                f"({free / 2**20:.0f} of {total / 2**20:.0f} MiB; {error}): end what else uses the GPU, allow fewer "
                f"points than {self._max_points}, or keep the sweeps on the host"
            ) from None


def _first(outputs: Mapping[str, npt.NDArray[Any]] | None, number: int) -> dict[str, npt.NDArray[Any]] | None:
    """The first rows of each output (N, …); None of None."""
    return None if outputs is None else {name: rows[:number] for name, rows in outputs.items()}
