"""Equations 5-7 of S2M2-SSD on a few voxels."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from lidarloop_training.losses.distillation.config import VoxelConfig  # noqa: E402
from lidarloop_training.losses.distillation.relations import (  # noqa: E402
    evenly_fewer,
    relation_loss,
    relation_loss_by_cloud,
    relations,
)
from lidarloop_training.losses.distillation.responses import CrucialResponses  # noqa: E402
from lidarloop_training.losses.distillation.voxels import (  # noqa: E402
    CrucialVoxels,
    all_voxels,
    consistency_loss,
    crucial_voxels,
    voxel_loss,
)

ONE_CLOUD = torch.zeros(4, dtype=torch.int64)


def mask(*cells: bool) -> Tensor:
    """Two groups on a map of one row and two columns, for one sample."""
    return torch.tensor(cells).view(1, 2, 1, 2)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_voxels_above_crucial_cells_are_crucial_by_the_groups_of_both_kinds() -> None:
    crucial = CrucialResponses(
        mask(True, False, False, False), mask(False, False, True, False), mask(False, False, False, True)
    )
    found = crucial_voxels(crucial, torch.tensor([0, 0, 1, -1]))
    assert found.true.tolist() == [True, True, False, False]
    assert found.false.tolist() == [True, True, True, False]


def test_without_a_filter_every_voxel_is_a_true_one() -> None:
    found = all_voxels(torch.tensor([0, 1, -1]))
    assert found.true.tolist() == [True, True, False]
    assert not found.false.any()


def test_consistency_loss_is_equation_5() -> None:
    student, teacher = torch.zeros(3, 2), torch.tensor([[0.5, 0.5], [3.0, 0.0], [7.0, 7.0]])
    voxels = CrucialVoxels(torch.tensor([True, False, False]), torch.tensor([True, True, False]))
    expected = 2 * 0.125 + 8 * (0.125 + 2.5 / 2) / 2
    torch.testing.assert_close(consistency_loss(student, teacher, voxels, VoxelConfig()), torch.tensor(expected))


def test_relations_are_cosines() -> None:
    features = torch.tensor([[1.0, 0.0], [2.0, 2.0], [0.0, 0.0]])
    half = 2**-0.5
    torch.testing.assert_close(relations(features), torch.tensor([[1, half, 0], [half, 1, 0], [0, 0, 0]]))


def test_relation_loss_is_equation_6_pair_by_pair() -> None:
    student, teacher = random(5, 3), random(5, 4, seed=1)

    def cosine(features: Tensor, i: int, j: int) -> float:
        a, b = features[i].numpy(), features[j].numpy()
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    pairs = [(cosine(student, i, j) - cosine(teacher, i, j)) ** 2 for i in range(5) for j in range(5)]
    torch.testing.assert_close(relation_loss(student, teacher), torch.tensor(sum(pairs) / 25, dtype=torch.float64))


def test_relations_are_not_changed_by_scale() -> None:
    student = random(6, 3)
    torch.testing.assert_close(relation_loss(student, 7 * student), torch.tensor(0.0, dtype=torch.float64))


def test_relations_are_of_one_cloud_and_averaged_over_clouds() -> None:
    student, teacher, cloud = random(6, 3), random(6, 3, seed=1), torch.tensor([0, 0, 0, 0, 1, 1])
    expected = (relation_loss(student[:4], teacher[:4]) + relation_loss(student[4:], teacher[4:]) + 0) / 3
    torch.testing.assert_close(relation_loss_by_cloud(student, teacher, cloud, 3), expected)


def test_evenly_fewer_keeps_first_and_last_and_no_more_than_asked() -> None:
    chosen = torch.ones(100, dtype=torch.bool)
    chosen[::2] = False
    kept = evenly_fewer(chosen, 7)
    assert int(kept.sum()) == 7
    assert kept[1]
    assert kept[99]
    assert not (kept & ~chosen).any()
    assert torch.equal(evenly_fewer(chosen, 50), chosen)


def test_voxel_loss_is_the_sum_of_equation_7_and_0_for_the_teacher_itself() -> None:
    student, teacher = random(4, 3), random(4, 3, seed=1)
    voxels = CrucialVoxels(torch.tensor([True, False, True, False]), torch.tensor([False, False, True, True]))
    config = VoxelConfig()
    related = torch.tensor([0, 2, 3])
    expected = consistency_loss(student, teacher, voxels, config) + relation_loss(student[related], teacher[related])
    torch.testing.assert_close(voxel_loss(student, teacher, voxels, ONE_CLOUD, 1, config), expected)
    assert voxel_loss(teacher, teacher, voxels, ONE_CLOUD, 1, config) == 0
    without = VoxelConfig(relation_weight=0)
    torch.testing.assert_close(
        voxel_loss(student, teacher, voxels, ONE_CLOUD, 1, without),
        consistency_loss(student, teacher, voxels, without),
    )


def test_gradients_reach_crucial_voxels_alone() -> None:
    student, teacher = random(4, 3).requires_grad_(), random(4, 3, seed=1)
    voxels = CrucialVoxels(torch.tensor([True, False, False, False]), torch.tensor([False, True, False, False]))
    voxel_loss(student, teacher, voxels, ONE_CLOUD, 1, VoxelConfig()).backward()
    assert student.grad is not None
    assert student.grad.any(dim=1).tolist() == [True, True, False, False]


def test_a_batch_without_a_crucial_voxel_costs_nothing_and_has_a_gradient() -> None:
    student = random(4, 3).requires_grad_()
    nothing = torch.zeros(4, dtype=torch.bool)
    loss = voxel_loss(student, random(4, 3, seed=1), CrucialVoxels(nothing, nothing), ONE_CLOUD, 1, VoxelConfig())
    loss.backward()
    assert loss == 0
    assert student.grad is not None
    assert not student.grad.any()
