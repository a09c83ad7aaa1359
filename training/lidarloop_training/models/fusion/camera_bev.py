"""Pictures → a bird's-eye-view map: image features lifted to every depth and summed where they fall.

Source: Lift, Splat, Shoot (Philion and Fidler, ECCV 2020), sections 3.1 and 3.2: a distribution over depths and a
feature for each cell of the image's map; their outer product, placed by calibration, summed in each cell of the map.
Here the product is never formed: a row of the lift table (``lidarloop_core.camera_bev``) names eight places within one
cell, so that their sum is the product of eight probabilities and eight features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lidarloop_core.camera_bev.rig import CameraRig
from lidarloop_core.errors import ConfigError
from lidarloop_core.pointcloud.grid import Grid
from lidarloop_training.models.backbones.bev import conv_norm_relu
from lidarloop_training.models.image.pictures import IMAGENET_MEAN, IMAGENET_STD
from lidarloop_training.models.image.resnet import ResNet
from lidarloop_training.models.sparse.convolution import gather_rows
from lidarloop_training.ranges import check_ranges


@dataclass(frozen=True)
class CameraConfig:
    """Widths and depths of what makes a map of pictures.

    Attributes:
        blocks: residual blocks at each level of the image encoder, the first at 1/4 of the picture; the last one's
            stride is the rig's.
        width: channels of its first convolution; the first level has four times as many, each further one twice those
            of the one before.
        hidden_channels: channels of the convolution before depths and features.
        channels: features of a cell of the map.
    """

    blocks: tuple[int, ...] = (1, 1)
    width: int = 16
    hidden_channels: int = 64
    channels: int = 32

    def __post_init__(self) -> None:
        check_ranges(
            "CameraConfig",
            blocks=(self.blocks, 1, 100),
            width=(self.width, 1, 1024),
            hidden_channels=(self.hidden_channels, 1, 4096),
            channels=(self.channels, 1, 4096),
        )
        if not 1 <= len(self.blocks) <= 4:
            raise ConfigError(f"CameraConfig received {len(self.blocks)} blocks; expected one to four levels")

    @property
    def stride(self) -> int:
        """Pixels that one cell of the image encoder's last map spans, each way."""
        return 2 << len(self.blocks)


class CameraBevEncoder(nn.Module):
    """Image encoder, depths and features of each cell of its map, and their sums on the bird's-eye-view map.

    Args:
        rig: pictures, depths and map of the model's contract.
        grid: the model's grid.
        config: widths and depths.

    Attributes:
        channels: features of a cell of the map.

    Raises:
        ConfigError: the image encoder's stride is not the rig's.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, rig: CameraRig, grid: Grid, config: CameraConfig) -> None:
        super().__init__()
        if config.stride != rig.stride:
            raise ConfigError(
                f"the camera encoder received {len(config.blocks)} levels, a stride of {config.stride}, for cameras of "
                f"stride {rig.stride}; expected equal strides: change --task.camera.blocks or "
                "--task.spec.cameras.stride"
            )
        self.channels = config.channels
        self.num_depths = rig.num_depths
        self.num_columns, self.num_rows = rig.map_shape(grid)
        self.images = ResNet(config.blocks, config.width)
        self.lift = nn.Sequential(
            conv_norm_relu(self.images.channels[-1], config.hidden_channels),
            nn.Conv2d(config.hidden_channels, rig.num_depths + config.channels, 1),
        )
        self.register_buffer("mean", torch.from_numpy(255 * IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.from_numpy(255 * IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor, places: Tensor, rows: Tensor, cells: Tensor, *, batch_size: int = 1) -> Tensor:
        """The map of a batch.

        Args:
            images: (B · cameras, height, width, 3) uint8 RGB.
            places: (R, 8) int32 ``LiftTable.places``, places counted on over the batch.
            rows: (U, 16) int32 ``LiftTable.rows``, rows counted on over the batch.
            cells: (B · rows · columns,) int32 ``LiftTable.cells``, counted on over the batch.
            batch_size: B.

        Returns:
            (B, channels, rows, columns) map, zero where no feature falls.
        """
        # TensorRT takes bytes for a cast alone, so nothing comes before it.
        pictures = (images.to(self.mean.dtype).permute(0, 3, 1, 2) - self.mean) / self.std
        lifted = self.lift(self.images(pictures)[-1]).permute(0, 2, 3, 1).flatten(0, 2)
        depths, features = lifted[:, : self.num_depths].softmax(dim=1), lifted[:, self.num_depths :]
        summed = splat(depths, features, places, rows, cells)
        return summed.view(batch_size, self.num_rows, self.num_columns, self.channels).permute(0, 3, 1, 2)


def splat(depths: Tensor, features: Tensor, places: Tensor, rows: Tensor, cells: Tensor) -> Tensor:
    """Sums of features, weighted by the probability of their depth, over the places in each cell of the map.

    Args:
        depths: (N, D) probability of each depth for the N cells of all image features.
        features: (N, C) their features.
        places: (R, 8) int32 index + 1 in (N × D), 0 for none.
        rows: (U, 16) int32 row + 1 of ``places``, 0 for none.
        cells: (M,) int32 row + 1 of ``rows``, 0 for none.

    Returns:
        (M, C) sums, zero in a cell without a place.
    """
    num_depths = depths.shape[1]
    weights = gather_rows(depths.reshape(-1, 1), places).transpose(1, 2)  # (R, 1, 8), 0 where there is no place
    # Place + 1 = cell of the features × D + depth + 1: this is the cell + 1, and 0 for no place.
    ray = torch.div(places + (num_depths - 1), num_depths, rounding_mode="trunc")
    of_rows = torch.matmul(weights, gather_rows(features, ray)).squeeze(1)
    return gather_rows(gather_rows(of_rows, rows).sum(dim=1), cells)
