"""The detector: pillar encoder, BEV backbone, centre head."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_training.models.backbones.bev import BevBackbone
from lidarloop_training.models.encoders.pillar import PillarEncoder
from lidarloop_training.models.heads.center import CenterHead, HeadOutput


@dataclass(frozen=True)
class NetworkConfig:
    """The widths and depths of the network.

    Attributes:
        class_groups: groups of class names that share a regression; together they hold each class once.
        pillar_channels: features of a pillar.
        stage_channels: of the backbone's stages, at strides 2, 4, 8, …
        stage_depths: 3×3 convolutions of each stage after its strided one.
        neck_channels: of the maps that the stages are summed in.
        shared_channels: of the head's shared convolution.
        group_channels: of each group's own convolution.
    """

    class_groups: tuple[tuple[str, ...], ...]
    pillar_channels: int = 32
    stage_channels: tuple[int, ...] = (32, 64, 128)
    stage_depths: tuple[int, ...] = (2, 3, 4)
    neck_channels: int = 64
    shared_channels: int = 64
    group_channels: int = 64


class PillarDetector(nn.Module):
    """CenterPoint on pillars (Yin et al., CVPR 2021; Lang et al., CVPR 2019), from grouped points to raw head maps.

    Raises:
        ConfigError: the grid cannot be halved as often as the backbone does, or the class groups are not the classes.
    """

    def __init__(self, spec: ModelSpec, config: NetworkConfig) -> None:
        super().__init__()
        step = 2 ** len(config.stage_channels)
        if any(size % step for size in spec.grid.shape):
            raise ConfigError(
                f"the network received a grid of {spec.grid.shape} pillars; expected a multiple of {step} each way for "
                f"{len(config.stage_channels)} backbone stages: change the range, the pillar size or the stages"
            )
        self.spec = spec
        self.encoder = PillarEncoder(spec, config.pillar_channels)
        self.backbone = BevBackbone(
            config.pillar_channels, config.stage_channels, config.stage_depths, config.neck_channels
        )
        self.head = CenterHead(
            spec,
            self.backbone.out_channels,
            self.backbone.stride,
            class_groups=config.class_groups,
            shared_channels=config.shared_channels,
            group_channels=config.group_channels,
        )

    def forward(self, points: Tensor, slot: Tensor, cell: Tensor, count: Tensor, batch_size: int = 1) -> HeadOutput:
        """Raw maps of a batch; arguments as of ``PillarEncoder.forward``."""
        output: HeadOutput = self.head(self.backbone(self.encoder(points, slot, cell, count, batch_size)))
        return output
