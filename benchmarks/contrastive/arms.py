"""The arms of the study of contrastive pre-training: what a network learns before it is fine-tuned."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.model.outputs import Segmentation
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import VoxelGrid, VoxelLevel
from lidarloop_training.models.detector import NetworkConfig
from lidarloop_training.models.image.encoder import ImageEncoderConfig
from lidarloop_training.models.unet import UNetConfig
from lidarloop_training.recipes.contrast_toytown import SPIKE_UNITS
from lidarloop_training.recipes.pillar_toytown import toytown_spec
from lidarloop_training.recipes.segment_toytown import segment_toytown_spec
from lidarloop_training.recipes.voxel_toytown import HALVED, voxel_toytown_spec
from lidarloop_training.tasks.augment import AugmentConfig
from lidarloop_training.tasks.detection.task import DetectionConfig
from lidarloop_training.tasks.pretext.config import ContrastConfig
from lidarloop_training.tasks.pretext.masked.task import MaskedBevConfig
from lidarloop_training.tasks.pretext.task import DetectorContrastConfig, SegmenterContrastConfig
from lidarloop_training.tasks.segmentation.task import SegmentationConfig
from lidarloop_training.tasks.task import TaskConfig
from lidarloop_training.toytown.style import TownStyle

Network = Literal["pillars", "voxels", "U-Net"]

RANGE_M = 25.6
"""What is learnt and scored, in x and y: with a small network, so that an arm takes minutes."""

_COLUMNS = ("x", "y", "z", "intensity")

BALANCED = 64
"""L of the arm with similarity-balanced negatives: about half the units of a toy-town cloud."""


@dataclass(frozen=True)
class Arm:
    """A way to begin.

    Attributes:
        name: what is learnt first; ``scratch`` begins with random weights.
        network: what is pre-trained and fine-tuned.
        percents: shares of the labels that it is fine-tuned on, percent.
        style: style of the town it is pre-trained in; None is the study's own.
    """

    name: str
    network: Network = "pillars"
    percents: tuple[float, ...] = (5.0,)
    style: TownStyle | None = None

    @property
    def folder(self) -> str:
        """Its name as a path."""
        return f"{self.network}-{self.name}".replace(" ", "-").replace(",", "").replace("+", "-plus").lower()

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that fine-tuning starts from."""
        return ("encoder", "decoder" if self.network == "U-Net" else "backbone")


SCRATCH, CROSS, STATISTICS, SHUFFLED = "scratch", "images", "LiDAR statistics", "shuffled images"
RANDOM, SUPERVISED = "random image encoder", "supervised 2D network"
SINGLE, SINGLE_PLUS, MULTI = "single modality", "single modality +", "multi-modality"
NO_INSTANCES, BALANCED_NEGATIVES = "images, no instances", "images, balanced negatives"
RANDOM_SEEDS, PILLARS = "images, random seeds", "images, context by pillar"
ONLY_P2, ONLY_P4 = "images, P2 alone", "images, P4 alone"
POINTS, SUPERPIXELS, MASKED = "points (PPKT)", "superpixels (SLidR)", "masked BEV (BEV-MAE)"
TRANSFER = "images, other style"

ALL_PERCENTS = (1.0, 5.0, 10.0, 20.0)

ARMS = (
    Arm(SCRATCH, percents=ALL_PERCENTS),
    Arm(CROSS, percents=ALL_PERCENTS),
    *(Arm(name) for name in (STATISTICS, SHUFFLED, RANDOM, SUPERVISED)),
    *(Arm(name) for name in (SINGLE, SINGLE_PLUS, MULTI)),
    *(Arm(name) for name in (NO_INSTANCES, BALANCED_NEGATIVES, RANDOM_SEEDS, PILLARS)),
    *(Arm(name) for name in (ONLY_P2, ONLY_P4)),
    *(Arm(name) for name in (POINTS, SUPERPIXELS, MASKED)),
    Arm(TRANSFER, style="plain"),
    Arm(SCRATCH, "voxels"),
    Arm(CROSS, "voxels"),
    Arm(SCRATCH, "U-Net", (1.0,)),
    Arm(CROSS, "U-Net", (1.0,)),
)


@dataclass(frozen=True)
class Images:
    """Image encoders of the study.

    Attributes:
        own: file of the encoder that was trained on the pool's pictures.
        supervised: ONNX file of a 2D network; None where there is none, which leaves out its arm.
        taps: names of the values of its graph.
        cache: folder in which maps are kept.
    """

    own: Path
    supervised: Path | None
    taps: tuple[str, ...]
    cache: Path


def downstream(network: Network) -> TaskConfig:
    """The task that is fine-tuned. Scenes are not flipped: a car's heading follows from its side of the street."""
    augment = AugmentConfig(flip_left_right=0.0, flip_front_back=0.0)
    if network == "U-Net":
        return SegmentationConfig(spec=_spec(network), network=_unet(), augment=augment)
    return DetectionConfig(spec=_spec(network), network=_detector(network), augment=augment)


