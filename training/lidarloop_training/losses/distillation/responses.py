"""Response distillation: the student's answers where they decide about its precision.

Source: S2M2-SSD (Zheng et al., CVPR 2022), section 3.2, equations 1-4. Two things that the text leaves open. A head of
several classes has one largest score a cell, by which its responses are mined; compared are the scores of all its
classes, since the largest alone would not correct a class that is mistaken for another (``ResponseConfig.scores``). And
x, y and the sizes are what the centre head regresses: offsets in cells, logarithms of metres.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lidarloop_training.losses.distillation.config import Mining, ResponseConfig
from lidarloop_training.models.heads.center import HeadOutput


class CrucialResponses(NamedTuple):
    """Cells that decide about the student's precision, of each group of classes.

    Attributes:
        true_positive: (B, num_groups, H, W) bool, the student and the labels answer.
        false_positive: same shape, the student alone answers.
        false_negative: same shape, the labels alone do.
    """

    true_positive: Tensor
    false_positive: Tensor
    false_negative: Tensor

    @property
    def false(self) -> Tensor:
        """(B, num_groups, H, W) bool, false positives and negatives."""
        return self.false_positive | self.false_negative

    @property
    def labelled(self) -> Tensor:
        """(B, num_groups, H, W) bool, cells of labelled objects: true positives and false negatives."""
        return self.true_positive | self.false_negative

    @property
    def any(self) -> Tensor:
        """(B, num_groups, H, W) bool, all three."""
        return self.true_positive | self.false


def largest_of_group(scores: Tensor, group_of_class: Tensor) -> Tensor:
    """Equation 1, second part: (B, num_classes, H, W) scores → (B, num_groups, H, W), the largest of each group.

    Args:
        scores: (B, num_classes, H, W), unit-less.
        group_of_class: (num_classes,) int64; each group has a class.
    """
    num_groups = int(group_of_class.max()) + 1
    return torch.stack([scores[:, group_of_class == group].amax(dim=1) for group in range(num_groups)], dim=1)


def crucial_responses(scores: Tensor, target: Tensor, group_of_class: Tensor, threshold: float) -> CrucialResponses:
    """Equation 1: the student's answers against those of the labels, cell by cell; without gradient.

    Args:
        scores: (B, num_classes, H, W) student's scores, in [0, 1].
        target: same shape, the heatmap of labels or pseudo-labels.
        group_of_class: (num_classes,) int64.
        threshold: τ.
    """
    answered = largest_of_group(scores.detach(), group_of_class) > threshold
    labelled = largest_of_group(target, group_of_class) > threshold
    return CrucialResponses(answered & labelled, answered & ~labelled, ~answered & labelled)


def mined(crucial: CrucialResponses, mining: Mining) -> tuple[Tensor, Tensor]:
    """The cells of the two terms of equation 2, (B, num_groups, H, W) bool each.

    ``all`` takes every cell into the first; the others leave kinds out of the second.
    """
    nothing = torch.zeros_like(crucial.true_positive)
    second = {
        "all": nothing,
        "TP": nothing,
        "TP+FP": crucial.false_positive,
        "TP+FN": crucial.false_negative,
        "crucial": crucial.false,
    }[mining]
    return (~nothing if mining == "all" else crucial.true_positive), second


def classification_loss(
    student: Tensor, teacher: Tensor, crucial: CrucialResponses, group_of_class: Tensor, config: ResponseConfig
) -> Tensor:
    """Equation 2, L_clsʳ: smooth L1 of scores, mean over the cells of each kind, 0 where there is none.

    Args:
        student: (B, num_classes, H, W) scores in [0, 1].
        teacher: same shape.
        crucial: the student's crucial responses.
        group_of_class: (num_classes,) int64.
        config: weights and choices.
    """
    if config.scores == "largest":
        student, teacher = (largest_of_group(scores, group_of_class) for scores in (student, teacher))
        difference = functional.smooth_l1_loss(student, teacher, reduction="none")
    else:
        by_class = functional.smooth_l1_loss(student, teacher, reduction="none")
        of_group = crucial.true_positive.new_zeros(crucial.true_positive.shape, dtype=by_class.dtype)
        difference = of_group.index_add(1, group_of_class, by_class)
    first, second = mined(crucial, config.mining)
    return config.true_weight * mean_where(difference, first) + config.false_weight * mean_where(difference, second)


def regression_loss(student: Tensor, teacher: Tensor, crucial: CrucialResponses, weights: Tensor) -> Tensor:
    """Equation 3, L_locʳ: weighted smooth L1 of the regressed values where there is an object.

    Args:
        student: (B, 10, num_groups, H, W) ``REGRESSION_COLUMNS`` of each group; metres, radians and cells.
        teacher: same shape.
        crucial: the student's crucial responses.
        weights: (10,) w_eʳ.
    """
    by_column = functional.smooth_l1_loss(student, teacher, reduction="none")
    return mean_where((by_column * weights.view(1, -1, 1, 1, 1)).sum(dim=1), crucial.labelled)


def response_loss(
    student: HeadOutput,
    teacher: HeadOutput,
    crucial: CrucialResponses,
    group_of_class: Tensor,
    config: ResponseConfig,
) -> Tensor:
    """Equation 4, L_rsp = L_clsʳ + L_locʳ.

    Args:
        student: raw maps (B, …), shaped as ``HeadOutput``; metres, radians and cells.
        teacher: the same of the teacher.
        crucial: the student's crucial responses.
        group_of_class: (num_classes,) int64.
        config: weights and choices.
    """
    scores, taught = student.heatmap.sigmoid(), teacher.heatmap.sigmoid()
    weights = student.regression.new_tensor(config.regression_weights)
    return classification_loss(scores, taught, crucial, group_of_class, config) + regression_loss(
        student.regression, teacher.regression, crucial, weights
    )


def mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of the chosen of (B, …) values, two tensors of one shape; 0, with a gradient of 0, where none is."""
    return torch.where(chosen, values, 0.0).sum() / chosen.sum().clamp(min=1)
