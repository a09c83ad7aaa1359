"""Sparse convolutions against dense ones, values and gradients; rulebooks against tables; batches against samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lidarloop_core.sparse.occupancy import SUBMANIFOLD, GridShape, Occupancy, Window, strided_occupancy
from lidarloop_core.sparse.tables import inverse_table, neighbour_table
from lidarloop_training.models.sparse.convolution import Neighbours, SparseConv3d, table_product
from lidarloop_training.models.sparse.rulebook import batched_table, rulebook_of
from tests.training.models.sparse.scenes import ALL, dense_conv, dense_inverse_conv, random_features, scene

SHAPE = GridShape(12, 10, 7)
HALVE = Window((2, 2, 2), (2, 2, 2), (0, 0, 0))
WINDOWS = [
    Window(),
    HALVE,
    Window((3, 3, 3), (2, 2, 1), (1, 1, 0)),
    Window((1, 1, 7), (1, 1, 1), (0, 0, 0)),
    Window((1, 1, 3), (1, 1, 2), (0, 0, 0)),
]


def convolution(inputs: int, outputs: int, kernel: tuple[int, int, int], *, bias: bool = False) -> SparseConv3d:
    torch.manual_seed(1)
    return SparseConv3d(inputs, outputs, kernel, bias=bias).double()


def gradients(output: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(2), dtype=output.dtype)
    return torch.autograd.grad(output, inputs, weights)


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    """Largest difference relative to the largest value."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("way", ["table", "rulebook"])
def test_submanifold_is_a_dense_convolution_read_at_its_voxels(way: str) -> None:
    voxels = scene(SHAPE, 0.2, 0)
    table = neighbour_table(voxels, voxels, SUBMANIFOLD)
    conv, features = convolution(5, 7, (3, 3, 3), bias=True), random_features(voxels, 5).requires_grad_()
    assert conv.bias is not None
    torch.nn.init.normal_(conv.bias)
    neighbours: Neighbours = torch.from_numpy(table) if way == "table" else rulebook_of(table, voxels.num_voxels)
    found = conv(features, neighbours)
    expected = dense_conv(features, conv.weight, voxels, voxels, SUBMANIFOLD) + conv.bias
    assert_close(found, expected)
    inputs = [features, conv.weight, conv.bias]
    for a, b in zip(gradients(found, inputs), gradients(expected, inputs), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("way", ["table", "rulebook"])
def test_strided_is_a_dense_convolution_and_zero_elsewhere(window: Window, way: str) -> None:
    fine = scene(SHAPE, 0.1, 1)
    coarse = strided_occupancy(fine, window, ALL)
    table = neighbour_table(fine, coarse, window)
    conv, features = convolution(4, 6, window.kernel), random_features(fine, 4).requires_grad_()
    neighbours: Neighbours = torch.from_numpy(table) if way == "table" else rulebook_of(table, fine.num_voxels)
    found = conv(features, neighbours)
    expected = dense_conv(features, conv.weight, fine, coarse, window)
    assert_close(found, expected)
    for a, b in zip(
        gradients(found, [features, conv.weight]), gradients(expected, [features, conv.weight]), strict=True
    ):
        assert_close(a, b)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("way", ["table", "inverse rulebook"])
def test_inverse_is_a_transposed_convolution_read_at_the_fine_voxels(window: Window, way: str) -> None:
    fine = scene(SHAPE, 0.1, 2)
    coarse = strided_occupancy(fine, window, ALL)
    conv, features = convolution(6, 4, window.kernel), random_features(coarse, 6).requires_grad_()
    down = rulebook_of(neighbour_table(fine, coarse, window), fine.num_voxels)
    up: Neighbours = torch.from_numpy(inverse_table(fine, coarse, window)) if way == "table" else down.inverse()
    found = conv(features, up)
    expected = dense_inverse_conv(features, conv.weight, coarse, fine, window)
    assert_close(found, expected)
    for a, b in zip(
        gradients(found, [features, conv.weight]), gradients(expected, [features, conv.weight]), strict=True
    ):
        assert_close(a, b)


def test_float32_agrees_to_a_hundred_thousandth() -> None:
    voxels = scene(GridShape(24, 24, 10), 0.2, 3)
    table = neighbour_table(voxels, voxels, SUBMANIFOLD)
    conv = convolution(32, 32, (3, 3, 3))
    features = random_features(voxels, 32)
    expected = dense_conv(features, conv.weight, voxels, voxels, SUBMANIFOLD)
    single, half = conv.float(), features.float()
    for neighbours in (torch.from_numpy(table), rulebook_of(table, voxels.num_voxels)):
        assert_close(single(half, neighbours).double(), expected, 1e-5)


def test_autocast_sums_in_float32_and_rounds_once() -> None:
    voxels = scene(SHAPE, 0.5, 4)
    rulebook = rulebook_of(neighbour_table(voxels, voxels, SUBMANIFOLD), voxels.num_voxels)
    conv, features = convolution(16, 16, (3, 3, 3)).float(), random_features(voxels, 16).float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = conv(features, rulebook)
    assert found.dtype == torch.bfloat16
    rounded = SparseConv3d(16, 16)
    rounded.weight.data = conv.weight.data.bfloat16().float()
    expected = rounded(features.detach().bfloat16().float(), rulebook)
    assert_close(found.float(), expected, 2**-8)
    found.float().sum().backward()
    assert features.grad is not None
    assert conv.weight.grad is not None
    assert conv.weight.grad.dtype == features.grad.dtype == torch.float32


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from([0.0, 0.02, 0.2]), min_size=1, max_size=4), st.sampled_from(WINDOWS), st.integers(0, 99)
)
def test_a_batch_is_its_samples_one_after_another(densities: list[float], window: Window, seed: int) -> None:
    """Empty samples too."""
    fine = [scene(SHAPE, density, seed + i) for i, density in enumerate(densities)]
    coarse = [strided_occupancy(voxels, window, 60) for voxels in fine]
    tables = [neighbour_table(a, b, window) for a, b in zip(fine, coarse, strict=True)]
    counts = [voxels.num_voxels for voxels in fine]
    conv = convolution(3, 4, window.kernel)
    features = [random_features(voxels, 3, i) for i, voxels in enumerate(fine)]
    alone = [table_product(x, conv.weight, torch.from_numpy(t)) for x, t in zip(features, tables, strict=True)]
    table = batched_table(tables, counts)
    for neighbours in (torch.from_numpy(table), rulebook_of(table, sum(counts))):
        found = conv(torch.cat(features), neighbours)
        torch.testing.assert_close(found, torch.cat(alone), rtol=0, atol=1e-12)


