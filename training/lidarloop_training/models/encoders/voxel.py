"""Voxel features → a BEV feature map, by sparse convolutions.

Source: the middle encoder of SECOND (Yan et al., Sensors 2018, section 3.1.2) with the residual blocks of CenterPoint
(Yin et al., CVPR 2021). One difference: they lay the layers of the last grid side by side as channels of the BEV map
and leave it to the dense backbone to mix them. Ours mixes them before, by a sparse convolution as high as that grid:
the same linear map, computed where there are voxels only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        up: from this level back to the one before, by an inverse convolution; None where none runs.
    """

    submanifold: Neighbours | None
    down: Neighbours | None
    up: Neighbours | None = None


def level_neighbours(named: Mapping[str, Tensor | Neighbours], num_levels: int) -> list[LevelNeighbours]:
    """Inputs by the names of ``voxel_inputs``, tables (V, K) or rulebooks → the neighbours of each level."""
    return [
        LevelNeighbours(
            named.get(f"neighbours_{number}"), named.get(f"strided_{number}"), named.get(f"inverse_{number}")
        )
        for number in range(num_levels)
    ]


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


class VoxelStages(nn.Module):
    """Stages of residual submanifold blocks with strided convolutions between them.

    Args:
        in_channels: features of a voxel.
        channels: features of a voxel at each level.
        blocks: residual blocks at each level.
        windows: geometry of the strided convolutions between the levels, one fewer than levels.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], blocks: Sequence[int], windows: Sequence[Window]
    ) -> None:
        super().__init__()
        self.first = ConvNormRelu(in_channels, channels[0])
        self.down = nn.ModuleList(
            ConvNormRelu(inputs, outputs, window.kernel)
            for (inputs, outputs), window in zip(pairwise(channels), windows, strict=True)
        )
        self.stages = nn.ModuleList(
            nn.ModuleList([ResidualBlock(width) for _ in range(depth)])
            for width, depth in zip(channels, blocks, strict=True)
        )

    def by_level(self, features: Tensor, levels: Sequence[LevelNeighbours]) -> list[Tensor]:
        """Runs all stages on the voxels of a batch.

        Args:
            features: (V, in_channels) of the first level's voxels.
            levels: neighbours of each level.

        Returns:
            (V', channels) of each level's voxels, finest first.
        """
        found = []
        units = [self.first, *self.down]
        for number, (unit, stage, level) in enumerate(zip(units, self.stages, levels, strict=True)):
            neighbours = level.submanifold if number == 0 else level.down
            assert neighbours is not None
            features = unit(features, neighbours)
            for block in stage.children():
                features = block(features, level.submanifold)
            found.append(features)
        return found


class VoxelEncoder(VoxelStages):
    """``VoxelStages``, then the fold of height.

    Attributes:
        out_channels: features of a cell of the BEV map.

    Args:
        in_channels: features of a voxel.
        num_layers: layers of the last grid, all folded into one.
        config: widths and depths.
    """

    def __init__(self, in_channels: int, num_layers: int, config: VoxelEncoderConfig) -> None:
        super().__init__(in_channels, config.stage_channels, config.stage_blocks, config.windows)
        self.out_channels = config.out_channels
        self.fold = ConvNormRelu(config.stage_channels[-1], config.out_channels, (1, 1, num_layers))

    def forward(self, features: Tensor, levels: Sequence[LevelNeighbours]) -> Tensor:
        """Encodes the voxels of a batch.

        Args:
            features: (V, in_channels) of the first level's voxels.
            levels: neighbours of each level, and last those of the fold.

        Returns:
            (V', out_channels), one row for each occupied cell of the BEV map.
        """
        *levels, fold = levels
        return self.folded(self.by_level(features, levels)[-1], fold)

    def folded(self, features: Tensor, fold: LevelNeighbours) -> Tensor:
        """The last level's (V, channels) features → (V', out_channels), one row for each cell of the map."""
        assert fold.down is not None
        cells: Tensor = self.fold(features, fold.down)
        return cells
