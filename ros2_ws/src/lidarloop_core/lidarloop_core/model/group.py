"""Points → what a model's graph takes, whatever its grid: the one grouping of data loader, export and vehicle."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lidarloop_core.model.outputs import Segmentation
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import PillarGrid
from lidarloop_core.pointcloud.grouping import group_pillars
from lidarloop_core.sparse.cloud import group_for_network


class LeftOut(Protocol):
    """What a grouping left out of a cloud."""

    @property
    def is_empty(self) -> bool:
        """Whether no point is in range: there is nothing to run the graph on."""
        ...

    @property
    def num_out_of_range(self) -> int:
        """Points outside the model's range, or not finite."""
        ...

    @property
    def num_over_full(self) -> int:
        """Points left out of full pillars."""
        ...

    @property
    def num_thinned(self) -> int:
        """Points left out with their pillar or voxel, because the cloud has more than the model's capacity."""
        ...

    @property
    def overfull(self) -> tuple[str, ...]:
        """What exceeded the model's capacity, one text for each; empty where everything fits."""
        ...


class GroupedCloud(LeftOut, Protocol):
    """A cloud as a graph takes it, and what was left out of it."""

    @property
    def num_cells(self) -> int:
        """Cells that hold points: pillars or voxels."""
        ...

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Name of each of ``spec.inputs`` → array of its shape (N, …)."""
        ...


def group_cloud(points: npt.NDArray[np.float32], spec: ModelSpec) -> GroupedCloud:
    """Sorts a cloud into a model's grid.

    Args:
        points: (N, C) float32 in ``spec.point_columns``, metres, LiDAR frame.
        spec: contract of the model.
    """
    if isinstance(spec.grid, PillarGrid):
        return group_pillars(points, spec.grid)
    return group_for_network(points, spec.grid, gives_points=isinstance(spec.outputs, Segmentation))
