from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grouping import PillarIndex

torch = pytest.importorskip("torch")

from lidarloop_core.pointcloud.grouping import group_pillars  # noqa: E402
from lidarloop_training.models.encoders.pillar import PillarEncoder  # noqa: E402

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lidarloop_core.model.spec import ModelSpec


def cloud(spec: ModelSpec, num_points: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (num_points, 5)).astype(np.float32)
    points[:, 0] *= 10
    points[:, 1] *= 8
    points[:, 3] = rng.uniform(0, 255, num_points)
    return points


def tensors(index: PillarIndex) -> list[Tensor]:
    return [torch.from_numpy(a) for a in (index.points, index.slot, index.cell, index.count)]


@pytest.fixture
def encoder(spec: ModelSpec) -> PillarEncoder:
    torch.manual_seed(0)
    encoder = PillarEncoder(spec, channels=6).eval()
    encoder.norm.running_mean.normal_()
    encoder.norm.running_var.uniform_(0.5, 2)
    return encoder


def by_hand(encoder: PillarEncoder, spec: ModelSpec, index: PillarIndex) -> np.ndarray:
    """Pillar by pillar and point by point, in float64 numpy."""
    num_columns, num_rows = spec.pillars.shape
    canvas = np.zeros((encoder.channels, num_rows, num_columns))
    weight = encoder.linear.weight.detach().double().numpy()
    norm = encoder.norm
    pillar_of_point = index.slot // spec.pillars.max_points_per_pillar
    for pillar, cell in enumerate(index.cell):
        row, column = divmod(int(cell), num_columns)
        members = index.points[pillar_of_point == pillar].astype(np.float64)
        center = np.array([spec.grid.x_range_m[0] + column + 0.5, spec.grid.y_range_m[0] + row + 0.5])
        features = []
        for point in members:
            scaled = point * (1, 1, 1, spec.intensity_scale, 1)
            decorated = np.concatenate([scaled, point[:3] - members[:, :3].mean(axis=0), point[:2] - center])
            features.append(weight @ decorated)
        normed = (np.array(features) - norm.running_mean.numpy()) / np.sqrt(norm.running_var.numpy() + norm.eps)
        normed = normed * norm.weight.detach().numpy() + norm.bias.detach().numpy()
        canvas[:, row, column] = np.maximum(normed, 0).max(axis=0)
    return canvas


def test_agrees_with_pillar_by_pillar_arithmetic(encoder: PillarEncoder, spec: ModelSpec) -> None:
    index = group_pillars(cloud(spec, 400, seed=1), spec.pillars)
    with torch.no_grad():
        canvas = encoder(*tensors(index))
    assert canvas.shape == (1, 6, 16, 20)
    np.testing.assert_allclose(canvas[0].numpy(), by_hand(encoder, spec, index), atol=1e-5)


def test_order_of_points_does_not_matter(encoder: PillarEncoder, spec: ModelSpec) -> None:
    index = group_pillars(cloud(spec, 300, seed=2), spec.pillars)
    points, slot, cell, count = tensors(index)
    order = torch.randperm(len(points))
    with torch.no_grad():
        assert torch.allclose(
            encoder(points, slot, cell, count), encoder(points[order], slot[order], cell, count), atol=1e-6
        )


def test_a_batch_is_its_samples_one_by_one(encoder: PillarEncoder, spec: ModelSpec) -> None:
    indices = [group_pillars(cloud(spec, n, seed=n), spec.pillars) for n in (250, 1, 90)]
    cells_per_sample = spec.pillars.num_cells
    first = np.cumsum([0] + [len(i.cell) for i in indices])
    points = torch.cat([torch.from_numpy(i.points) for i in indices])
    slot = torch.cat([torch.from_numpy(i.slot + f * 5) for i, f in zip(indices, first, strict=False)])
    cell = torch.cat([torch.from_numpy(i.cell + b * cells_per_sample) for b, i in enumerate(indices)])
    count = torch.cat([torch.from_numpy(i.count) for i in indices])
    with torch.no_grad():
        together = encoder(points, slot, cell, count, batch_size=3)
        alone = torch.cat([encoder(*tensors(i)) for i in indices])
    assert torch.allclose(together, alone, atol=1e-6)


def test_batch_norm_sees_real_points_only(spec: ModelSpec) -> None:
    """A point repeated in every place has no variance; padding would bring some in."""
    encoder = PillarEncoder(spec, channels=4).train()
    points = torch.tensor([[0.5, 0.5, 0.0, 0.0, 0.0]]).repeat(3, 1)
    encoder(points, torch.arange(3), torch.tensor([210]), torch.tensor([3]))
    assert torch.allclose(encoder.norm.running_var, torch.full((4,), 1 - encoder.norm.momentum))


def test_gradient_reaches_every_kept_point(encoder: PillarEncoder, spec: ModelSpec) -> None:
    points, slot, cell, count = tensors(group_pillars(cloud(spec, 60, seed=5), spec.pillars))
    points.requires_grad_()
    encoder(points, slot, cell, count).sum().backward()
    assert torch.isfinite(points.grad).all()
    assert points.grad.abs().sum() > 0
