"""CenterPoint: an encoder that makes a BEV map of grouped points, a BEV backbone, centre heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import PillarGrid
from lidarloop_training.models.backbones.bev import BevBackbone
from lidarloop_training.models.encoders.encoded import Encoded
from lidarloop_training.models.encoders.pillar import PillarEncoder
from lidarloop_training.models.encoders.voxel_bev import VoxelBevEncoder
from lidarloop_training.models.heads.center import CenterHead, HeadOutput
from lidarloop_training.ranges import check_ranges


@dataclass(frozen=True)
class NetworkConfig:
    """Widths and depths of the network.

    Attributes:
        class_groups: groups of class names that share a regression; together they hold each class once.
        pillar_channels: features of a pillar, for a model on pillars.
        voxel_channels: features of a voxel at each level above the map, for a model on voxels.
        voxel_blocks: residual blocks at each of these levels.
        map_channels: features of a cell of the map that a model on voxels makes.
        first_stride: stride of the first backbone stage: 2 for pillars, 1 for voxels, whose map is coarser by itself.
        stage_channels: channels of each backbone stage, each at twice the stride of the one before.
        stage_depths: 3×3 convolutions of each stage after its strided one.
        neck_channels: channels of the maps that the stages are summed in.
        shared_channels: channels of the head's shared convolution.
        group_channels: channels of each group's own convolution.
        velocity_channels: channels of each group's two convolutions for velocities alone; 0 for none.
    """

    class_groups: tuple[tuple[str, ...], ...]
    pillar_channels: int = 32
    voxel_channels: tuple[int, ...] = (16, 32, 64)
    voxel_blocks: tuple[int, ...] = (0, 1, 1)
    map_channels: int = 64
    first_stride: int = 2
    stage_channels: tuple[int, ...] = (32, 64, 128)
    stage_depths: tuple[int, ...] = (2, 3, 4)
    neck_channels: int = 64
    shared_channels: int = 64
    group_channels: int = 64
    velocity_channels: int = 0

    def __post_init__(self) -> None:
        check_ranges(
            "NetworkConfig",
            pillar_channels=(self.pillar_channels, 1, 4096),
            voxel_channels=(self.voxel_channels, 1, 4096),
            voxel_blocks=(self.voxel_blocks, 0, 100),
            map_channels=(self.map_channels, 1, 4096),
            first_stride=(self.first_stride, 1, 2),
            stage_channels=(self.stage_channels, 1, 4096),
            stage_depths=(self.stage_depths, 0, 100),
            neck_channels=(self.neck_channels, 1, 4096),
            shared_channels=(self.shared_channels, 1, 4096),
            group_channels=(self.group_channels, 1, 4096),
            velocity_channels=(self.velocity_channels, 0, 4096),
        )
        if not self.stage_channels or len(self.stage_channels) != len(self.stage_depths):
            raise ConfigError(
                f"NetworkConfig received {len(self.stage_channels)} stage_channels and {len(self.stage_depths)} "
                "stage_depths; expected one of each for every stage, at least one stage"
            )


class DetectorFeatures(NamedTuple):
    """What a detector computes on its way, for whoever compares two of them.

    Attributes:
        levels: (V, C) features of the occupied cells at each level of the encoder, finest first, the map left out:
            voxels, or the one level of pillars.
        bev: (B, C, H, W) last map that all groups of the head share.
        output: raw maps.
    """

    levels: tuple[Tensor, ...]
    bev: Tensor
    output: HeadOutput


class CenterPoint(nn.Module):
    """CenterPoint (Yin et al., CVPR 2021), from grouped points to raw head maps.

    Args:
        encoder: takes the spec's input tensors and ``batch_size``, returns a BEV map (B, C, rows, columns).
        backbone: BEV map → features (B, C', rows / stride, columns / stride).
        head: features → raw maps.
    """

    def __init__(self, encoder: PillarEncoder | VoxelBevEncoder, backbone: BevBackbone, head: CenterHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.backbone = backbone
        self.head = head

    def forward(self, *grouped: Any, batch_size: int = 1) -> HeadOutput:
        """Raw maps of a batch.

        Args:
            grouped: input tensors of the spec, in its order, shaped as the encoder takes them.
            batch_size: number of clouds B in them.
        """
        return self.features(*grouped, batch_size=batch_size).output

    def features(self, *grouped: Any, batch_size: int = 1) -> DetectorFeatures:
        """Raw maps, and the features that they come from; arguments as of ``forward``."""
        return features_of(self, *grouped, batch_size=batch_size)


class DetectorParts(Protocol):
    """A network with the parts of a detector; see ``CenterPoint``."""

    encoder: PillarEncoder | VoxelBevEncoder
    backbone: BevBackbone
    head: CenterHead


def features_of(network: DetectorParts, *grouped: Any, batch_size: int = 1) -> DetectorFeatures:
    """Raw maps of a batch and the features that they come from.

    Args:
        network: a detector, or what is trained around one.
        grouped: input tensors of the spec, in its order, shaped as the encoder takes them.
        batch_size: number of clouds B in them.
    """
    encoded: Encoded = network.encoder.encode(*grouped, batch_size=batch_size)
    bev = network.head.shared(network.backbone(encoded.canvas))
    return DetectorFeatures(encoded.levels, bev, network.head.outputs(bev))


def center_point(spec: ModelSpec, config: NetworkConfig) -> CenterPoint:
    """A network with random weights; its encoder is the one for the spec's grid.

    Pillars: PointPillars (Lang et al., CVPR 2019). Voxels: SECOND (Yan et al., Sensors 2018).

    Raises:
        ConfigError: the map cannot be halved as often as the backbone does, the levels of the grid are not those of the
            encoder, or the class groups are not the classes.
    """
    encoder: PillarEncoder | VoxelBevEncoder
    if isinstance(spec.grid, PillarGrid):
        encoder = PillarEncoder(spec, config.pillar_channels)
    else:
        encoder = VoxelBevEncoder(spec, config.voxel_channels, config.voxel_blocks, config.map_channels)
    step = config.first_stride * 2 ** (len(config.stage_channels) - 1)
    map_shape = (encoder.num_columns, encoder.num_rows)
    if any(size % step for size in map_shape):
        raise ConfigError(
            f"the network received a map of {map_shape} cells; expected a multiple of {step} each way for "
            f"{len(config.stage_channels)} backbone stages: change the range, the cell size or the stages"
        )
    backbone = BevBackbone(
        encoder.channels, config.stage_channels, config.stage_depths, config.neck_channels, stride=config.first_stride
    )
    head = CenterHead(
        spec,
        backbone.out_channels,
        map_stride(spec, config),
        class_groups=config.class_groups,
        shared_channels=config.shared_channels,
        group_channels=config.group_channels,
        velocity_channels=config.velocity_channels,
    )
    return CenterPoint(encoder, backbone, head)


def map_stride(spec: ModelSpec, config: NetworkConfig) -> int:
    """Cells of the spec's grid that one cell of the head's maps spans, each way."""
    if isinstance(spec.grid, PillarGrid):
        return config.first_stride
    return config.first_stride * (spec.grid.shape[0] // spec.grid.level_shapes[-1][0])
