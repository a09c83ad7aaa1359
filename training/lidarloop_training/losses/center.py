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

from lidarloop_training.models.center_head import HeadOutput

# CenterNet, equation 1.
ALPHA = 2
BETA = 4


@dataclass(frozen=True)
class CenterLossConfig:
    """Weights.

    Attributes:
        regression_weight: of the L1 loss against the heatmap loss.
        code_weights: of each of ``center_head.REGRESSION_COLUMNS``; velocities count less.
    """

    regression_weight: float = 0.25
    code_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2)


class BatchTargets(NamedTuple):
    """Targets of a batch; O objects over all samples.

    Attributes:
        heatmap: (B, num_classes, H, W) float32.
        sample: (O,) int64 position in the batch.
        cell: (O,) int64 row × W + column.
        label: (O,) int64 class.
        regression: (O, 10) float32; NaN where unknown.
    """

    heatmap: Tensor
    sample: Tensor
    cell: Tensor
    label: Tensor
    regression: Tensor


class CenterLoss(NamedTuple):
    """Scalars: the sum that is minimised and its two parts before weighting."""

    total: Tensor
    heatmap: Tensor
    regression: Tensor


def center_loss(
    output: HeadOutput, targets: BatchTargets, group_of_class: Tensor, config: CenterLossConfig
) -> CenterLoss:
    """Heatmap and regression loss of a batch.

    Args:
        output: raw maps.
        targets: of the same batch.
        group_of_class: (num_classes,) int64 ``CenterHead.group_of_class``.
        config: weights.
    """
    heatmap = gaussian_focal_loss(output.heatmap, targets.heatmap)
    regression = regression_loss(
        output.regression, targets, group_of_class, output.regression.new_tensor(config.code_weights)
    )
    return CenterLoss(heatmap + config.regression_weight * regression, heatmap, regression)


def gaussian_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """CenterNet, equation 1, over the number of centres (at least 1).

    At a centre (target 1): −(1 − p)^α log p; elsewhere: −(1 − target)^β p^α log(1 − p).
    On logits, so that no clamp is needed: log p and log(1 − p) = log σ(−logit) are exact for any score.

    Args:
        logits: (B, num_classes, H, W).
        target: same shape, in [0, 1].
    """
    score = logits.sigmoid()
    center = target == 1
    positive = (1 - score).pow(ALPHA) * functional.logsigmoid(logits)
    negative = (1 - target).pow(BETA) * score.pow(ALPHA) * functional.logsigmoid(-logits)
    return -torch.where(center, positive, negative).sum() / center.sum().clamp(min=1)


def regression_loss(regression: Tensor, targets: BatchTargets, group_of_class: Tensor, code_weights: Tensor) -> Tensor:
    """Weighted L1 at the objects' cells, summed over the columns, mean over the objects that know each column.

    A NaN target (an unknown velocity) adds neither loss nor gradient.

    Args:
        regression: (B, 10, num_groups, H, W).
        targets: of the batch.
        group_of_class: (num_classes,) int64.
        code_weights: (10,).
    """
    batch, columns, groups = regression.shape[:3]
    flat = regression.permute(0, 2, 3, 4, 1).reshape(-1, columns)
    num_cells = flat.shape[0] // (batch * groups)
    predicted = flat[(targets.sample * groups + group_of_class[targets.label]) * num_cells + targets.cell]
    known = targets.regression.isfinite()
    difference = (predicted - targets.regression.where(known, predicted.detach())).abs()
    per_column = difference.sum(dim=0) / known.sum(dim=0).clamp(min=1)
    return (per_column * code_weights).sum()
