"""Networks that give features of single points: a detector without its head, a segmenter without its head.

Their parts have the names that they have in the complete networks, so that fine-tuning starts from them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from lidarloop_core.model.outputs import Segmentation
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import names
from lidarloop_training.models.detector import NetworkConfig, center_point
from lidarloop_training.models.encoders.voxel import level_neighbours
from lidarloop_training.models.encoders.voxel_features import voxel_grid
from lidarloop_training.models.sparse.convolution import gather_rows
from lidarloop_training.models.unet import SparseUNet, UNetConfig


class PointsOfInterest(NamedTuple):
    """The points of a batch whose features are asked for, M of them.

    Attributes:
        sample: (M,) int64 cloud of each point, counted from 0 in the batch.
        xyz: (M, 3) float32 where it lies, metres, LiDAR frame, in the model's range.
        row: (M,) int64 place among the points of all clouds of the batch, one cloud after another.
    """

    sample: Tensor
    xyz: Tensor
    row: Tensor

    def to(self, device: torch.device) -> PointsOfInterest:
        """The same on another device."""
        return PointsOfInterest(*(tensor.to(device) for tensor in self))


class PointNetwork(nn.Module, ABC):
    """A network as far as the features of points; its children are its parts, and it has no weights beside theirs.

    Attributes:
        out_channels: features of a point.
    """

    out_channels: int

    @abstractmethod
    def forward(self, inputs: tuple[Any, ...], points: PointsOfInterest, batch_size: int) -> Tensor:
        """(M, out_channels) features of single points.

        Args:
            inputs: those of the spec, in its order, all clouds one after another; see ``collate_grouped``.
            points: the points that are asked for.
            batch_size: number of clouds.
        """


class BevPointNetwork(PointNetwork):
    """Encoder and backbone of a CenterPoint; a point's features are read from the BEV map between its cells.

    Args:
        spec: contract of a detector.
        config: widths and depths; those of its head are not used.

    Raises:
        ConfigError: as ``center_point``.
    """

    def __init__(self, spec: ModelSpec, config: NetworkConfig) -> None:
        super().__init__()
        detector = center_point(spec, config)
        self.encoder, self.backbone = detector.encoder, detector.backbone
        self.out_channels = detector.backbone.out_channels
        self._ranges_m = spec.grid.x_range_m, spec.grid.y_range_m

    def forward(self, inputs: tuple[Any, ...], points: PointsOfInterest, batch_size: int) -> Tensor:
        """(M, out_channels) features of points; see ``PointNetwork.forward``."""
        maps: Tensor = self.backbone(self.encoder(*inputs, batch_size=batch_size)).float()
        low_m, high_m = maps.new_tensor(self._ranges_m).T
        place = ((points.xyz[:, :2] - low_m) / (high_m - low_m) * 2 - 1)[None, None]
        features = maps.new_zeros(len(points.row), self.out_channels)
        for sample in range(batch_size):
            rows = (points.sample == sample).nonzero().squeeze(1)
            read = grid_sample(maps[sample, None], place[:, :, rows], padding_mode="border", align_corners=False)
            features = features.index_copy(0, rows, read[0, :, 0].T)
        return features


class UNetPointNetwork(PointNetwork):
    """Encoder and decoder of a sparse U-Net; a point's features are those of its voxel, zeros where it has none.

    Args:
        spec: contract of a segmenter on voxels.
        config: widths and depths; that of its head is not used.

    Raises:
        ConfigError, ModelFileError: as ``SparseUNet``.
    """

    def __init__(self, spec: ModelSpec, config: UNetConfig) -> None:
        super().__init__()
        segmenter = SparseUNet(spec, config)
        self.encoder, self.decoder = segmenter.encoder, segmenter.decoder
        self.out_channels = config.channels[0]
        self._input_names = names(spec.point_inputs)
        self._num_levels = 1 + len(voxel_grid(spec).levels)

    def forward(self, inputs: tuple[Any, ...], points: PointsOfInterest, batch_size: int) -> Tensor:
        """(M, out_channels) features of points; see ``PointNetwork.forward``."""
        named = dict(zip(self._input_names, inputs, strict=True))
        levels = level_neighbours(named, self._num_levels)
        voxels = self.decoder(self.encoder(named["voxels"], levels), levels)
        return gather_rows(voxels, named["voxel_of_point"][points.row]).float()


def point_network(spec: ModelSpec, config: NetworkConfig | UNetConfig) -> PointNetwork:
    """The network of a contract up to the features of points, with random weights.

    Raises:
        ConfigError, ModelFileError: the settings contradict one another.
    """
    if isinstance(config, UNetConfig):
        assert isinstance(spec.outputs, Segmentation)
        return UNetPointNetwork(spec, config)
    return BevPointNetwork(spec, config)
