"""What sparse networks are built of: convolutions with batch norm over the voxels that are there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lidarloop_training.models.sparse.convolution import Neighbours, SparseConv3d


class ConvNormRelu(nn.Module):
    """A sparse convolution, batch norm over its voxels, and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, int, int] = (3, 3, 3)) -> None:
        super().__init__()
        self.conv = SparseConv3d(in_channels, out_channels, kernel)
        self.norm = voxel_norm(out_channels)

    def forward(self, features: Tensor, neighbours: Neighbours) -> Tensor:
        """(V, in_channels) → (V', out_channels)."""
        return torch.relu(self.norm(self.conv(features, neighbours)))


class ResidualBlock(nn.Module):
    """Two submanifold convolutions beside an identity (He et al., CVPR 2016), as in CenterPoint's sparse encoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = SparseConv3d(channels, channels)
        self.norm1 = voxel_norm(channels)
        self.conv2 = SparseConv3d(channels, channels)
        self.norm2 = voxel_norm(channels)

    def forward(self, features: Tensor, neighbours: Neighbours) -> Tensor:
        """(V, channels) → (V, channels)."""
        inner = torch.relu(self.norm1(self.conv1(features, neighbours)))
        return torch.relu(features + self.norm2(self.conv2(inner, neighbours)))


def voxel_norm(channels: int) -> nn.BatchNorm1d:
    """Batch norm over (V, channels): rows are voxels, so empty space does not enter the statistics."""
    return nn.BatchNorm1d(channels, eps=1e-3, momentum=0.05)
