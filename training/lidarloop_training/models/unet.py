"""A sparse 3D U-Net: a class for each point of a cloud.

Source: MinkowskiUNet (Choy et al., "4D Spatio-Temporal ConvNets: Minkowski Convolutional Neural Networks", CVPR 2019,
section 5.2). Two differences. Its answer is a voxel's; ours is a point's: the head takes the features of the point's
voxel and, beside them, what is known of the point itself, as in SPVNAS (Tang et al., ECCV 2020, section 3.1). And the
way back up is the inverse convolution of the way down, whose voxels are those of the skip: no voxel appears.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import names
from lidarloop_core.sparse.cloud import window_of
from lidarloop_core.sparse.occupancy import Window
from lidarloop_training.models.encoders.voxel import LevelNeighbours, VoxelStages, level_neighbours
from lidarloop_training.models.encoders.voxel_features import VoxelFeatures, voxel_grid
from lidarloop_training.models.sparse.blocks import ConvNormRelu, ResidualBlock
from lidarloop_training.models.sparse.convolution import gather_rows
from lidarloop_training.ranges import check_ranges


@dataclass(frozen=True)
class UNetConfig:
    """Widths and depths of the network.

    Attributes:
        channels: features of a voxel at each level of the grid, finest first.
        encoder_blocks: residual blocks at each level on the way down.
        decoder_blocks: residual blocks at each level but the coarsest on the way up.
        head_channels: features of a point between the two layers of the head.
    """

    channels: tuple[int, ...] = (16, 32, 64, 96)
    encoder_blocks: tuple[int, ...] = (1, 1, 1, 1)
    decoder_blocks: tuple[int, ...] = (0, 1, 1)
    head_channels: int = 32

    def __post_init__(self) -> None:
        check_ranges(
            "UNetConfig",
            channels=(self.channels, 1, 4096),
            encoder_blocks=(self.encoder_blocks, 0, 100),
            decoder_blocks=(self.decoder_blocks, 0, 100),
            head_channels=(self.head_channels, 1, 4096),
        )


class UNetEncoder(nn.Module):
    """Features of voxels, and the stages on the way down.

    Args:
        spec: contract of a model on voxels.
        config: widths and depths.
        windows: geometry of the strided convolutions between the levels.
    """

    def __init__(self, spec: ModelSpec, config: UNetConfig, windows: Sequence[Window]) -> None:
        super().__init__()
        self.features = VoxelFeatures(spec)
        self.stages = VoxelStages(self.features.num_features, config.channels, config.encoder_blocks, windows)

    def forward(self, voxels: Tensor, levels: Sequence[LevelNeighbours]) -> list[Tensor]:
        """(V, C) voxels in ``spec.point_columns`` → (V', channels) of each level's voxels, finest first."""
        return self.stages.by_level(self.features(voxels), levels)


class UpStage(nn.Module):
    """One step of the way up: inverse convolution, the skip beside it, a submanifold convolution that joins them.

    Args:
        coarse_channels: features of a voxel of the coarser level.
        channels: features of a voxel of the finer level.
        window: geometry of the strided convolution from the finer to the coarser level.
        num_blocks: residual blocks that follow.
    """

    def __init__(self, coarse_channels: int, channels: int, window: Window, num_blocks: int) -> None:
        super().__init__()
        self.up = ConvNormRelu(coarse_channels, channels, window.kernel)
        self.join = ConvNormRelu(2 * channels, channels)
        self.blocks = nn.ModuleList(ResidualBlock(channels) for _ in range(num_blocks))

    def forward(self, coarse: Tensor, skip: Tensor, below: LevelNeighbours, level: LevelNeighbours) -> Tensor:
        """From one level to the finer one.

        Args:
            coarse: (V', coarse_channels) of the coarser level's voxels.
            skip: (V, channels) of the finer level's voxels, from the way down.
            below: neighbours of the coarser level.
            level: neighbours of the finer level.

        Returns:
            (V, channels) of the finer level's voxels.
        """
        assert below.up is not None
        assert level.submanifold is not None
        features: Tensor = self.join(torch.cat([self.up(coarse, below.up), skip], dim=1), level.submanifold)
        for block in self.blocks:
            features = block(features, level.submanifold)
        return features


class UNetDecoder(nn.Module):
    """The way up, from the coarsest level to the finest.

    Args:
        config: widths and depths.
        windows: geometry of the strided convolutions between the levels, finest first.
    """

    def __init__(self, config: UNetConfig, windows: Sequence[Window]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            UpStage(config.channels[level + 1], config.channels[level], window, config.decoder_blocks[level])
            for level, window in enumerate(windows)
        )

    def forward(self, skips: Sequence[Tensor], levels: Sequence[LevelNeighbours]) -> Tensor:
        """(V', channels) of each level's voxels, finest first → (V, channels) of the finest level's voxels."""
        features = skips[-1]
        for level in range(len(self.stages) - 1, -1, -1):
            features = self.stages[level](features, skips[level], levels[level + 1], levels[level])
        return features


class PointHead(nn.Module):
    """Two layers over the features of a point's voxel and of the point itself.

    Args:
        spec: contract of the model.
        voxel_channels: features of a voxel.
        channels: features of a point between the layers.
    """

    def __init__(self, spec: ModelSpec, voxel_channels: int, channels: int) -> None:
        super().__init__()
        self.features = VoxelFeatures(spec)
        # One layer over both, side by side, in two products: in half precision the point's own stays in float32.
        self.of_voxel = nn.Linear(voxel_channels, channels)
        self.of_point = nn.Linear(self.features.num_features, channels, bias=False)
        self.classify = nn.Linear(channels, len(spec.class_names))

    def forward(self, points: Tensor, voxel_of_point: Tensor, voxels: Tensor) -> Tensor:
        """Scores of the classes before the softmax.

        Args:
            points: (N, C) in ``spec.point_columns``.
            voxel_of_point: (N,) int32, row + 1 of each point's voxel, 0 for a point without one.
            voxels: (V, voxel_channels) features of the voxels.

        Returns:
            (N, classes) logits.
        """
        of_voxel = self.of_voxel(gather_rows(voxels, voxel_of_point))
        logits: Tensor = self.classify(torch.relu(of_voxel + self.of_point(self.features(points))))
        return logits


class SparseUNet(nn.Module):
    """A segmenter: grouped points → logits of each point.

    Args:
        spec: contract of a segmenter on voxels.
        config: widths and depths.

    Raises:
        ConfigError: widths or depths are not one for each level, or the coarsest level has no block.
        ModelFileError: the model is on pillars.
    """

    def __init__(self, spec: ModelSpec, config: UNetConfig) -> None:
        super().__init__()
        grid = voxel_grid(spec)
        num_levels = 1 + len(grid.levels)
        given = len(config.channels), len(config.encoder_blocks), len(config.decoder_blocks)
        if given != (num_levels, num_levels, num_levels - 1):
            raise ConfigError(
                f"the U-Net received {given[0]} channels, {given[1]} encoder_blocks and {given[2]} decoder_blocks; "
                f"expected {num_levels}, {num_levels} and {num_levels - 1}: one for each level of the grid, and none "
                "for the coarsest on the way up"
            )
        if num_levels > 1 and config.encoder_blocks[-1] < 1:
            raise ConfigError(
                f"the U-Net received encoder_blocks {config.encoder_blocks}; expected at least one at the coarsest "
                "level, whose neighbours nothing else reads"
            )
        windows = tuple(map(window_of, grid.levels))
        self.encoder = UNetEncoder(spec, config, windows)
        self.decoder = UNetDecoder(config, windows)
        self.head = PointHead(spec, config.channels[0], config.head_channels)
        self._input_names = names(spec.point_inputs)
        self._num_levels = num_levels

    def forward(self, *inputs: Any) -> Tensor:
        """Answers for all points of a batch.

        Args:
            inputs: those of the spec, in its order, all clouds one after another; rulebooks in the place of tables in
                training.

        Returns:
            (N, classes) logits of the points, in their order.
        """
        named = dict(zip(self._input_names, inputs, strict=True))
        levels = level_neighbours(named, self._num_levels)
        voxels = self.decoder(self.encoder(named["voxels"], levels), levels)
        logits: Tensor = self.head(named["points"], named["voxel_of_point"], voxels)
        return logits
