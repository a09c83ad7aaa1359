"""Segmentation of points: cross-entropy, and the Lovász-softmax loss.

Source: Berman et al., "The Lovász-Softmax loss: a tractable surrogate for the optimization of the
intersection-over-union measure in neural networks", CVPR 2018: equations 8 and 9, algorithm 1, averaged over the
classes present.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lidarloop_training.data.point_labels import UNLABELLED
from lidarloop_training.ranges import check_ranges


@dataclass(frozen=True)
class SegmentationLossConfig:
    """Weights of the loss terms.

    Attributes:
        cross_entropy_weight: weight of the cross-entropy.
        lovasz_weight: weight of the Lovász-softmax loss.
    """

    cross_entropy_weight: float = 1.0
    lovasz_weight: float = 1.0

    def __post_init__(self) -> None:
        check_ranges(
            "SegmentationLossConfig",
            cross_entropy_weight=(self.cross_entropy_weight, 0, 1e6),
            lovasz_weight=(self.lovasz_weight, 0, 1e6),
        )


class SegmentationLoss(NamedTuple):
    """The loss and its terms before weighting, scalars."""

    total: Tensor
    cross_entropy: Tensor
    lovasz: Tensor


def segmentation_loss(logits: Tensor, labels: Tensor, config: SegmentationLossConfig) -> SegmentationLoss:
    """Both terms over the labelled points of a batch; zero where there is none.

    Args:
        logits: (N, classes).
        labels: (N,) int64 class of each point, ``UNLABELLED`` for none.
        config: weights of the terms.
    """
    labelled = labels != UNLABELLED
    logits, labels = logits[labelled].float(), labels[labelled]
    if len(labels) == 0:
        nothing = logits.sum()  # 0, and the gradient of every weight with it
        return SegmentationLoss(nothing, nothing, nothing)
    cross_entropy = torch.nn.functional.cross_entropy(logits, labels)
    lovasz = lovasz_softmax(logits.softmax(dim=1), labels)
    total = config.cross_entropy_weight * cross_entropy + config.lovasz_weight * lovasz
    return SegmentationLoss(total, cross_entropy, lovasz)


def lovasz_softmax(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Mean over the classes present of the Lovász extension of 1 − IoU.

    Args:
        probabilities: (N, classes), N ≥ 1, each row sums to 1.
        labels: (N,) int64 class of each point.

    Returns:
        Scalar in [0, 1].
    """
    losses = []
    for present in labels.bincount().nonzero().flatten().tolist():
        is_class = (labels == present).to(probabilities.dtype)
        errors, order = (is_class - probabilities[:, present]).abs().sort(descending=True)  # equation 8
        losses.append(errors @ jaccard_gradient(is_class[order]))
    return torch.stack(losses).mean()  # equation 9, over the classes present


def jaccard_gradient(is_class: Tensor) -> Tensor:
    """What each further wrong point adds to 1 − IoU (algorithm 1).

    Args:
        is_class: (N,) 1 for points of the class and 0 for others, in descending order of their errors; at least one
            is of the class.

    Returns:
        (N,) differences of 1 − IoU as the points become wrong one after another.
    """
    num_class = is_class.sum()
    intersection = num_class - is_class.cumsum(0)
    union = num_class + (1 - is_class).cumsum(0)
    return torch.diff(1 - intersection / union, prepend=is_class.new_zeros(1))
