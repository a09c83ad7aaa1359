"""Reconstruction of masked BEV cells: where their points are, and how many.

Source: Lin et al., "BEV-MAE: Bird's Eye View Masked Autoencoders for Point Cloud Pre-training in Autonomous Driving
Scenarios", AAAI 2024, section 3.3: the Chamfer distance of equation 2 and a smooth L1 loss of the density. One
difference: the density is the logarithm of the number of points, for all cells are of one size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss


class MaskedBevLoss(NamedTuple):
    """The loss and its terms, scalars.

    Attributes:
        total: sum of the two terms.
        chamfer: squared distances between found and true points, square metres.
        density: smooth L1 distance between the logarithms of found and true numbers of points.
    """

    total: Tensor
    chamfer: Tensor
    density: Tensor


def masked_bev_loss(
    points: Tensor, log_count: Tensor, true_points: Tensor, is_point: Tensor, true_count: Tensor
) -> MaskedBevLoss:
    """Mean over K masked cells; zero where there is none.

    Args:
        points: (K, P, 3) found points, metres, from the cell's centre.
        log_count: (K,) found log(1 + number of points).
        true_points: (K, Q, 3) points of each cell, metres, from the cell's centre.
        is_point: (K, Q) bool, False for the filling of cells with fewer than Q points; each cell has one at least.
        true_count: (K,) number of points of each cell.
    """
    if len(points) == 0:
        nothing = points.float().sum() + log_count.float().sum()  # 0, and the gradient of every weight with it
        return MaskedBevLoss(nothing, nothing.detach(), nothing.detach())
    chamfer = chamfer_distance(points.float(), true_points, is_point).mean()
    density = smooth_l1_loss(log_count.float(), torch.log1p(true_count.float()))
    return MaskedBevLoss(chamfer + density, chamfer, density)


def chamfer_distance(points: Tensor, true_points: Tensor, is_point: Tensor) -> Tensor:
    """Mean squared distance to the nearest true point, and back (equation 2).

    Args:
        points: (K, P, 3) metres.
        true_points: (K, Q, 3) metres.
        is_point: (K, Q) bool, which of them count; one at least in each row.

    Returns:
        (K,) square metres.
    """
    squared = (points[:, :, None] - true_points[:, None]).square().sum(dim=3)
    to_true = squared.masked_fill(~is_point[:, None], torch.inf).amin(dim=2).mean(dim=1)
    to_found = (squared.amin(dim=1) * is_point).sum(dim=1) / is_point.sum(dim=1)
    return to_true + to_found
