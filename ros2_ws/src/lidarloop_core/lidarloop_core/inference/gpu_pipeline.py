"""From the newest sweep to the network's outputs without leaving the GPU.

The host sends one sweep and its pose, and gets five numbers (how many points and pillars there are) and the boxes.
Older sweeps are kept on the device and moved by ego-motion there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.inference.padding import bucket_for
from lidarloop_core.inference.tensorrt_backend import TensorRtBackend
from lidarloop_core.pointcloud.cuda_voxelize import CudaGrouping, CudaSweeps, Device, GroupedCounts


class GpuPipeline:
    """Sweeps, grouping and network on one GPU.

    Args:
        backend: the engine.
        sweep_columns: columns of the sweeps, x y z first.
        max_sweep_points: most points of one sweep.
        device: runs the kernels on the backend's stream; by default the backend's own GPU.
    """

    def __init__(
        self,
        backend: TensorRtBackend,
        sweep_columns: Sequence[str],
        max_sweep_points: int,
        device: Device | None = None,
    ) -> None:
        if device is None:
            from lidarloop_core.pointcloud.gpu_device import GpuDevice

            device = GpuDevice(backend.cuda, upload_bytes=2 * 4 * len(sweep_columns) * max_sweep_points + (1 << 16))
        self._backend = backend
        self._sweeps = CudaSweeps(device, backend.spec, sweep_columns, max_sweep_points)
        self._grouping = CudaGrouping(device, backend.spec, self._sweeps.max_cloud_points)
        inputs = (self._grouping.points, self._grouping.slot, self._grouping.cell, self._grouping.count)
        self._addresses = {name: m.address for name, m in zip(("points", "slot", "cell", "count"), inputs, strict=True)}

    def infer(
        self, points: npt.NDArray[np.float32], stamp_ns: int, world_SE3_lidar: SE3
    ) -> tuple[dict[str, npt.NDArray[Any]] | None, GroupedCounts]:
        """Adds a sweep and runs the network on it and those before it.

        Args:
            points: (N, C) float32 in ``sweep_columns``, in the LiDAR's frame.
            stamp_ns: of the sweep; stamps ascend.
            world_SE3_lidar: where the LiDAR was, in any fixed frame.

        Returns:
            Outputs as of ``Backend.infer`` (None where no point is in range), and what the grouping counted.
        """
        number = self._sweeps.add(points, stamp_ns, world_SE3_lidar)
        counts = self._grouping.group(self._sweeps.cloud, number)
        if counts.num_points == 0:
            return None, counts
        bucket = bucket_for(counts.num_points, counts.num_pillars, self._backend.largest)
        self._grouping.pad(counts, bucket)
        return self._backend.infer_on_device(bucket, self._addresses), counts

    def clear(self) -> None:
        """Forgets all sweeps, e.g. after time jumped back."""
        self._sweeps.clear()
