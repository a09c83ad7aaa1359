"""Sparse 3D convolution: one module for submanifold, strided and inverse ones, since the table makes the difference.

Two forms of neighbours give the same numbers:

- a **table** (see ``lidarloop_core.sparse.tables``): gather, reshape, product. It is what an exported graph holds, the
  readable reference, and differentiable by torch itself at the cost of a (V, K, C) array kept for the backward pass;
- a **rulebook**, for training: a product per place over the pairs that are there. Forward and backward keep nothing
  but the input: what they gather they gather again. On CUDA spconv does the same where it is installed.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lidarloop_training.models.sparse.rulebook import Rulebook
from lidarloop_training.models.sparse.spconv_way import spconv_is_installed, spconv_product

Neighbours = Tensor | Rulebook
"""A (V', K) int32 table of row + 1, 0 for no voxel; or a rulebook."""


class SparseConv3d(nn.Module):
    """A 3D convolution over occupied voxels.

    Submanifold, strided or inverse: that is in the neighbours, and so are stride and padding.

    Attributes:
        weight: (out_channels, kernel_z, kernel_y, kernel_x, in_channels), the layout of spconv 2.
        bias: (out_channels,), or None.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: size along x, y and z, in voxels.
        bias: whether a bias is added.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: tuple[int, int, int] = (3, 3, 3), *, bias: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, *reversed(kernel), in_channels))
        nn.init.kaiming_uniform_(self.weight.view(out_channels, -1), a=math.sqrt(5))  # as torch.nn.Conv3d
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, features: Tensor, neighbours: Neighbours) -> Tensor:
        """(V, in_channels) features of the input's voxels → (V', out_channels) of the output's."""
        if isinstance(neighbours, Tensor):
            return table_product(features, self.weight, neighbours, self.bias)
        features, weight = _as_autocast(features, self.weight)
        product = spconv_product if features.is_cuda and spconv_is_installed() else pair_product
        output = product(features, weight, neighbours)
        return output if self.bias is None else output + self.bias.to(output.dtype)


def table_product(features: Tensor, weight: Tensor, table: Tensor, bias: Tensor | None = None) -> Tensor:
    """Gather, reshape, product: three operators of an exported graph.

    Args:
        features: (V, C) of the input's voxels.
        weight: (C', kz, ky, kx, C).
        table: (V', K) int32, row + 1 of the input, 0 for no voxel.
        bias: (C',), or None.

    Returns:
        (V', C') of the output's voxels.
    """
    by_output = weight.flatten(1)
    gathered = gather_rows(features, table)
    return nn.functional.linear(gathered.reshape(-1, by_output.shape[1]), by_output, bias)


def gather_rows(features: Tensor, table: Tensor) -> Tensor:
    """(V, C) features, (…) int32 table → (…, C): each entry's row, zeros for an entry of 0."""
    zeros = torch.zeros(1, features.shape[1], dtype=features.dtype, device=features.device)
    return nn.functional.embedding(table, torch.cat([zeros, features]))


def pair_product(features: Tensor, weight: Tensor, rulebook: Rulebook) -> Tensor:
    """``table_product`` over the pairs of a rulebook: (V, C) → (V', C'); sums are float32 at least."""
    output: Tensor = _PairProduct.apply(features, weight, rulebook)  # type: ignore[no-untyped-call]
    return output


class _PairProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, rulebook: Rulebook) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.rulebook = rulebook
        by_place = weight.flatten(1, 3)
        output = _sums(features, rulebook.num_targets, weight.shape[0])
        if rulebook.identity is not None:
            output += features @ by_place[:, rulebook.identity].T
        for k, source, target in rulebook.places():
            add_rows(output, target, features.index_select(0, source) @ by_place[:, k].T)
        return output.to(features.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        features, weight = ctx.saved_tensors
        rulebook: Rulebook = ctx.rulebook
        wants_features, wants_weight, _ = ctx.needs_input_grad
        by_place = weight.flatten(1, 3)
        grad = grad.contiguous()
        grad_features = _sums(features, len(features), features.shape[1]) if wants_features else None
        grad_weight = torch.zeros_like(by_place) if wants_weight else None
        if (k := rulebook.identity) is not None:
            if grad_features is not None:
                grad_features += grad @ by_place[:, k]
            if grad_weight is not None:
                grad_weight[:, k] = grad.T @ features
        for k, source, target in rulebook.places():
            part = grad.index_select(0, target)
            if grad_features is not None:
                add_rows(grad_features, source, part @ by_place[:, k])
            if grad_weight is not None:
                grad_weight[:, k] = part.T @ features.index_select(0, source)
        return (
            None if grad_features is None else grad_features.to(features.dtype),
            None if grad_weight is None else grad_weight.view_as(weight),
            None,
        )


def add_rows(sums: Tensor, rows: Tensor, parts: Tensor) -> None:
    """Adds (n, C) ``parts`` to the ``rows`` (n,) of (V, C) ``sums``.

    ``index_add_`` on the CPU goes through torch's dispatch for every single row: ten times slower than a loop.
    """
    parts = parts.to(sums.dtype)
    if sums.is_cpu:
        _add_rows(sums.numpy(), rows.numpy(), parts.numpy())
    else:
        sums.index_add_(0, rows, parts)


@numba.njit(cache=True, nogil=True)
def _add_rows(sums, rows, parts):  # type: ignore[no-untyped-def]
    for i in range(len(rows)):
        for c in range(parts.shape[1]):
            sums[rows[i], c] += parts[i, c]


def _sums(like: Tensor, rows: int, channels: int) -> Tensor:
    """Zeros to add to: half precision would lose the small parts of a sum over 27 places."""
    return like.new_zeros(rows, channels, dtype=torch.promote_types(like.dtype, torch.float32))


def _as_autocast(features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the precision that autocast asks for, as it does for torch's own convolutions."""
    device = features.device.type
    if not torch.is_autocast_enabled(device):
        return features, weight
    precision = torch.get_autocast_dtype(device)
    return features.to(precision), weight.to(precision)
