"""Grouped clouds as tensors: the network's inputs of one batch, whatever its task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lidarloop_core.pointcloud.grid import PillarGrid
from lidarloop_core.pointcloud.grouping import PillarIndex


def collate_grouped(clouds: Sequence[PillarIndex], grid: PillarGrid) -> tuple[Tensor, ...]:
    """Puts grouped clouds one after another; pillars and cells are counted on over the batch.

    Args:
        clouds: B grouped clouds, at least one.
        grid: pillars that they were grouped into.

    Returns:
        The inputs of a model on pillars, in the order of its spec: points (N, C), slot (N,), cell (P,), count (P,).
    """
    first_pillar = np.cumsum([0, *(len(cloud.cell) for cloud in clouds[:-1])])
    slots = [cloud.slot + first * grid.max_points_per_pillar for cloud, first in zip(clouds, first_pillar, strict=True)]
    cells = [cloud.cell + i * grid.num_cells for i, cloud in enumerate(clouds)]
    points, count = [cloud.points for cloud in clouds], [cloud.count for cloud in clouds]
    return tuple(torch.from_numpy(np.concatenate(arrays)) for arrays in (points, slots, cells, count))
