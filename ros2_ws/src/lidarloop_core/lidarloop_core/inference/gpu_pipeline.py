"""GpuPipeline: from the newest sweep to the network's outputs without leaving the GPU.

The host sends one sweep and its pose, and reads back a few counts (of points, and of pillars or voxels) and the boxes.
Older sweeps are kept on the device and moved by ego-motion there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy.typing as npt

from lidarloop_core.errors import BackendError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.gpu.counts import GroupedCounts
from lidarloop_core.gpu.cuda import CudaOutOfMemoryError
from lidarloop_core.gpu.grouping import CudaGrouping, cuda_grouping
from lidarloop_core.gpu.launcher import Device
from lidarloop_core.gpu.sweeps import CudaSweeps
from lidarloop_core.inference.cloud_model import warm_up_clouds
from lidarloop_core.inference.detector import Detections, Detector
from lidarloop_core.inference.segmenter import Segmenter
from lidarloop_core.inference.stage_clock import StageClock
from lidarloop_core.inference.sweep_pipeline import SweepDetections, SweepPipeline, sweep_columns
from lidarloop_core.inference.tensorrt.backend import TensorRtBackend
from lidarloop_core.pointcloud.deskew import SweepMotion
from lidarloop_core.pointcloud.point_time import TIME_COLUMN
from lidarloop_core.sample import Sweep


class _OnDevice(NamedTuple):
    """Everything that holds memory."""

    sweeps: CudaSweeps
    grouping: CudaGrouping


class GpuPipeline:
    """A ``SweepPipeline``. Stages: ``merge`` sends the sweep to the GPU, ``group`` waits until it is merged and grouped
    there, ``infer`` until the boxes are back.

    Args:
        detector: on a ``TensorRtBackend``.
        max_points: number of points above which a merged cloud is thinned evenly.
        device: runs the kernels on the backend's stream; by default the backend's own GPU.
        deskews: whether sweeps come with the time of each point.

    Raises:
        BackendError: the backend is another, the kernels cannot be compiled, or memory does not suffice.
    """

    def __init__(
        self, detector: Detector, max_points: int, device: Device | None = None, *, deskews: bool = False
    ) -> None:
        backend = detector.backend
        if not isinstance(backend, TensorRtBackend):
            raise BackendError(
                f"sweeps on the GPU received a model on {backend.device}; expected TensorRT: open it there, or keep "
                "the sweeps on the host"
            )
        self.detector: Detector | Segmenter = detector
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
        self._on_device: _OnDevice | None = _OnDevice(sweeps, grouping)

    def detect(self, newest: Sweep, motion: SweepMotion | None = None) -> SweepDetections:
        assert self._on_device is not None, "the pipeline was closed"
        sweeps, grouping = self._on_device
        detector, clock = self.detector, StageClock()
        assert isinstance(detector, Detector), "sweeps on the GPU were opened for a detector"
        with self._memory_explained():
            self._backend.cuda.make_current()  # the pipeline may have been opened by another thread
            merged = sweeps.merge(newest, motion)
            clock.stop("merge")
            counts = grouping.group(sweeps.cloud, merged.num_kept)
            clock.stop("group")
            outputs = self._infer(grouping, counts)
        clock.stop("infer")
        boxes = detector.boxes(outputs)
        clock.stop("postprocess")
        sweeps.keep()
        found = Detections(
            boxes=boxes,
            stage_ms=clock.stage_ms,
            num_points=merged.num_kept,
            num_out_of_range=counts.num_out_of_range,
            num_over_full=counts.num_over_full,
            num_thinned=counts.num_thinned,
            overfull=counts.overfull,
        )
        return SweepDetections(found, num_sweeps=merged.num_sweeps, num_points=merged.num_points, newest=newest)

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
        for points in 2 * list(warm_up_clouds(self.detector.spec, len(self._sent_columns))):
            self.detect(Sweep(points, self._sent_columns, 0, SE3.identity(), None))
        assert isinstance(self.detector, Detector)
        self.detector.warm_up_boxes()

    def close(self) -> None:
        self._on_device = None  # memory is freed with what holds it

    def _infer(self, grouping: CudaGrouping, counts: GroupedCounts) -> dict[str, npt.NDArray[Any]] | None:
        if counts.is_empty:
            return None
        grouping.pad(counts, self._backend.bucket(counts.sizes))
        addresses = {name: memory.address for name, memory in grouping.inputs.items()}
        return self._backend.infer_on_device(counts.sizes, addresses)

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
