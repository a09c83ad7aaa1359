"""Equations 1-4 of S2M2-SSD on maps of a few cells."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from lidarloop_core.errors import ConfigError  # noqa: E402
from lidarloop_training.losses.distillation.config import Mining, ResponseConfig  # noqa: E402
from lidarloop_training.losses.distillation.responses import (  # noqa: E402
    CrucialResponses,
    classification_loss,
    crucial_responses,
    largest_of_group,
    mean_where,
    mined,
    regression_loss,
    response_loss,
)
from lidarloop_training.models.heads.center import REGRESSION_COLUMNS, HeadOutput  # noqa: E402

GROUPS = torch.tensor([0, 1, 0])  # classes 0 and 2 share a head


def row(*values: float) -> Tensor:
    """A map of one row."""
    return torch.tensor(values).view(1, 1, 1, -1)


def three_classes(*rows: Tensor) -> Tensor:
    return torch.cat(rows, dim=1)


STUDENT = three_classes(row(0.9, 0.0, 0.2, 0.0), row(0.0, 0.0, 0.5, 0.0), row(0.3, 0.05, 0.0, 0.0))
LABELS = three_classes(row(0.0, 0.0, 0.0, 0.0), row(0.0, 0.0, 0.0, 0.3), row(1.0, 0.6, 0.0, 0.0))


def test_largest_of_group_is_the_largest_score_of_its_classes() -> None:
    torch.testing.assert_close(
        largest_of_group(STUDENT, GROUPS)[0, :, 0], torch.tensor([[0.9, 0.05, 0.2, 0], [0, 0, 0.5, 0]])
    )


def test_crucial_responses_are_those_of_equation_1() -> None:
    crucial = crucial_responses(STUDENT, LABELS, GROUPS, threshold=0.1)
    assert crucial.true_positive[0, :, 0].tolist() == [[True, False, False, False], [False] * 4]
    assert crucial.false_positive[0, :, 0].tolist() == [[False, False, True, False], [False, False, True, False]]
    assert crucial.false_negative[0, :, 0].tolist() == [[False, True, False, False], [False, False, False, True]]
    assert not (crucial.any & ~crucial.true_positive & ~crucial.false).any()
    assert torch.equal(crucial.labelled, crucial.true_positive | crucial.false_negative)


@pytest.mark.parametrize(
    ("mining", "first", "second"),
    [("all", 4, 0), ("TP", 1, 0), ("TP+FP", 1, 1), ("TP+FN", 1, 1), ("crucial", 1, 2)],
)
def test_mining_takes_the_rows_of_table_4(mining: Mining, first: int, second: int) -> None:
    crucial = crucial_responses(STUDENT[:, ::2], LABELS[:, ::2], torch.tensor([0, 0]), 0.1)
    assert [int(mask.sum()) for mask in mined(crucial, mining)] == [first, second]


def smooth_l1(difference: float) -> float:
    """β = 1."""
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


def test_classification_loss_is_equation_2() -> None:
    teacher = STUDENT + 0.1
    crucial = crucial_responses(STUDENT, LABELS, GROUPS, 0.1)
    one = smooth_l1(0.1)
    # One true positive in the head of two classes; of four false ones two are in it, and two in that of one class.
    expected = 1.0 * 2 * one + 5.0 * (2 * 2 * one + 2 * one) / 4
    found = classification_loss(STUDENT, teacher, crucial, GROUPS, ResponseConfig())
    torch.testing.assert_close(found, torch.tensor(expected))


def test_classification_of_the_largest_scores_sees_no_other_class() -> None:
    teacher = three_classes(row(0.9, 0.05, 0.2, 0.0), row(0.0, 0.0, 0.5, 0.0), row(0.9, 0.0, 0.2, 0.0))
    crucial = crucial_responses(STUDENT, LABELS, GROUPS, 0.1)
    assert classification_loss(STUDENT, teacher, crucial, GROUPS, ResponseConfig(scores="largest")) == 0
    assert classification_loss(STUDENT, teacher, crucial, GROUPS, ResponseConfig(scores="classes")) > 0


def test_regression_loss_is_equation_3() -> None:
    student = torch.zeros(1, len(REGRESSION_COLUMNS), 1, 1, 3)
    teacher = student.clone()
    teacher[0, 3, 0, 0] = torch.tensor([0.5, 3.0, 7.0])  # log_length; the third cell is a false positive
    teacher[0, 0] = 9.0  # an offset has weight 0
    masks = [torch.tensor(mask).view(1, 1, 1, 3) for mask in ([1, 0, 0], [0, 0, 1], [0, 1, 0])]
    crucial = CrucialResponses(*(mask.bool() for mask in masks))
    weights = torch.tensor(ResponseConfig().regression_weights)
    expected = 0.1 * (smooth_l1(0.5) + smooth_l1(3.0)) / 2
    torch.testing.assert_close(regression_loss(student, teacher, crucial, weights), torch.tensor(expected))


def test_regression_weights_are_those_of_section_4_1() -> None:
    weights = dict(zip(REGRESSION_COLUMNS, ResponseConfig().regression_weights, strict=True))
    assert {name for name, weight in weights.items() if weight} == {"log_length", "log_width", "log_height", "vx", "vy"}
    assert set(weights.values()) == {0.0, 0.1}


def heads(seed: int) -> HeadOutput:
    made = torch.Generator().manual_seed(seed)
    return HeadOutput(torch.randn(2, 3, 4, 5, generator=made), torch.randn(2, 10, 2, 4, 5, generator=made))


def test_response_loss_is_the_sum_of_equation_4_and_0_for_the_teacher_itself() -> None:
    student, teacher, config = heads(0), heads(1), ResponseConfig()
    labels = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(2))
    crucial = crucial_responses(student.heatmap.sigmoid(), labels, GROUPS, 0.4)
    parts = [
        classification_loss(student.heatmap.sigmoid(), teacher.heatmap.sigmoid(), crucial, GROUPS, config),
        regression_loss(student.regression, teacher.regression, crucial, torch.tensor(config.regression_weights)),
    ]
    torch.testing.assert_close(response_loss(student, teacher, crucial, GROUPS, config), sum(parts))
    assert response_loss(student, student, crucial, GROUPS, config) == 0


def test_mean_of_nothing_is_0_with_a_gradient_of_0() -> None:
    values = torch.ones(3, requires_grad=True)
    mean = mean_where(values, torch.zeros(3, dtype=torch.bool))
    mean.backward()
    assert mean == 0
    assert values.grad is not None
    assert not values.grad.any()


def test_a_regression_weight_too_few_is_refused() -> None:
    with pytest.raises(ConfigError, match="received 9 regression_weights; expected 10"):
        ResponseConfig(regression_weights=(0.1,) * 9)
