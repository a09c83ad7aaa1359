"""Grouped clouds as the network's inputs of one batch, whatever its task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lidarloop_core.model.group import GroupedCloud
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import PillarGrid
from lidarloop_core.pointcloud.grouping import PillarIndex
from lidarloop_core.sparse.cloud import VoxelCloud
from lidarloop_core.sparse.tables import Table
from lidarloop_training.models.sparse.rulebook import Rulebook, batched_table, rulebook_of


def collate_grouped(clouds: Sequence[GroupedCloud], spec: ModelSpec) -> tuple[Tensor | Rulebook, ...]:
    """Puts grouped clouds one after another; rows and cells are counted on over the batch.

    Args:
        clouds: B grouped clouds, at least one.
        spec: contract of the model that they were grouped for.

    Returns:
        The spec's inputs, in its order. Tables come as rulebooks, which train faster and in less memory.
    """
    if isinstance(spec.grid, PillarGrid):
        pillars = [cloud for cloud in clouds if isinstance(cloud, PillarIndex)]
        return _collate_pillars(pillars, spec.grid)
    return _collate_voxels([cloud for cloud in clouds if isinstance(cloud, VoxelCloud)])


def _collate_pillars(clouds: Sequence[PillarIndex], grid: PillarGrid) -> tuple[Tensor, ...]:
    first_pillar = np.cumsum([0, *(len(cloud.cell) for cloud in clouds[:-1])])
    slots = [cloud.slot + first * grid.max_points_per_pillar for cloud, first in zip(clouds, first_pillar, strict=True)]
    cells = [cloud.cell + i * grid.num_cells for i, cloud in enumerate(clouds)]
    points, count = [cloud.points for cloud in clouds], [cloud.count for cloud in clouds]
    return tuple(torch.from_numpy(np.concatenate(arrays)) for arrays in (points, slots, cells, count))


def _collate_voxels(clouds: Sequence[VoxelCloud]) -> tuple[Tensor | Rulebook, ...]:
    samples = [cloud.tensors() for cloud in clouds]
    # Never none, as in ``tensors``.
    rows = [[max(1, level.voxels.num_voxels) for level in cloud.levels] for cloud in clouds]

    def batched(name: str, level: int) -> Table:
        return batched_table([sample[name] for sample in samples], [of_sample[level] for of_sample in rows])

    inputs: list[Tensor | Rulebook] = []
    strided: Rulebook | None = None
    for name in samples[0]:
        kind, _, number = name.rpartition("_")
        if kind == "neighbours":
            inputs.append(rulebook_of(batched(name, int(number)), _total(rows, int(number))))
        elif kind == "strided":
            strided = rulebook_of(batched(name, int(number) - 1), _total(rows, int(number) - 1))
            inputs.append(strided)
        elif kind == "inverse":
            assert strided is not None, "the strided table of a level comes before its inverse"
            inputs.append(strided.inverse())
        elif name in ("cells", "voxel_of_point"):
            inputs.append(torch.from_numpy(batched(name, -1 if name == "cells" else 0)))
        else:
            inputs.append(torch.from_numpy(np.concatenate([sample[name] for sample in samples])))
    return tuple(inputs)


def _total(rows: Sequence[Sequence[int]], level: int) -> int:
    return sum(of_sample[level] for of_sample in rows)
