"""The sparse U-Net: equal to a dense one, and the form that trains to the form that is exported."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.errors import ConfigError, ModelFileError
from lidarloop_core.model.group import group_cloud
from lidarloop_core.model.tensors import names
from lidarloop_core.pointcloud.grid import VoxelGrid
from lidarloop_core.sparse.cloud import VoxelCloud, window_of
from lidarloop_core.sparse.occupancy import SUBMANIFOLD
from tests.builders import VOXEL_SEGMENTER, make_spec

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from lidarloop_training.models.sparse.blocks import ConvNormRelu, ResidualBlock, fold_norms  # noqa: E402
from lidarloop_training.models.unet import SparseUNet, UNetConfig  # noqa: E402
from lidarloop_training.tasks.grouped import collate_grouped  # noqa: E402
from tests.norms import give_statistics  # noqa: E402
from tests.training.models.sparse.scenes import dense_conv, dense_inverse_conv  # noqa: E402

CONFIG = UNetConfig(channels=(6, 8, 10), encoder_blocks=(0, 1, 2), decoder_blocks=(1, 0), head_channels=7)


def network() -> SparseUNet:
    """With batch norms that have seen something, so that none of them is the identity."""
    torch.manual_seed(0)
    made = SparseUNet(VOXEL_SEGMENTER, CONFIG).double().eval()
    give_statistics(made, 0.5, 2.0)
    return made


def cloud_of(seed: int, num: int = 600) -> npt.NDArray[np.float32]:
    """Points in range, and one in ten outside."""
    rng = np.random.default_rng(seed)
    low, high = np.array(VOXEL_SEGMENTER.grid.ranges_m).T
    xyz = rng.uniform(low, high, (num, 3))
    xyz[::10, 0] += 100.0
    return np.column_stack([xyz, rng.uniform(0, 255, num), rng.choice([0, 0.1, 0.2], num)]).astype(np.float32)


def by_tables(made: SparseUNet, cloud: npt.NDArray[np.float32]) -> Tensor:
    """The logits of one cloud, from the tensors that an exported graph takes."""
    tensors = group_cloud(cloud, VOXEL_SEGMENTER).tensors()
    assert list(tensors) == list(names(VOXEL_SEGMENTER.inputs))
    for tensor in VOXEL_SEGMENTER.inputs:
        assert tensor.fits(tensors[tensor.name]), tensor
    return made(*as_double([torch.from_numpy(array) for array in tensors.values()]))


def as_double(inputs: list[object]) -> list[object]:
    return [i.double() if isinstance(i, Tensor) and i.is_floating_point() else i for i in inputs]


def rulebooks(clouds: list[npt.NDArray[np.float32]]) -> list[object]:
    grouped = [group_cloud(cloud, VOXEL_SEGMENTER) for cloud in clouds]
    return as_double(list(collate_grouped(grouped, VOXEL_SEGMENTER)))


@torch.no_grad()
def test_a_batch_with_rulebooks_gives_the_logits_of_each_cloud_with_tables() -> None:
    made = network()
    clouds = [cloud_of(1), cloud_of(2, num=5), np.full((3, 5), 1e6, np.float32), cloud_of(3, num=4000)]
    together = made(*rulebooks(clouds))
    assert together.shape == (sum(map(len, clouds)), len(VOXEL_SEGMENTER.class_names))
    ends = np.cumsum([len(cloud) for cloud in clouds])
    for end, cloud in zip(ends, clouds, strict=True):
        torch.testing.assert_close(together[end - len(cloud) : end], by_tables(made, cloud), atol=1e-9, rtol=1e-9)


def test_both_forms_give_the_same_gradients() -> None:
    made = network().train()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.momentum = 0.0
    cloud, found = cloud_of(4), []
    target = torch.randn(len(cloud), len(VOXEL_SEGMENTER.class_names), dtype=torch.float64)
    for logits in (by_tables(made, cloud), made(*rulebooks([cloud]))):
        made.zero_grad()
        (logits * target).sum().backward()
        found.append({name: parameter.grad.clone() for name, parameter in made.named_parameters()})
    assert all(gradient.abs().sum() > 0 for gradient in found[0].values())
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-8, rtol=1e-8)


@torch.no_grad()
def test_it_equals_the_dense_network() -> None:
    made = network()
    cloud = group_cloud(cloud_of(5), VOXEL_SEGMENTER)
    assert isinstance(cloud, VoxelCloud)
    assert isinstance(VOXEL_SEGMENTER.grid, VoxelGrid)
    levels = [level.voxels for level in cloud.levels]
    windows = [window_of(level) for level in VOXEL_SEGMENTER.grid.levels]

    def same(unit: ConvNormRelu, x: Tensor, at: int) -> Tensor:
        return torch.relu(unit.norm(dense_conv(x, unit.conv.weight, levels[at], levels[at], SUBMANIFOLD)))

    def residual(block: ResidualBlock, x: Tensor, at: int) -> Tensor:
        inner = same(block.first, x, at)
        outer = dense_conv(inner, block.second.conv.weight, levels[at], levels[at], SUBMANIFOLD)
        return torch.relu(x + block.second.norm(outer))

    encoder, skips = made.encoder, []
    x = encoder.features(torch.from_numpy(cloud.index.features).double())
    for at in range(3):
        if at == 0:
            x = same(encoder.stages.first, x, 0)
        else:
            down = encoder.stages.down[at - 1]
            weight = down.conv.weight
            x = torch.relu(down.norm(dense_conv(x, weight, levels[at - 1], levels[at], windows[at - 1])))
        for block in encoder.stages.stages[at].children():
            x = residual(block, x, at)
        skips.append(x)
    for at in (1, 0):
        stage = made.decoder.stages[at]
        weight = stage.up.conv.weight
        x = torch.relu(stage.up.norm(dense_inverse_conv(x, weight, levels[at + 1], levels[at], windows[at])))
        x = same(stage.join, torch.cat([x, skips[at]], dim=1), at)
        for block in stage.blocks.children():
            x = residual(block, x, at)
    points, row = torch.from_numpy(cloud.points).double(), torch.from_numpy(cloud.index.voxel_of_point).long()
    of_point = torch.cat([torch.zeros(1, x.shape[1], dtype=x.dtype), x])[row]
    hidden = made.head.of_voxel(of_point) + made.head.of_point(made.head.features(points))
    expected = made.head.classify(torch.relu(hidden))
    assert (row == 0).sum() == 60
    torch.testing.assert_close(by_tables(made, cloud.points), expected, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_folded_norms_change_no_logit() -> None:
    made, cloud = network(), cloud_of(6)
    expected = by_tables(made, cloud)
    fold_norms(made)
    assert not [module for module in made.modules() if isinstance(module, torch.nn.BatchNorm1d)]
    torch.testing.assert_close(by_tables(made, cloud), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": (6, 8)}, r"2 channels, 3 encoder_blocks and 2 decoder_blocks; expected 3, 3 and 2"),
        ({"decoder_blocks": (1, 1, 1)}, r"3 decoder_blocks"),
        ({"encoder_blocks": (1, 1, 0)}, r"at least one at the coarsest"),
        ({"head_channels": 0}, r"head_channels"),
    ],
)
def test_widths_that_do_not_fit_the_grid_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SparseUNet(VOXEL_SEGMENTER, dataclasses.replace(CONFIG, **changes))


def test_a_spec_on_pillars_is_refused() -> None:
    with pytest.raises(ModelFileError, match="expected one on voxels"):
        SparseUNet(make_spec(), CONFIG)
