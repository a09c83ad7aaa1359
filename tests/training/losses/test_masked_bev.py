from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from lidarloop_training.losses.masked_bev import chamfer_distance, masked_bev_loss  # noqa: E402


def test_the_chamfer_distance_is_its_formula() -> None:
    found = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
    true = torch.tensor([[[0.0, 0.0, 2.0], [1.0, 0.0, 0.0], [9.0, 9.0, 9.0]]])
    is_point = torch.tensor([[True, True, False]])
    # Found to true: min(4, 1) and 0. Back: min(4, 5) and 0. The filling counts nowhere.
    assert chamfer_distance(found, true, is_point).tolist() == [pytest.approx((1 + 0) / 2 + (4 + 0) / 2)]


def test_found_points_that_are_the_true_ones_cost_nothing() -> None:
    points = torch.tensor([[[0.1, 0.2, 0.3], [1.0, -1.0, 0.5]]])
    loss = masked_bev_loss(
        points, torch.tensor([math.log(3.0)]), points.flip(1), torch.ones(1, 2, dtype=torch.bool), torch.tensor([2])
    )
    assert float(loss.total) == pytest.approx(0.0, abs=1e-6)


def test_the_density_is_a_smooth_distance_of_logarithms() -> None:
    points = torch.zeros(1, 1, 3)
    one = torch.ones(1, 1, dtype=torch.bool)
    loss = masked_bev_loss(points, torch.tensor([math.log(4.0) + 3.0]), points, one, torch.tensor([3]))
    assert float(loss.density) == pytest.approx(3.0 - 0.5)
    assert float(loss.total) == pytest.approx(2.5)


def test_no_masked_cell_costs_nothing_and_keeps_the_gradient() -> None:
    points = torch.zeros(0, 2, 3, requires_grad=True)
    empty = torch.zeros(0, 2, dtype=torch.bool)
    loss = masked_bev_loss(points, points.sum(dim=(1, 2)), points.detach(), empty, torch.zeros(0))
    assert float(loss.total) == 0.0
    assert loss.total.requires_grad
