"""CenterPoint: an encoder that makes a BEV map of grouped points, a BEV backbone, centre heads."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_training.models.backbones.bev import BevBackbone
from lidarloop_training.models.encoders.pillar import PillarEncoder
from lidarloop_training.models.heads.center import CenterHead, HeadOutput
from lidarloop_training.ranges import check_ranges


@dataclass(frozen=True)
class NetworkConfig:
    """Widths and depths of the network.

    Attributes:
        class_groups: groups of class names that share a regression; together they hold each class once.
        pillar_channels: features of a pillar.
        stage_channels: channels of each backbone stage, at strides 2, 4, 8, …
        stage_depths: 3×3 convolutions of each stage after its strided one.
        neck_channels: channels of the maps that the stages are summed in.
        shared_channels: channels of the head's shared convolution.
        group_channels: channels of each group's own convolution.
    """

    class_groups: tuple[tuple[str, ...], ...]
    pillar_channels: int = 32
    stage_channels: tuple[int, ...] = (32, 64, 128)
    stage_depths: tuple[int, ...] = (2, 3, 4)
    neck_channels: int = 64
    shared_channels: int = 64
    group_channels: int = 64

    def __post_init__(self) -> None:
        check_ranges(
            "NetworkConfig",
            pillar_channels=(self.pillar_channels, 1, 4096),
            stage_channels=(self.stage_channels, 1, 4096),
            stage_depths=(self.stage_depths, 0, 100),
            neck_channels=(self.neck_channels, 1, 4096),
            shared_channels=(self.shared_channels, 1, 4096),
            group_channels=(self.group_channels, 1, 4096),
        )
        if not self.stage_channels or len(self.stage_channels) != len(self.stage_depths):
            raise ConfigError(
                f"NetworkConfig received {len(self.stage_channels)} stage_channels and {len(self.stage_depths)} "
                "stage_depths; expected one of each for every stage, at least one stage"
            )


class CenterPoint(nn.Module):
    """CenterPoint (Yin et al., CVPR 2021), from grouped points to raw head maps.

    Args:
        encoder: takes the spec's input tensors and ``batch_size``, returns a BEV map (B, C, rows, columns).
        backbone: BEV map → features (B, C', rows / stride, columns / stride).
        head: features → raw maps.

    Attributes:
        stride: cells of the encoder's map that one cell of the head's maps spans, each way.
    """

    stride = BevBackbone.stride

    def __init__(self, encoder: nn.Module, backbone: BevBackbone, head: CenterHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.backbone = backbone
        self.head = head

    def forward(self, *grouped: Tensor, batch_size: int = 1) -> HeadOutput:
        """Raw maps of a batch.

        Args:
            grouped: input tensors of the spec, in its order, shaped as the encoder takes them.
            batch_size: number of clouds B in them.
        """
        output: HeadOutput = self.head(self.backbone(self.encoder(*grouped, batch_size=batch_size)))
        return output


def center_point(spec: ModelSpec, config: NetworkConfig) -> CenterPoint:
    """A network with random weights; its encoder is the one for the spec's grid.

    Pillars: PointPillars (Lang et al., CVPR 2019).

    Raises:
        ConfigError: the grid cannot be halved as often as the backbone does, or the class groups are not the classes.
    """
    step = 2 ** len(config.stage_channels)
    if any(size % step for size in spec.grid.shape):
        raise ConfigError(
            f"the network received a grid of {spec.grid.shape} pillars; expected a multiple of {step} each way for "
            f"{len(config.stage_channels)} backbone stages: change the range, the pillar size or the stages"
        )
    encoder = PillarEncoder(spec, config.pillar_channels)
    backbone = BevBackbone(encoder.channels, config.stage_channels, config.stage_depths, config.neck_channels)
    head = CenterHead(
        spec,
        backbone.out_channels,
        backbone.stride,
        class_groups=config.class_groups,
        shared_channels=config.shared_channels,
        group_channels=config.group_channels,
    )
    return CenterPoint(encoder, backbone, head)
