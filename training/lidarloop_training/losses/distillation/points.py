"""Voxel-to-point distillation: fine features for objects that are small or have few points.

Source: S2M2-SSD (Zheng et al., CVPR 2022), section 3.4, equations 8-11. Points are those of the cloud inside labelled
boxes; their nearest voxels are found beside the grouping (``tasks/distillation/neighbours.py``).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from lidarloop_training.losses.distillation.config import PointConfig
from lidarloop_training.losses.distillation.relations import relation_loss_by_cloud


class ForegroundPoints(NamedTuple):
    """Crucial foreground points of a batch, M in all.

    Attributes:
        neighbours: (M, k) int64 rows of the nearest voxels.
        weights: (M, k) float32, w_ij of equation 8, which sum to 1; 0 for a neighbour that is missing.
        cloud: (M,) int64 cloud of each point.
        related: (M,) bool, points drawn for the relations.
    """

    neighbours: Tensor
    weights: Tensor
    cloud: Tensor
    related: Tensor


def point_features(features: Tensor, points: ForegroundPoints) -> Tensor:
    """Equation 8: (V, C) features of voxels, unit-less → (M, C) of points, the weighted mean of their neighbours."""
    return (features[points.neighbours] * points.weights.unsqueeze(2)).sum(dim=1)


def point_loss(
    student: Tensor, teacher: Tensor, points: ForegroundPoints, num_clouds: int, config: PointConfig
) -> Tensor:
    """Equation 11, L_pts = L_feaᵖ + L_relᵖ of equations 9 and 10.

    Args:
        student: (V, C) adapted features of voxels, unit-less.
        teacher: (V, C) features of the same voxels.
        points: the points that features are interpolated at.
        num_clouds: B.
        config: weights.
    """
    ours, theirs = point_features(student, points), point_features(teacher, points)
    difference = functional.smooth_l1_loss(ours, theirs, reduction="none").mean(dim=1)
    loss = config.weight * difference.sum() / max(1, len(difference))
    if config.relation_weight == 0:
        return loss
    related = points.related
    relation = relation_loss_by_cloud(ours[related], theirs[related], points.cloud[related], num_clouds)
    return loss + config.relation_weight * relation