def pretext(arm: Arm, images: Images) -> TaskConfig:
    """The task that is pre-trained; not of ``SCRATCH``."""
    spec = _spec(arm.network)
    if arm.name == MASKED:
        return MaskedBevConfig(spec=spec, network=_detector(arm.network))
    settings: dict[str, Any] = {
        "grouping": SPIKE_UNITS,
        "image": ImageEncoderConfig(path=images.own),
        "image_cache": images.cache,
    }
    if arm.network == "U-Net":
        base: ContrastConfig = SegmenterContrastConfig(spec=spec, network=_unet(), **settings)
    else:
        base = DetectorContrastConfig(spec=spec, network=_detector(arm.network), **settings)
    change = _CHANGES.get(arm.name)
    return base if change is None else change(base, images)


def _with_units(config: ContrastConfig, **changes: Any) -> ContrastConfig:
    units = dataclasses.replace(config.grouping.units, **changes)
    return dataclasses.replace(config, grouping=dataclasses.replace(config.grouping, units=units))


def _with_grouping(config: ContrastConfig, kind: Literal["points", "superpixels"]) -> ContrastConfig:
    return dataclasses.replace(config, grouping=dataclasses.replace(config.grouping, kind=kind))


def _with_image(config: ContrastConfig, **changes: Any) -> ContrastConfig:
    return dataclasses.replace(config, image=dataclasses.replace(config.image, **changes))


_CHANGES: dict[str, Callable[[ContrastConfig, Images], ContrastConfig]] = {
    STATISTICS: lambda config, _: dataclasses.replace(config, targets="lidar-statistics"),
    SHUFFLED: lambda config, _: dataclasses.replace(config, targets="shuffled-images"),
    RANDOM: lambda config, _: _with_image(config, kind="random", path=None),
    SUPERVISED: lambda config, images: _with_image(config, kind="onnx", path=images.supervised, taps=images.taps),
    SINGLE: lambda config, _: dataclasses.replace(config, modality="single"),
    SINGLE_PLUS: lambda config, _: dataclasses.replace(config, modality="single+"),
    MULTI: lambda config, _: dataclasses.replace(config, modality="multi"),
    NO_INSTANCES: lambda config, _: _with_units(config, clusters=None),
    BALANCED_NEGATIVES: lambda config, _: dataclasses.replace(
        config, loss=dataclasses.replace(config.loss, num_negatives=BALANCED)
    ),
    RANDOM_SEEDS: lambda config, _: _with_units(config, sampling="random"),
    PILLARS: lambda config, _: _with_units(config, context="pillar"),
    ONLY_P2: lambda config, _: _with_image(config, levels=(2,)),
    ONLY_P4: lambda config, _: _with_image(config, levels=(4,)),
    POINTS: lambda config, _: _with_grouping(config, "points"),
    SUPERPIXELS: lambda config, _: _with_grouping(config, "superpixels"),
}


def _spec(network: Network) -> ModelSpec:
    """The repository's contracts with one sweep and ±``RANGE_M``."""
    reach_m = (-RANGE_M, RANGE_M)
    whole = {"pillars": toytown_spec, "voxels": voxel_toytown_spec, "U-Net": segment_toytown_spec}[network]()
    if isinstance(whole.grid, VoxelGrid):
        last = VoxelLevel(capacity=4096, stride=(1, 1, 1), kernel=(1, 1, 5), padding=(0, 0, 0))
        below = [VoxelLevel(capacity=most, **HALVED) for most in (20_000, 10_000)]
        levels = (*below, VoxelLevel(capacity=5_000, **HALVED)) if network == "U-Net" else (*below, last)
        grid: Any = dataclasses.replace(whole.grid, x_range_m=reach_m, y_range_m=reach_m, levels=levels)
    else:
        grid = dataclasses.replace(whole.grid, x_range_m=reach_m, y_range_m=reach_m)
    name = f"contrastive-study-{network.lower()}"
    spec = dataclasses.replace(whole, name=name, grid=grid, num_sweeps=1, point_columns=_COLUMNS)
    assert (network == "U-Net") == isinstance(spec.outputs, Segmentation)
    return spec


def _detector(network: Network) -> NetworkConfig:
    """A sixth of the repository's detector."""
    return NetworkConfig(
        class_groups=(NUSCENES_CLASSES,),
        pillar_channels=16,
        voxel_channels=(16, 16, 32),
        voxel_blocks=(0, 1, 1),
        map_channels=32,
        first_stride=2 if network == "pillars" else 1,
        stage_channels=(16, 32, 64),
        stage_depths=(1, 2, 2),
        neck_channels=32,
        shared_channels=32,
        group_channels=32,
    )


def _unet() -> UNetConfig:
    return UNetConfig(channels=(8, 16, 32, 48), encoder_blocks=(0, 1, 1, 1), decoder_blocks=(0, 0, 0), head_channels=16)
