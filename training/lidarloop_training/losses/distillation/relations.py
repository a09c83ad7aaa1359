"""Relations: which features are like which, compared between student and teacher.

Source: S2M2-SSD (Zheng et al., CVPR 2022), equation 6 for voxels and equation 10 for points, which are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_LEAST_NORM = 1e-6


def relations(features: Tensor) -> Tensor:
    """Cosine similarities r_ij of all pairs, (V, C) unit-less → (V, V); 0 with a feature that is zero."""
    directions = functional.normalize(features, dim=1, eps=_LEAST_NORM)
    return directions @ directions.T


def relation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Equations 6 and 10: the mean over all pairs of (r_ijˢ − r_ijᵐ)².

    Args:
        student: (V, C) features of one cloud, unit-less.
        teacher: (V, C') features of the same voxels or points.

    Returns:
        Scalar; 0 where there is no voxel.
    """
    difference = relations(student) - relations(teacher)
    return difference.square().sum() / max(1, difference.numel())


def relation_loss_by_cloud(student: Tensor, teacher: Tensor, cloud: Tensor, num_clouds: int) -> Tensor:
    """The mean of ``relation_loss`` over the clouds of a batch: pairs are of one cloud, as the paper counts them.

    Args:
        student: (V, C) features, unit-less.
        teacher: (V, C') features of the same rows.
        cloud: (V,) int64 cloud of each row.
        num_clouds: B.
    """
    terms = [relation_loss(student[cloud == number], teacher[cloud == number]) for number in range(num_clouds)]
    return torch.stack(terms).mean()


def evenly_fewer(chosen: Tensor, most: int) -> Tensor:
    """(V,) bool → the same with ``most`` set at most, evenly spread over those that were."""
    rows = chosen.nonzero()[:, 0]
    if len(rows) <= most:
        return chosen
    kept = torch.zeros_like(chosen)
    kept[rows[torch.linspace(0, len(rows) - 1, most, device=rows.device).long()]] = True
    return kept