def test_padding_rows_change_no_bit_of_the_others() -> None:
    """Features and tables filled up to a bucket, as for a graph of fixed shapes; the rows behind may hold anything."""
    voxels = scene(SHAPE, 0.2, 5)
    table = torch.from_numpy(neighbour_table(voxels, voxels, SUBMANIFOLD))
    conv, features = convolution(4, 4, (3, 3, 3)), random_features(voxels, 4)
    more = torch.cat([features, torch.full((9, 4), torch.nan, dtype=torch.float64)])
    padded_table = torch.cat([table, torch.zeros(9, 27, dtype=torch.int32)])
    padded = conv(more, padded_table)
    torch.testing.assert_close(padded[: len(features)], conv(features, table), rtol=0, atol=1e-15)
    assert not padded[len(features) :].any()


def test_the_backward_pass_keeps_nothing_but_its_input() -> None:
    voxels = scene(SHAPE, 0.3, 6)
    table = neighbour_table(voxels, voxels, SUBMANIFOLD)
    conv, features = convolution(8, 8, (3, 3, 3)), random_features(voxels, 8).requires_grad_()

    def kept_bytes(neighbours: Neighbours) -> int:
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            conv(features, neighbours)
        return sum(kept.values())

    assert kept_bytes(rulebook_of(table, voxels.num_voxels)) == 8 * (features.numel() + conv.weight.numel())
    assert kept_bytes(torch.from_numpy(table)) > 27 * 8 * features.numel()


def test_a_rulebook_lists_the_tables_entries_by_place() -> None:
    fine = scene(SHAPE, 0.1, 7)
    coarse = strided_occupancy(fine, Window(), ALL)
    table = neighbour_table(fine, coarse, Window())
    rulebook = rulebook_of(table, fine.num_voxels)
    target, place = np.nonzero(table)
    order = np.argsort(place, kind="stable")
    np.testing.assert_array_equal(rulebook.target.numpy(), target[order])
    np.testing.assert_array_equal(rulebook.source.numpy(), table[target, place][order] - 1)
    assert rulebook.counts == tuple(np.bincount(place, minlength=27))
    assert rulebook.identity is None


def test_only_a_submanifold_rulebook_has_an_identity() -> None:
    voxels: Occupancy = scene(SHAPE, 0.1, 8)
    table = neighbour_table(voxels, voxels, SUBMANIFOLD)
    assert rulebook_of(table, voxels.num_voxels).identity == 13
    assert rulebook_of(table[::-1].copy(), voxels.num_voxels).identity is None
