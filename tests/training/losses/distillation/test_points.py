"""Equations 8-11 of S2M2-SSD on a few points."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from lidarloop_training.losses.distillation.config import PointConfig  # noqa: E402
from lidarloop_training.losses.distillation.points import ForegroundPoints, point_features, point_loss  # noqa: E402
from lidarloop_training.losses.distillation.relations import relation_loss  # noqa: E402

POINTS = ForegroundPoints(
    neighbours=torch.tensor([[0, 1], [2, 0], [1, 2]]),
    weights=torch.tensor([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]], dtype=torch.float64),
    cloud=torch.zeros(3, dtype=torch.int64),
    related=torch.tensor([True, True, False]),
)
NOTHING = ForegroundPoints(
    torch.zeros(0, 2, dtype=torch.int64),
    torch.zeros(0, 2, dtype=torch.float64),
    torch.zeros(0, dtype=torch.int64),
    torch.zeros(0, dtype=torch.bool),
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_features_of_points_are_weighted_means_of_their_voxels() -> None:
    voxels = torch.tensor([[4.0, 0.0], [0.0, 4.0], [8.0, 8.0]], dtype=torch.float64)
    expected = torch.tensor([[1.0, 3.0], [8.0, 8.0], [4.0, 6.0]], dtype=torch.float64)
    torch.testing.assert_close(point_features(voxels, POINTS), expected)


def test_point_loss_is_the_sum_of_equations_9_and_10() -> None:
    student, teacher = random(3, 4), random(3, 4, seed=1)
    ours, theirs = point_features(student, POINTS), point_features(teacher, POINTS)
    difference = (ours - theirs).abs()
    smooth = torch.where(difference < 1, difference**2 / 2, difference - 0.5)
    expected = 2 * smooth.mean() + relation_loss(ours[:2], theirs[:2])
    torch.testing.assert_close(point_loss(student, teacher, POINTS, 1, PointConfig()), expected)
    torch.testing.assert_close(
        point_loss(student, teacher, POINTS, 1, PointConfig(relation_weight=0)), 2 * smooth.mean()
    )


def test_point_loss_is_0_for_the_teacher_itself() -> None:
    assert point_loss(random(3, 4), random(3, 4), POINTS, 1, PointConfig()) == 0


def test_a_batch_without_a_point_costs_nothing_and_has_a_gradient() -> None:
    student = random(3, 4).requires_grad_()
    loss = point_loss(student, random(3, 4, seed=1), NOTHING, 1, PointConfig())
    loss.backward()
    assert loss == 0
    assert student.grad is not None
    assert not student.grad.any()
