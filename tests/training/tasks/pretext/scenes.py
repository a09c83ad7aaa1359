"""Scenes of boxes full of points that two cameras see, for the tests of pre-training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.model.outputs import Segmentation
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import CameraImage, Sample
from lidarloop_training.models.detector import NetworkConfig
from lidarloop_training.models.image.encoder import ImageEncoderConfig, write_encoder
from lidarloop_training.models.image.resnet import ResNet
from lidarloop_training.models.projection import ProjectionConfig
from lidarloop_training.models.unet import UNetConfig
from lidarloop_training.tasks.pretext.config import GroupingConfig
from lidarloop_training.tasks.pretext.task import DetectorContrastConfig, SegmenterContrastConfig
from lidarloop_training.tasks.pretext.units.units import UnitConfig
from tests.builders import VOXEL_DETECTOR, VOXEL_SEGMENTER
from tests.training.conftest import BoxScenes, small_spec
from tests.training.sources import MadeSource

WIDTH, HEIGHT = 64, 48
_FORWARD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
_INTRINSICS = np.array([[32.0, 0.0, 31.5], [0.0, 32.0, 23.5], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class PictureScenes(MadeSource):
    """``BoxScenes`` with a camera to the front and one to the back; a picture is noise in patches of eight pixels."""

    num_samples: int = 6
    seed: int = 0
    has_cameras: bool = True

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> Sample:
        boxes = BoxScenes(num_samples=self.num_samples, num_objects=6, seed=self.seed, labelled=False)
        sample = boxes[index]
        return dataclasses.replace(sample, cameras=self._cameras(index) if self.has_cameras else ())

    def _cameras(self, index: int) -> tuple[CameraImage, ...]:
        return tuple(
            CameraImage(
                name,
                partial(self.picture, index, number),
                _INTRINSICS,
                WIDTH,
                HEIGHT,
                1_700_000_000_000_000_000,
                SE3.from_yaw(yaw, (0.0, 0.0, 0.0)) @ SE3(_FORWARD, np.zeros(3)),
                SE3.identity(),
            )
            for number, (name, yaw) in enumerate((("CAM_FRONT", 0.0), ("CAM_BACK", np.pi)))
        )

    def picture(self, index: int, camera: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, index, camera, 0xCA3))
        return rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)


GROUPING = GroupingConfig(units=UnitConfig(num_seeds=24, num_neighbours=8), num_points=40, num_superpixels=12)


def tiny_encoder(folder: Path) -> ImageEncoderConfig:
    """A small image encoder with random weights, in a file."""
    path = folder / "encoder.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(11)
        write_encoder(ResNet((1, 1, 1), 4), path)
    return ImageEncoderConfig(path=path)


def tiny_network(**changes: object) -> NetworkConfig:
    """A small detector of one group."""
    values: dict[str, object] = {
        "class_groups": (small_spec().class_names,),
        "pillar_channels": 8,
        "stage_channels": (8, 16),
        "stage_depths": (1, 1),
        "neck_channels": 8,
        "shared_channels": 8,
        "group_channels": 8,
    }
    return NetworkConfig(**{**values, **changes})


def contrast_config(folder: Path, **changes: object) -> DetectorContrastConfig:
    """Pre-training of a small detector on pillars; image features are kept in the folder."""
    values: dict[str, object] = {
        "spec": small_spec(),
        "network": tiny_network(),
        "grouping": GROUPING,
        "image": tiny_encoder(folder),
        "image_cache": folder / "features",
        "projection": ProjectionConfig(16, 8),
    }
    return DetectorContrastConfig(**{**values, **changes})


def one_sweep(spec: ModelSpec) -> ModelSpec:
    """A spec that takes what the scenes have."""
    return dataclasses.replace(spec, num_sweeps=1, point_columns=("x", "y", "z", "intensity"))


def voxel_config(folder: Path) -> DetectorContrastConfig:
    """The same for a small detector on voxels."""
    network = tiny_network(voxel_channels=(8, 8, 8), voxel_blocks=(0, 1, 1), map_channels=8, first_stride=1)
    return contrast_config(folder, spec=one_sweep(VOXEL_DETECTOR), network=network)


def segmenter_config(folder: Path) -> SegmenterContrastConfig:
    """The same for a small U-Net."""
    spec = one_sweep(VOXEL_SEGMENTER)
    assert isinstance(spec.outputs, Segmentation)
    detector = contrast_config(folder)
    settings = {field.name: getattr(detector, field.name) for field in dataclasses.fields(detector)}
    network = UNetConfig(channels=(8, 8, 8), encoder_blocks=(0, 0, 1), decoder_blocks=(0, 0), head_channels=8)
    return SegmenterContrastConfig(**{**settings, "spec": spec, "network": network})
