"""The loss of the centre heads.

Sources: CenterNet (Zhou et al., 2019), equation 1, for the penalty-reduced focal loss on heatmaps; CenterPoint (Yin et
al., CVPR 2021), section 4.1, for the L1 loss at centres, with its published weights for nuScenes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lidarloop_core.errors import ConfigError
from lidarloop_training.models.heads.center import NUM_VELOCITIES, REGRESSION_COLUMNS, HeadOutput
from lidarloop_training.ranges import check_ranges

# CenterNet, equation 1.
ALPHA = 2
BETA = 4

MOVING_MPS = 0.5
"""An object that is faster moves, m/s."""


@dataclass(frozen=True)
class CenterLossConfig:
    """Weights of the loss terms.

    Attributes:
        regression_weight: weight of the L1 loss relative to the heatmap loss.
        code_weights: one weight for each of ``REGRESSION_COLUMNS`` of the centre head; velocities count less.
        moving_weight: weight of the velocities of objects that move, beside 1 for those that stand. Most stand, and
            what L1 seeks is the median: 0 for every object, until the network knows which of them move.
    """

    regression_weight: float = 0.25
    code_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2)
    moving_weight: float = 1.0

    def __post_init__(self) -> None:
        check_ranges(
            "CenterLossConfig",
            regression_weight=(self.regression_weight, 0, 1e6),
            code_weights=(self.code_weights, 0, 1e6),
            moving_weight=(self.moving_weight, 0, 1e6),
        )
        if len(self.code_weights) != len(REGRESSION_COLUMNS):
            raise ConfigError(
                f"CenterLossConfig received {len(self.code_weights)} code_weights; expected {len(REGRESSION_COLUMNS)}, "
                f"one each for {', '.join(REGRESSION_COLUMNS)}"
            )


class BatchTargets(NamedTuple):
    """Targets of a batch; O objects over all samples.

    Attributes:
        heatmap: (B, num_classes, H, W) float32.
        sample: (O,) int64 position in the batch.
        cell: (O,) int64 row × W + column.
        label: (O,) int64 class.
        regression: (O, 10) float32; NaN where unknown.
        weight: (O,) float32 in [0, 1], confidence in each label; 1 for ground truth.
        ignored: (B, H, W) bool; cells of which it is not known whether they are empty.
    """

    heatmap: Tensor
    sample: Tensor
    cell: Tensor
    label: Tensor
    regression: Tensor
    weight: Tensor
    ignored: Tensor


class CenterLoss(NamedTuple):
    """Scalars: the sum that is minimised and its two parts before weighting."""

    total: Tensor
    heatmap: Tensor
    regression: Tensor


def center_loss(
    output: HeadOutput, targets: BatchTargets, group_of_class: Tensor, config: CenterLossConfig
) -> CenterLoss:
    """Heatmap and regression loss of a batch, each object counting by its weight.

    Args:
        output: raw maps, shaped as ``HeadOutput``.
        targets: what the maps should be for the same batch.
        group_of_class: (num_classes,) int64 ``CenterHead.group_of_class``.
        config: weights of the terms.
    """
    heatmap = gaussian_focal_loss(output.heatmap, targets.heatmap, center_weights(targets), targets.ignored)
    regression = regression_loss(output.regression, targets, group_of_class, config)
    return CenterLoss(heatmap + config.regression_weight * regression, heatmap, regression)


def center_weights(targets: BatchTargets) -> Tensor:
    """(B, num_classes, H, W): each object's weight at its cell, the greatest where several share one; 0 elsewhere."""
    _, num_classes, height, width = targets.heatmap.shape
    weights = torch.zeros_like(targets.heatmap)
    place = (targets.sample * num_classes + targets.label) * (height * width) + targets.cell
    return weights.view(-1).scatter_reduce_(0, place, targets.weight, "amax").view_as(weights)


def gaussian_focal_loss(logits: Tensor, target: Tensor, weight: Tensor, ignored: Tensor) -> Tensor:
    """CenterNet, equation 1: the weighted mean over the centres, and the rest over their number (at least 1 each).

    At a centre (target 1): −(1 − p)^α log p; elsewhere: −(1 − target)^β p^α log(1 − p).
    On logits, so that no clamp is needed: log p and log(1 − p) = log σ(−logit) are exact for any score.
    So a doubtful label counts less at its own cell than others do, while its Gaussian still keeps the cells round it
    from being trained as empty; if all labels are equally doubtful, they count like true ones. Ignored cells are
    trained as empty for no class; centres in them count as anywhere. Weights of 1 and no ignored cell give the paper's
    loss.

    Args:
        logits: (B, num_classes, H, W).
        target: same shape, in [0, 1].
        weight: same shape; 0 away from the centres.
        ignored: (B, H, W) bool.
    """
    score = logits.sigmoid()
    center = target == 1
    positive = weight * (1 - score).pow(ALPHA) * functional.logsigmoid(logits)
    negative = (1 - target).pow(BETA) * score.pow(ALPHA) * functional.logsigmoid(-logits)
    untaught = center | ignored.unsqueeze(1)
    elsewhere = torch.where(untaught, 0.0, negative).sum() / center.sum().clamp(min=1)
    return -positive.sum() / weight.sum().clamp(min=1) - elsewhere


def regression_loss(
    regression: Tensor, targets: BatchTargets, group_of_class: Tensor, config: CenterLossConfig
) -> Tensor:
    """Weighted L1 at the objects' cells, summed over the columns, mean over the objects that know each column.

    The mean is that of the objects' weights; where these add up to less than 1, the sum is not divided by them.
    A NaN target (an unknown velocity) adds neither loss nor gradient.

    Args:
        regression: (B, 10, num_groups, H, W).
        targets: what the maps should be.
        group_of_class: (num_classes,) int64.
        config: weights of columns, and of moving objects.
    """
    batch, columns, groups = regression.shape[:3]
    flat = regression.permute(0, 2, 3, 4, 1).reshape(-1, columns)
    num_cells = flat.shape[0] // (batch * groups)
    predicted = flat[(targets.sample * groups + group_of_class[targets.label]) * num_cells + targets.cell]
    known = targets.regression.isfinite()
    difference = (predicted - targets.regression.where(known, predicted.detach())).abs()
    weight = targets.weight.unsqueeze(1).repeat(1, columns)
    moves = targets.regression[:, -NUM_VELOCITIES:].norm(dim=1) > MOVING_MPS
    weight[moves, -NUM_VELOCITIES:] *= config.moving_weight
    per_column = (weight * difference).sum(dim=0) / (weight * known).sum(dim=0).clamp(min=1)
    return (per_column * per_column.new_tensor(config.code_weights)).sum()
