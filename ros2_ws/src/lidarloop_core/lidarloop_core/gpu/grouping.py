"""Clouds that are on the GPU, grouped there into the tensors that a model's graph takes, whatever its grid.

The host reads back a few counts, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from lidarloop_core.gpu.counts import GroupedCounts
from lidarloop_core.gpu.launcher import Device, Memory
from lidarloop_core.gpu.pillars import CudaPillars
from lidarloop_core.gpu.voxels import CudaVoxels
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import Sizes
from lidarloop_core.pointcloud.grid import PillarGrid


class CudaGrouping(Protocol):
    """Groups points that are on the device; its results stay there.

    Attributes:
        inputs: name of an input of the graph → its memory, sized for the model's capacity.
    """

    @property
    def inputs(self) -> Mapping[str, Memory]: ...

    def group(self, points: Memory, num_points: int) -> GroupedCounts:
        """Fills ``inputs`` from a cloud on the device.

        Args:
            points: (num_points, C) float32 in ``spec.point_columns``, metres, LiDAR frame.
            num_points: number of points, at most those that there is room for.

        Raises:
            CloudFormatError: more points than that.
        """
        ...

    def pad(self, counts: GroupedCounts, bucket: Sizes) -> None:
        """Fills the inputs up to a bucket as the padding of their ``TensorSpec`` does.

        Args:
            counts: counts of the cloud that was grouped last; it is not empty.
            bucket: the padded sizes.
        """
        ...


def cuda_grouping(device: Device, spec: ModelSpec, max_cloud_points: int) -> CudaGrouping:
    """The grouping for a model's grid.

    Args:
        device: runs the kernels.
        spec: contract of the model.
        max_cloud_points: most points of one cloud, all sweeps together.

    Raises:
        ModelFileError: the model gives points on pillars, which leave points out.
        CudaOutOfMemoryError: the device has too little memory.
    """
    if isinstance(spec.grid, PillarGrid):
        _ = spec.detection
        return CudaPillars(device, spec, spec.grid, max_cloud_points)
    return CudaVoxels(device, spec, spec.grid, max_cloud_points)
