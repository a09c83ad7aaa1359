"""The BEV backbone: a pyramid of strided 3×3 convolutions, summed again at the resolution of the first.

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
    """Stages, each at twice the stride of the one before, summed at the stride of the first.

    Args:
        in_channels: channels of the canvas.
        stage_channels: channels of each stage.
        stage_depths: 3×3 convolutions of each stage after its first.
        neck_channels: channels of the output.
        stride: stride of the first stage.

    Attributes:
        stride: cells of the canvas that one cell of the output spans, each way.
        out_channels: number of channels of the output.
    """

    def __init__(
        self,
        in_channels: int,
        stage_channels: Sequence[int],
        stage_depths: Sequence[int],
        neck_channels: int,
        *,
        stride: int = 2,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.out_channels = neck_channels
        strides = [stride, *[2] * (len(stage_channels) - 1)]
        self.stages = nn.ModuleList(
            nn.Sequential(
                conv_norm_relu(inputs, outputs, stride=step),
                *(conv_norm_relu(outputs, outputs) for _ in range(depth)),
            )
            for (inputs, outputs), depth, step in zip(
                pairwise((in_channels, *stage_channels)), stage_depths, strides, strict=True
            )
        )
        self.laterals = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(channels, neck_channels, 2**i, stride=2**i, bias=False),
                nn.BatchNorm2d(neck_channels, eps=1e-3, momentum=0.05),
            )
            for i, channels in enumerate(stage_channels)
        )

    def forward(self, canvas: Tensor) -> Tensor:
        """(B, F, H, W) → (B, out_channels, H / stride, W / stride)."""
        maps = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            canvas = stage(canvas)
            maps.append(lateral(canvas))
        return torch.relu(sum(maps[1:], start=maps[0]))
