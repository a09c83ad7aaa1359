"""Settings of contrastive pre-training."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lidarloop_core.errors import ConfigError
from lidarloop_training.losses.contrastive import ContrastiveConfig
from lidarloop_training.models.detector import NetworkConfig
from lidarloop_training.models.image.encoder import ImageEncoderConfig
from lidarloop_training.models.projection import ProjectionConfig
from lidarloop_training.models.unet import UNetConfig
from lidarloop_training.ranges import check_ranges
from lidarloop_training.tasks.augment import AugmentConfig
from lidarloop_training.tasks.pretext.units.units import UnitConfig
from lidarloop_training.tasks.task import TaskConfig

PRETEXT_AUGMENT = AugmentConfig(max_rotation_rad=3.141592653589793, max_drop=0.0)
"""The paper's set: rotation, scaling and flips; as strong as a scene allows."""


@dataclass(frozen=True)
class GroupingConfig:
    """What is compared: groups of points.

    Attributes:
        kind: units: the paper's contrastive units. points: single points (PPKT; Liu et al., 2021). superpixels: the
            points of a picture's superpixel (SLidR; Sautier et al., CVPR 2022).
        units: how units are found.
        num_points: number of points a cloud for points, drawn at random of those that a camera sees.
        num_superpixels: number of superpixels a picture.
        superpixel_width: pictures that are wider are shrunk to it before they are cut, pixels.
    """

    kind: Literal["units", "points", "superpixels"] = "units"
    units: UnitConfig = field(default_factory=UnitConfig)
    num_points: int = 1024
    num_superpixels: int = 150
    superpixel_width: int = 400

    def __post_init__(self) -> None:
        check_ranges(
            "GroupingConfig",
            num_points=(self.num_points, 2, 10**6),
            num_superpixels=(self.num_superpixels, 2, 10**6),
            superpixel_width=(self.superpixel_width, 8, 10**5),
        )


@dataclass(frozen=True)
class ContrastConfig(TaskConfig):
    """Settings of contrastive pre-training; a subclass adds the kind of network.

    Attributes:
        modality: cross: a cloud against its pictures, the paper's method. single: two random changes of a cloud, with
            initial units, not instances (ProposalContrast's way; Yin et al., ECCV 2022). single+: the same with
            instances. multi: cross and single+ together.
        targets: what a cloud is compared with across modalities: image features; as controls, image features shuffled
            among the units of a cloud, or nine statistics of the LiDAR's own points.
        grouping: what is compared.
        image: the frozen image encoder.
        image_cache: folder in which its maps are kept.
        projection: widths of the projection heads.
        loss: temperature and negatives.
        augment: limits of the random changes of a scene.
    """

    modality: Literal["single", "single+", "cross", "multi"] = "cross"
    targets: Literal["images", "shuffled-images", "lidar-statistics"] = "images"
    grouping: GroupingConfig = field(default_factory=GroupingConfig)
    image: ImageEncoderConfig = field(default_factory=ImageEncoderConfig)
    image_cache: Path = Path("data/image-features")
    projection: ProjectionConfig = field(default_factory=ProjectionConfig)
    loss: ContrastiveConfig = field(default_factory=ContrastiveConfig)
    augment: AugmentConfig = PRETEXT_AUGMENT

    def __post_init__(self) -> None:
        if not self.compares_targets and self.loss.num_negatives:
            raise ConfigError(
                f"--task.loss.num-negatives received {self.loss.num_negatives} with --task.modality {self.modality}; "
                "expected 0: similarity is that of frozen targets, which a single modality does not have"
            )

    @property
    def compares_targets(self) -> bool:
        """Whether clouds are compared with targets from outside the network."""
        return self.modality in ("cross", "multi")

    @property
    def compares_views(self) -> bool:
        """Whether two random changes of a cloud are compared."""
        return self.modality != "cross"

    @property
    def reads_pictures(self) -> bool:
        """Whether the frozen image encoder is needed."""
        return self.compares_targets and self.targets != "lidar-statistics"

    @property
    @abstractmethod
    def network_config(self) -> NetworkConfig | UNetConfig:
        """Widths and depths of the point network."""
