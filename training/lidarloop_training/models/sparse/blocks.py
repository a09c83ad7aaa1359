"""What sparse networks are built of: convolutions with batch norm over the voxels that are there."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_linear_bn_weights

from lidarloop_training.models.sparse.convolution import Neighbours, SparseConv3d


class ConvNorm(nn.Module):
    """A sparse convolution and batch norm over its voxels: rows are voxels, so empty space is in no statistic.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: size along x, y and z, in voxels.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, int, int] = (3, 3, 3)) -> None:
        super().__init__()
        self.conv = SparseConv3d(in_channels, out_channels, kernel)
        self.norm: nn.BatchNorm1d | nn.Identity = nn.BatchNorm1d(out_channels, eps=1e-3, momentum=0.05)

    def forward(self, features: Tensor, neighbours: Neighbours) -> Tensor:
        """(V, in_channels) → (V', out_channels)."""
        normed: Tensor = self.norm(self.conv(features, neighbours))
        return normed

    def fold_norm(self) -> None:
        """Moves what the batch norm does in evaluation into the convolution: the same output by one operator."""
        norm, conv = self.norm, self.conv
        if isinstance(norm, nn.Identity):
            return
        assert norm.running_mean is not None
        assert norm.running_var is not None
        weight, bias = fuse_linear_bn_weights(
            conv.weight.flatten(1), None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        conv.weight = nn.Parameter(weight.view_as(conv.weight))
        conv.bias = bias
        self.norm = nn.Identity()


class ConvNormRelu(ConvNorm):
    """``ConvNorm`` and ReLU."""

    def forward(self, features: Tensor, neighbours: Neighbours) -> Tensor:
        """(V, in_channels) → (V', out_channels)."""
        return torch.relu(super().forward(features, neighbours))


class ResidualBlock(nn.Module):
    """Two submanifold convolutions beside an identity (He et al., CVPR 2016), as in CenterPoint's sparse encoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNormRelu(channels, channels)
        self.second = ConvNorm(channels, channels)

    def forward(self, features: Tensor, neighbours: Neighbours) -> Tensor:
        """(V, channels) → (V, channels)."""
        return torch.relu(features + self.second(self.first(features, neighbours), neighbours))


def fold_norms(network: nn.Module) -> None:
    """Folds every batch norm that follows a sparse convolution, for export."""
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.fold_norm()
