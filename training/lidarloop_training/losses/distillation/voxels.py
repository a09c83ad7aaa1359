"""Sparse-voxel distillation: features of the voxels above crucial responses.

Source: S2M2-SSD (Zheng et al., CVPR 2022), section 3.3, equations 5-7. A voxel may stand above crucial cells of several
groups of classes: it is a true one if a group calls it so, and a false one if a group does; it may be both, and then is
in both terms of equation 5, once each, and once among those related in equation 6.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lidarloop_training.losses.distillation.config import VoxelConfig
from lidarloop_training.losses.distillation.relations import evenly_fewer, relation_loss_by_cloud
from lidarloop_training.losses.distillation.responses import CrucialResponses, mean_where


class CrucialVoxels(NamedTuple):
    """Which of a batch's V voxels are compared.

    Attributes:
        true: (V,) bool, TPᵛ.
        false: (V,) bool, FPᵛ ∪ FNᵛ.
    """

    true: Tensor
    false: Tensor


def crucial_voxels(crucial: CrucialResponses, map_cell: Tensor) -> CrucialVoxels:
    """The active voxels of the pillars that the crucial cells are extended to (figure 5).

    Args:
        crucial: crucial cells of the head's map.
        map_cell: (V,) int64 (sample × H + row) × W + column of the map's cell below each voxel; -1 for no voxel.
    """
    is_voxel = map_cell >= 0
    of_cell = map_cell.clamp(min=0)
    true, false = (mask.any(dim=1).flatten()[of_cell] & is_voxel for mask in (crucial.true_positive, crucial.false))
    return CrucialVoxels(true, false)


def all_voxels(map_cell: Tensor) -> CrucialVoxels:
    """Every voxel as a true one, for table 5's rows without a filter; ``map_cell`` (V,) as in ``crucial_voxels``."""
    return CrucialVoxels(map_cell >= 0, torch.zeros_like(map_cell, dtype=torch.bool))


def consistency_loss(student: Tensor, teacher: Tensor, voxels: CrucialVoxels, config: VoxelConfig) -> Tensor:
    """Equation 5, L_feaᵛ: smooth L1 of features, mean over the channels and over the voxels of each kind.

    Args:
        student: (V, C) adapted features, unit-less.
        teacher: (V, C) features.
        voxels: which of them are compared.
        config: weights.
    """
    difference = functional.smooth_l1_loss(student, teacher, reduction="none").mean(dim=1)
    return config.true_weight * mean_where(difference, voxels.true) + config.false_weight * mean_where(
        difference, voxels.false
    )


def voxel_loss(
    student: Tensor, teacher: Tensor, voxels: CrucialVoxels, cloud: Tensor, num_clouds: int, config: VoxelConfig
) -> Tensor:
    """Equation 7, L_vxl = L_feaᵛ + L_relᵛ.

    Args:
        student: (V, C) adapted features, unit-less.
        teacher: (V, C) features.
        voxels: which of them are compared.
        cloud: (V,) int64 cloud of each voxel.
        num_clouds: B.
        config: weights, and the most voxels whose relations are compared.
    """
    loss = consistency_loss(student, teacher, voxels, config)
    if config.relation_weight == 0:
        return loss
    related = torch.zeros_like(voxels.true)
    for number in range(num_clouds):
        related |= evenly_fewer((voxels.true | voxels.false) & (cloud == number), config.max_relations)
    relation = relation_loss_by_cloud(student[related], teacher[related], cloud[related], num_clouds)
    return loss + config.relation_weight * relation
