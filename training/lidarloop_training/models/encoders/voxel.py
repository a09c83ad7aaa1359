"""Voxel features → a BEV feature map, by sparse convolutions.

Source: the middle encoder of SECOND (Yan et al., Sensors 2018, section 3.1.2) with the residual blocks of CenterPoint
(Yin et al., CVPR 2021). One difference: they lay the layers of the last grid side by side as channels of the BEV map
and leave it to the dense backbone to mix them. Ours mixes them before, by a sparse convolution as high as that grid:
the same linear map, computed where there are voxels only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn

from lidarloop_core.sparse.occupancy import Window
from lidarloop_training.models.sparse.blocks import ConvNormRelu, ResidualBlock
from lidarloop_training.models.sparse.convolution import Neighbours


class LevelNeighbours(NamedTuple):
    """The neighbours of one level, for a batch.

    Attributes:
        submanifold: within the level; None where no block runs.
        down: from the level before to this one; None on the first.
    """

    submanifold: Neighbours | None
    down: Neighbours | None


@dataclass(frozen=True)
class VoxelEncoderConfig:
    """The widths and depths of the encoder.

    Attributes:
        stage_channels: features of a voxel at each level.
        stage_blocks: residual blocks at each level.
        windows: geometry of the strided convolutions between the levels, one fewer than levels.
        out_channels: features of a cell of the BEV map.
    """

    stage_channels: tuple[int, ...] = (16, 32, 64)
    stage_blocks: tuple[int, ...] = (1, 1, 1)
    windows: tuple[Window, ...] = (Window((2, 2, 2), (2, 2, 2), (0, 0, 0)),) * 2
    out_channels: int = 64


class VoxelEncoder(nn.Module):
    """Stages of residual submanifold blocks with strided convolutions between them, then the fold of height.

    Attributes:
        out_channels: features of a cell of the BEV map.

    Args:
        in_channels: features of a voxel.
        num_layers: layers of the last grid, all folded into one.
        config: widths and depths.
    """

    def __init__(self, in_channels: int, num_layers: int, config: VoxelEncoderConfig) -> None:
        super().__init__()
        channels = config.stage_channels
        self.out_channels = config.out_channels
        self.first = ConvNormRelu(in_channels, channels[0])
        self.down = nn.ModuleList(
            ConvNormRelu(inputs, outputs, window.kernel)
            for (inputs, outputs), window in zip(pairwise(channels), config.windows, strict=True)
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(ResidualBlock(width) for _ in range(depth))
            for width, depth in zip(channels, config.stage_blocks, strict=True)
        )
        self.fold = ConvNormRelu(channels[-1], config.out_channels, (1, 1, num_layers))

    def forward(self, features: Tensor, levels: Sequence[LevelNeighbours]) -> Tensor:
        """Encodes the voxels of a batch.

        Args:
            features: (V, in_channels) of the first level's voxels.
            levels: neighbours of each level, and last those of the fold.

        Returns:
            (V', out_channels), one row for each occupied cell of the BEV map.
        """
        *levels, fold = levels
        for number, (stage, level) in enumerate(zip(self.stages, levels, strict=True)):
            if number == 0:
                assert level.submanifold is not None
                features = self.first(features, level.submanifold)
            else:
                assert level.down is not None
                features = self.down[number - 1](features, level.down)
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                features = block(features, level.submanifold)
        assert fold.down is not None
        cells: Tensor = self.fold(features, fold.down)
        return cells
