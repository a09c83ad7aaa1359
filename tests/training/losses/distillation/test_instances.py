"""Equation 12 of S2M2-SSD: the turned grid and its interpolation by brute force, and the loss in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from lidarloop_training.losses.distillation.config import InstanceConfig  # noqa: E402
from lidarloop_training.losses.distillation.instances import MapPlace, box_grid, instance_loss, read_map  # noqa: E402

PLACE = MapPlace(torch.tensor([-4.0, -2.0], dtype=torch.float64), torch.tensor([0.5, 0.25], dtype=torch.float64))
COLUMNS, ROWS = 16, 16


def boxes(number: int = 6) -> Tensor:
    rng = np.random.default_rng(0)
    values = np.zeros((number, 9))
    values[:, :2] = rng.uniform((-3, -1.5), (3, 1.5), (number, 2))
    values[:, 3:5] = rng.uniform(0.3, 4, (number, 2))
    values[:, 6] = rng.uniform(-math.pi, math.pi, number)
    return torch.from_numpy(values)


def test_grid_is_that_of_brute_force() -> None:
    grid = box_grid(boxes(), 5)
    assert grid.shape == (6, 25, 2)
    for box, points in zip(boxes().numpy(), grid.numpy(), strict=True):
        for i in range(5):
            for j in range(5):
                along, across = (i - 2) / 5 * box[3], (j - 2) / 5 * box[4]
                x = box[0] + along * math.cos(box[6]) - across * math.sin(box[6])
                y = box[1] + along * math.sin(box[6]) + across * math.cos(box[6])
                np.testing.assert_allclose(points[i * 5 + j], [x, y], atol=1e-12)


def by_hand(features: np.ndarray, x: float, y: float) -> np.ndarray:
    """Bilinear interpolation at one point, zero beyond the map."""
    column, row = (x + 4.0) / 0.5 - 0.5, (y + 2.0) / 0.25 - 0.5
    left, top = math.floor(column), math.floor(row)
    total = np.zeros(len(features))
    for c, r in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
        weight = (1 - abs(column - c)) * (1 - abs(row - r))
        if 0 <= c < COLUMNS and 0 <= r < ROWS:
            total += weight * features[:, r, c]
    return total


def test_interpolation_is_that_of_brute_force_also_beyond_the_edge() -> None:
    features = torch.randn(3, ROWS, COLUMNS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grid = box_grid(boxes(), 5)
    found = read_map(features, grid, PLACE).numpy()
    for n in range(len(grid)):
        for p, (x, y) in enumerate(grid[n].tolist()):
            np.testing.assert_allclose(found[n, p], by_hand(features.numpy(), x, y), atol=1e-12)


def test_instance_loss_is_the_mean_over_all_boxes_of_the_batch() -> None:
    student = torch.zeros(2, 3, ROWS, COLUMNS, dtype=torch.float64)
    teacher = student.clone()
    teacher[0], teacher[1] = 0.5, 3.0  # constant maps: so is what is read in boxes far from the edge
    inside = torch.zeros(3, 9, dtype=torch.float64)
    inside[:, 3:5] = 1.0
    config = InstanceConfig()
    expected = 8 * (2 * 0.125 + 2.5) / 3
    found = instance_loss(student, teacher, [inside[:2], inside[2:]], PLACE, config)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    assert instance_loss(teacher, teacher, [inside[:2], inside[2:]], PLACE, config) == 0


def test_a_batch_without_a_box_costs_nothing_and_has_a_gradient() -> None:
    student = torch.ones(1, 3, ROWS, COLUMNS, dtype=torch.float64, requires_grad=True)
    loss = instance_loss(student, student.detach() + 1, [boxes(0)], PLACE, InstanceConfig())
    loss.backward()
    assert loss == 0
    assert student.grad is not None
    assert not student.grad.any()
