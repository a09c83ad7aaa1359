"""Voxels and tables → a BEV feature map: the encoder of a detector on voxels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import names
from lidarloop_core.sparse.cloud import window_of
from lidarloop_training.models.encoders.encoded import Encoded
from lidarloop_training.models.encoders.voxel import VoxelEncoder, VoxelEncoderConfig, level_neighbours
from lidarloop_training.models.encoders.voxel_features import VoxelFeatures, voxel_grid
from lidarloop_training.models.sparse.convolution import Neighbours, gather_rows


class VoxelBevEncoder(nn.Module):
    """Features of voxels, the sparse encoder, and its last level laid out as a map.

    Args:
        spec: contract of a detector on voxels; its last level is the map.
        stage_channels: features of a voxel at each level above the map.
        stage_blocks: residual blocks at each of these levels; the first may have none.
        out_channels: features of a cell of the map.

    Attributes:
        channels: features of a cell of the map.
        stride: cells of the spec's grid that one cell of the map spans, each way.

    Raises:
        ConfigError: another number of channels or blocks than levels above the map, a level without a block, or a map
            that does not divide the grid.
    """

    def __init__(
        self, spec: ModelSpec, stage_channels: Sequence[int], stage_blocks: Sequence[int], out_channels: int
    ) -> None:
        super().__init__()
        grid = voxel_grid(spec)
        *above, fold = grid.levels
        if not len(stage_channels) == len(stage_blocks) == len(grid.levels):
            raise ConfigError(
                f"the voxel encoder received {len(stage_channels)} voxel_channels and {len(stage_blocks)} "
                f"voxel_blocks; expected {len(grid.levels)} of each: one for each level of the grid above the map"
            )
        if min(stage_blocks[1:], default=1) < 1:
            raise ConfigError(
                f"the voxel encoder received voxel_blocks {tuple(stage_blocks)}; expected at least one at each level "
                "below the first, whose tables nothing else reads"
            )
        self.num_columns, self.num_rows, _ = grid.level_shapes[-1]
        self.stride = grid.shape[0] // self.num_columns
        if (self.stride * self.num_columns, self.stride * self.num_rows) != grid.shape[:2]:
            raise ConfigError(
                f"the voxel encoder received a grid of {grid.shape[:2]} cells for a map of "
                f"{(self.num_columns, self.num_rows)}; expected a map that divides it evenly: change the range, the "
                "cells or the levels"
            )
        self.channels = out_channels
        self.features = VoxelFeatures(spec)
        config = VoxelEncoderConfig(
            tuple(stage_channels), tuple(stage_blocks), tuple(map(window_of, above)), out_channels
        )
        self.sparse = VoxelEncoder(self.features.num_features, fold.kernel[2], config)
        self._input_names = names(spec.point_inputs)

    def forward(self, *inputs: Tensor | Neighbours, batch_size: int = 1) -> Tensor:
        """The map of a batch, (B, channels, rows, columns); arguments as of ``encode``."""
        return self.encode(*inputs, batch_size=batch_size).canvas

    def encode(self, *inputs: Tensor | Neighbours, batch_size: int = 1) -> Encoded:
        """Encodes the clouds of a batch.

        Args:
            inputs: those of the spec, in its order, all samples one after another; rulebooks in the place of tables
                in training. Of ``cells`` (batch_size × rows × columns, 1).
            batch_size: B.

        Returns:
            (V, C) features of each level above the map, and the (B, channels, rows, columns) map, zero where there is
            no voxel.
        """
        named = dict(zip(self._input_names, inputs, strict=True))
        voxels, cells = named["voxels"], named["cells"]
        assert isinstance(voxels, Tensor)
        assert isinstance(cells, Tensor)
        *neighbours, fold = level_neighbours(named, len(self.sparse.stages) + 1)
        levels = self.sparse.by_level(self.features(voxels), neighbours)
        canvas = gather_rows(self.sparse.folded(levels[-1], fold), cells)
        canvas = canvas.view(batch_size, self.num_rows, self.num_columns, self.channels).permute(0, 3, 1, 2)
        return Encoded(tuple(levels), canvas)
