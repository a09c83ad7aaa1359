"""The voxel encoder against the same encoder made of dense convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lidarloop_core.sparse.occupancy import SUBMANIFOLD, GridShape, Occupancy, Window
from lidarloop_core.sparse.tables import LevelTables
from lidarloop_training.models.encoders.voxel import VoxelEncoder, VoxelEncoderConfig
from lidarloop_training.models.sparse.blocks import ConvNormRelu, ResidualBlock, fold_norms
from tests.training.models.sparse.scenes import (
    build,
    dense_conv,
    encoder_plan,
    neighbours_of,
    random_features,
    scene,
    tables_of,
)

SHAPE = GridShape(24, 16, 16)
HALVE = Window((2, 2, 2), (2, 2, 2), (0, 0, 0))
CONFIG = VoxelEncoderConfig((6, 8, 10), (1, 2, 1), (Window(), HALVE), 12)


def encoder(config: VoxelEncoderConfig = CONFIG, num_layers: int = 4) -> VoxelEncoder:
    """With batch norms that have seen something, so that none of them is the identity."""
    torch.manual_seed(0)
    network = VoxelEncoder(5, num_layers, config)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            for tensor in (module.weight, module.bias, module.running_mean):
                assert isinstance(tensor, Tensor)
                torch.nn.init.normal_(tensor, 0.5, 0.3)
    return network.double()


def dense_encoder(network: VoxelEncoder, features: Tensor, levels: tuple[LevelTables, ...]) -> Tensor:
    """``VoxelEncoder.forward`` of one sample with every convolution a dense one."""

    def layer(unit: ConvNormRelu, x: Tensor, source: Occupancy, target: Occupancy, window: Window) -> Tensor:
        return torch.relu(unit.norm(dense_conv(x, unit.conv.weight, source, target, window)))

    def residual(block: ResidualBlock, x: Tensor, at: Occupancy) -> Tensor:
        first, second = block.first, block.second
        inner = layer(first, x, at, at, SUBMANIFOLD)
        return torch.relu(x + second.norm(dense_conv(inner, second.conv.weight, at, at, SUBMANIFOLD)))

    windows = [entry.window for entry in encoder_plan(levels[0].voxels.shape, CONFIG.windows)]
    units = [network.first, *network.down, network.fold]
    for number, (unit, window) in enumerate(zip(units, windows, strict=True)):
        here = levels[number].voxels
        source = here if window is None else levels[number - 1].voxels
        assert isinstance(unit, ConvNormRelu)
        features = layer(unit, features, source, here, window or SUBMANIFOLD)
        for block in network.stages[number] if number < len(network.stages) else ():  # type: ignore[arg-type]
            features = residual(block, features, here)
    return features


@pytest.mark.parametrize("training", [True, False])
def test_it_equals_the_dense_encoder_with_its_gradients(training: bool) -> None:
    """In training too: batch norm sees the voxels that are there, nothing else."""
    voxels = scene(SHAPE, 0.05, 0)
    levels = build(voxels, CONFIG.windows)
    network = encoder().train(training)
    features = random_features(voxels, 5).requires_grad_()
    for neighbours in (neighbours_of([levels]), tables_of(levels)):
        found = network(features, neighbours)
        expected = dense_encoder(network, features, levels)
        assert found.shape == (levels[-1].voxels.num_voxels, 12)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        weights = torch.randn_like(found)
        inputs = [features, *network.parameters()]
        for a, b in zip(
            torch.autograd.grad(found, inputs, weights), torch.autograd.grad(expected, inputs, weights), strict=True
        ):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)


def test_float32_agrees_with_float64_dense_to_a_hundred_thousandth() -> None:
    voxels = scene(SHAPE, 0.05, 1)
    levels = build(voxels, CONFIG.windows)
    network, features = encoder().eval(), random_features(voxels, 5)
    expected = dense_encoder(network, features, levels)
    found = network.float()(features.float(), neighbours_of([levels]))
    assert (found.double() - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_batch_equals_its_samples() -> None:
    scenes = [scene(SHAPE, density, seed) for seed, density in enumerate((0.05, 0.01, 0.1))]
    tables = [build(voxels, CONFIG.windows) for voxels in scenes]
    features = [random_features(voxels, 5, seed) for seed, voxels in enumerate(scenes)]
    network = encoder().eval()
    alone = [network(x, tables_of(levels)) for x, levels in zip(features, tables, strict=True)]
    torch.testing.assert_close(network(torch.cat(features), neighbours_of(tables)), torch.cat(alone))


def test_an_empty_cloud_is_an_empty_map() -> None:
    voxels = scene(SHAPE, 0.0, 0)
    levels = build(voxels, CONFIG.windows)
    network = encoder().eval()
    assert network(random_features(voxels, 5), neighbours_of([levels])).shape == (0, 12)
    assert network(random_features(voxels, 5), tables_of(levels)).shape == (0, 12)


def test_folding_height_by_a_convolution_is_what_stacking_layers_and_mixing_them_does() -> None:
    """A 1×1 convolution over the layers as channels: SECOND's way."""
    voxels = scene(GridShape(10, 8, 5), 0.2, 2)
    levels = build(voxels, ())
    network = encoder(VoxelEncoderConfig((6,), (0,), (), 7), num_layers=5).eval()
    features = random_features(voxels, 6)
    cells = network.fold.conv(features, neighbours_of([levels])[-1].down)
    x, y, z = voxels.coordinates().T
    stacked = torch.zeros(8, 10, 5, 6, dtype=torch.float64)
    stacked[y, x, z] = features
    mixed = stacked.flatten(2) @ network.fold.conv.weight.flatten(1).T
    column, row, _ = levels[-1].voxels.coordinates().T
    torch.testing.assert_close(cells, mixed[row, column])
    assert levels[-1].voxels.num_voxels == len({*zip(x.tolist(), y.tolist(), strict=True)})


def test_folded_norms_give_the_same_output_without_a_norm() -> None:
    voxels = scene(SHAPE, 0.05, 3)
    levels = tables_of(build(voxels, CONFIG.windows))
    network, features = encoder().eval(), random_features(voxels, 5)
    expected = network(features, levels)
    for _ in range(2):  # folding twice folds once
        fold_norms(network)
        torch.testing.assert_close(network(features, levels), expected, rtol=1e-10, atol=1e-10)
    assert not any(isinstance(module, torch.nn.BatchNorm1d) for module in network.modules())
