"""ResNets as feature pyramids, with torchvision's parameter names, so that public weights fit.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, figure 5 (right) and table 1. The stride
of a block is at its 3×3 convolution, as in torchvision and in MoCo's checkpoints. The last stage (1/32) and the
classifier are left out: nothing here reads them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

RESNET50 = (3, 4, 6)
"""Blocks of ResNet-50 at 1/4, 1/8 and 1/16 of the picture."""

_EXPANSION = 4


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = _EXPANSION * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) → (B, 4 · channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return torch.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet(nn.Module):
    """A residual network of bottleneck blocks that gives the maps of its levels.

    Args:
        blocks: blocks at each level, finest first; at most four levels.
        width: channels of the first convolution, 64 in ResNet-50.

    Attributes:
        channels: channels of each level's map.
    """

    def __init__(self, blocks: Sequence[int] = RESNET50, width: int = 64) -> None:
        super().__init__()
        self.blocks, self.width = tuple(blocks), width
        self.conv1 = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs, channels = width, []
        for level, number in enumerate(blocks):
            inner = width * 2**level
            layer = [Bottleneck(inputs, inner, stride=1 if level == 0 else 2)]
            inputs = _EXPANSION * inner
            layer += [Bottleneck(inputs, inner, stride=1) for _ in range(number - 1)]
            self.add_module(f"layer{level + 1}", nn.Sequential(*layer))
            channels.append(inputs)
        self.channels = tuple(channels)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Maps of normalised pictures.

        Args:
            pictures: (B, 3, H, W) RGB less ImageNet's mean, over its standard deviation.

        Returns:
            One map (B, C, H / s, W / s) for each level, s = 4, 8, 16, … rounded up.
        """
        x = self.maxpool(torch.relu(self.bn1(self.conv1(pictures))))
        maps = []
        for level in range(len(self.blocks)):
            x = self.get_submodule(f"layer{level + 1}")(x)
            maps.append(x)
        return maps
