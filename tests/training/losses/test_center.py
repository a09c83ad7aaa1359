from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")

from lidarloop_training.losses.center import (  # noqa: E402
    BatchTargets,
    CenterLossConfig,
    center_loss,
    center_weights,
    gaussian_focal_loss,
    regression_loss,
)
from lidarloop_training.models.heads.center import HeadOutput  # noqa: E402

if TYPE_CHECKING:
    import torch
    from torch import Tensor


ONES = CenterLossConfig(code_weights=(1.0,) * 10)
GROUPS = torch.tensor([0, 1, 1])  # of three classes


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def focal(p: float, target: float) -> float:
    """Equation 1 of CenterNet, one cell, in double precision."""
    if target == 1:
        return -((1 - p) ** 2) * math.log(p)
    return -((1 - target) ** 4) * p**2 * math.log(1 - p)


def targets(
    regression: Tensor,
    *,
    sample: list[Any] | tuple[Any, ...] = (0,),
    cell: list[Any] | tuple[Any, ...] = (0,),
    label: list[Any] | tuple[Any, ...] = (0,),
    weight: tuple[Any, ...] | None = None,
) -> BatchTargets:
    heatmap = torch.zeros(2, 3, 2, 2)
    weight = torch.ones(len(sample)) if weight is None else torch.tensor(weight)
    ignored = torch.zeros(heatmap.shape[0], *heatmap.shape[2:], dtype=torch.bool)
    return BatchTargets(
        heatmap, torch.tensor(sample), torch.tensor(cell), torch.tensor(label), regression, weight, ignored
    )


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Every centre counts in full."""
    return gaussian_focal_loss(logits, target, (target == 1).to(logits.dtype), nowhere(target))


def nowhere(target: Tensor) -> Tensor:
    """No cell is ignored."""
    return torch.zeros(target.shape[0], *target.shape[2:], dtype=torch.bool)


@pytest.mark.parametrize("target", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.97])
def test_focal_loss_of_one_cell(p: float, target: float) -> None:
    found = focal_loss(torch.full((1, 1, 1, 1), logit(p)), torch.full((1, 1, 1, 1), target))
    assert found.item() == pytest.approx(focal(p, target), rel=1e-5)


def test_focal_loss_is_the_sum_over_cells_by_the_number_of_centres() -> None:
    p, target = [0.2, 0.7, 0.4, 0.9], [1.0, 0.5, 1.0, 0.0]
    found = focal_loss(torch.tensor([logit(x) for x in p]).view(1, 1, 2, 2), torch.tensor(target).view(1, 1, 2, 2))
    assert found.item() == pytest.approx(sum(map(focal, p, target)) / 2, rel=1e-5)


def test_focal_loss_of_a_perfect_and_of_a_wrong_map() -> None:
    target = torch.zeros(1, 1, 4, 4)
    target[0, 0, 1, 2] = 1
    logits = torch.where(target == 1, 20.0, -20.0)
    assert focal_loss(logits, target).item() < 1e-12
    assert focal_loss(-logits, target).item() > 100


def test_focal_loss_stays_finite_for_any_logit() -> None:
    logits = torch.tensor([-500.0, 500.0, -500.0, 500.0], requires_grad=True)
    loss = focal_loss(logits.view(1, 1, 2, 2), torch.tensor([1.0, 0.0, 0.0, 1.0]).view(1, 1, 2, 2))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_focal_loss_without_any_object_still_teaches() -> None:
    logits = torch.zeros(1, 1, 2, 2)
    assert focal_loss(logits, torch.zeros(1, 1, 2, 2)).item() == pytest.approx(4 * focal(0.5, 0))


def test_focal_gradient() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    target = torch.rand(1, 2, 3, 3, dtype=torch.float64)
    target[0, 0, 1, 1] = 1
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, target), logits)


def test_regression_is_read_at_the_objects_sample_group_and_cell() -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 10, 2, 2, 2)
    values = torch.randn(3, 10)
    sample, cell, label = (0, 1, 1), (3, 0, 2), (0, 2, 1)
    expected = sum(
        (maps[s, :, GROUPS[k], c // 2, c % 2] - v).abs().sum()
        for s, c, k, v in zip(sample, cell, label, values, strict=True)
    )
    found = regression_loss(maps, targets(values, sample=sample, cell=cell, label=label), GROUPS, ONES)
    assert found.item() == pytest.approx(expected.item() / 3, rel=1e-5)


def test_regression_of_what_was_asked_for_is_zero() -> None:
    maps = torch.randn(2, 10, 2, 2, 2)
    wanted = targets(maps[1, :, 1, 0, 1][None].clone(), sample=(1,), cell=(1,), label=(2,))
    assert regression_loss(maps, wanted, GROUPS, ONES).item() == 0


def test_code_weights() -> None:
    maps, wanted = torch.zeros(2, 10, 2, 2, 2), targets(torch.ones(1, 10))
    weights = CenterLossConfig(code_weights=tuple(map(float, range(10))))
    assert regression_loss(maps, wanted, GROUPS, weights).item() == pytest.approx(45)


def test_velocities_of_moving_objects_count_by_their_weight() -> None:
    values = torch.zeros(4, 10)
    values[:, 8] = torch.tensor([0.0, 0.4, -3.0, torch.nan])
    values[:, 0] = 1.0
    wanted = targets(values, sample=(0, 0, 1, 1), cell=(0, 1, 2, 3), label=(0, 0, 0, 0))
    config = CenterLossConfig(code_weights=(1.0,) * 10, moving_weight=4.0)
    expected = 1.0 + (0.4 + 4 * 3.0) / (1 + 1 + 4)
    assert regression_loss(torch.zeros(2, 10, 2, 2, 2), wanted, GROUPS, config).item() == pytest.approx(expected)


def test_unknown_velocities_add_neither_loss_nor_gradient_nor_weight() -> None:
    values = torch.zeros(2, 10)
    values[0, 8:] = torch.nan
    values[1, 8] = 3.0
    maps = torch.zeros(2, 10, 2, 2, 2, requires_grad=True)
    loss = regression_loss(maps, targets(values, sample=(0, 1), cell=(0, 0), label=(0, 0)), GROUPS, ONES)
    loss.backward()
    assert loss.item() == pytest.approx(3.0)  # the mean over the one object that knows vx
    assert maps.grad[0, 8:].abs().sum() == 0
    assert maps.grad[1, 8].abs().sum() == 1
    assert torch.isfinite(maps.grad).all()


def test_a_batch_without_objects_has_no_regression_loss() -> None:
    maps = torch.randn(2, 10, 2, 2, 2, requires_grad=True)
    none = targets(torch.zeros(0, 10), sample=[], cell=[], label=[])
    sample, cell, label = (t.long() for t in none[1:4])
    empty = BatchTargets(none.heatmap, sample, cell, label, none.regression, none.weight, none.ignored)
    loss = regression_loss(maps, empty, GROUPS, ONES)
    loss.backward()
    assert loss.item() == 0
    assert maps.grad.abs().sum() == 0


def test_total_is_the_weighted_sum() -> None:
    torch.manual_seed(0)
    output = HeadOutput(torch.randn(2, 3, 2, 2), torch.randn(2, 10, 2, 2, 2))
    loss = center_loss(output, targets(torch.randn(1, 10)), GROUPS, CenterLossConfig(regression_weight=0.5))
    assert loss.total.item() == pytest.approx(loss.heatmap.item() + 0.5 * loss.regression.item())


def test_a_doubtful_centre_counts_by_its_weight() -> None:
    p, target, weight = [0.2, 0.7, 0.4, 0.9], [1.0, 0.5, 1.0, 0.0], [1.0, 0.0, 0.6, 0.0]
    logits, wanted, worth = (torch.tensor(row).view(1, 1, 2, 2) for row in ([logit(x) for x in p], target, weight))
    expected = (focal(p[0], 1) + 0.6 * focal(p[2], 1)) / 1.6 + (focal(p[1], 0.5) + focal(p[3], 0)) / 2
    assert gaussian_focal_loss(logits, wanted, worth, nowhere(wanted)).item() == pytest.approx(expected, rel=1e-5)


def test_a_label_of_no_worth_neither_pulls_nor_pushes_at_its_cell() -> None:
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    target = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 2)
    gaussian_focal_loss(logits, target, torch.zeros_like(target), nowhere(target)).backward()
    assert logits.grad[0, 0, 0, 0] == 0
    assert (logits.grad.flatten()[1:] > 0).all()


def test_ignored_cells_are_taught_as_empty_for_no_class_and_their_centres_count_as_anywhere() -> None:
    """Cells 0 and 1 of a map of four are ignored; cell 0 is a centre of the first class."""
    p = [[0.2, 0.7, 0.4, 0.9], [0.3, 0.6, 0.8, 0.1]]
    logits = torch.tensor([[[logit(x) for x in row] for row in p]]).view(1, 2, 2, 2).requires_grad_()
    target = torch.tensor([[1.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0]]).view(1, 2, 2, 2)
    ignored = torch.tensor([True, True, False, False]).view(1, 2, 2)
    loss = gaussian_focal_loss(logits, target, (target == 1).float(), ignored)
    expected = focal(0.2, 1) + focal(0.4, 0.5) + focal(0.9, 0) + focal(0.8, 0) + focal(0.1, 0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert logits.grad[0, 0, 0, 1] == 0
    assert (logits.grad[0, 1, 0] == 0).all()
    assert logits.grad[0, 0, 0, 0] < 0
    assert (logits.grad[0, :, 1] > 0).all()


def test_weights_lie_at_the_cells_of_their_objects_the_greatest_wins() -> None:
    maps = center_weights(
        targets(
            torch.zeros(4, 10), sample=(0, 1, 1, 1), cell=(3, 0, 0, 2), label=(0, 2, 2, 1), weight=(0.5, 0.2, 0.9, 1)
        )
    )
    expected = torch.zeros(2, 3, 2, 2)
    expected[0, 0, 1, 1], expected[1, 2, 0, 0], expected[1, 1, 1, 0] = 0.5, 0.9, 1.0
    torch.testing.assert_close(maps, expected)


def test_regression_is_the_weighted_mean() -> None:
    values = torch.tensor([1.0, 4.0])[:, None].expand(2, 10)
    wanted = targets(values, sample=(0, 1), cell=(0, 0), label=(0, 0), weight=(0.9, 0.6))
    found = regression_loss(torch.zeros(2, 10, 2, 2, 2), wanted, GROUPS, ONES)
    assert found.item() == pytest.approx(10 * (0.9 * 1 + 0.6 * 4) / 1.5, rel=1e-5)


def test_labels_of_little_weight_are_not_blown_up() -> None:
    """One label of weight 0.1 in a batch pulls with a tenth of the force, not with all of it."""
    wanted = targets(torch.ones(1, 10), weight=(0.1,))
    assert regression_loss(torch.zeros(2, 10, 2, 2, 2), wanted, GROUPS, ONES).item() == pytest.approx(1.0)
