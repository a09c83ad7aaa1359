"""The BEV backbone: a pyramid of strided 3×3 convolutions, summed again at half the canvas's resolution.

Source: SECOND (Yan et al., Sensors 2018) and PointPillars, section 2.2: strided stages, each upsampled by a transposed
convolution. Ours adds the upsampled maps instead of concatenating them: the next 3×3 convolution costs a third.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def conv_norm_relu(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Sequential:
    """A 3×3 convolution with batch norm and ReLU, padded to keep the size."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.05),
        nn.ReLU(inplace=True),
    )


class BevBackbone(nn.Module):
    """Stages at strides 2, 4, 8, …, summed at stride 2.

    Attributes:
        stride: cells of the canvas that one cell of the output spans, each way.
        out_channels: number of channels of the output.
    """

    stride = 2

    def __init__(
        self, in_channels: int, stage_channels: Sequence[int], stage_depths: Sequence[int], neck_channels: int
    ) -> None:
        super().__init__()
        self.out_channels = neck_channels
        self.stages = nn.ModuleList(
            nn.Sequential(
                conv_norm_relu(inputs, outputs, stride=2),
                *(conv_norm_relu(outputs, outputs) for _ in range(depth)),
            )
            for (inputs, outputs), depth in zip(pairwise((in_channels, *stage_channels)), stage_depths, strict=True)
        )
        self.laterals = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(channels, neck_channels, 2**i, stride=2**i, bias=False),
                nn.BatchNorm2d(neck_channels, eps=1e-3, momentum=0.05),
            )
            for i, channels in enumerate(stage_channels)
        )

    def forward(self, canvas: Tensor) -> Tensor:
        """(B, F, H, W) → (B, out_channels, H / 2, W / 2)."""
        maps = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            canvas = stage(canvas)
            maps.append(lateral(canvas))
        return torch.relu(sum(maps[1:], start=maps[0]))
