"""Detection with cameras: ``tasks/detection`` with pictures beside the points, or in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lidarloop_core.camera_bev.rig import CameraRig
from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.sample import SampleSource
from lidarloop_training.models.fusion.camera_bev import CameraConfig
from lidarloop_training.models.fusion.detector import FusionDetector, fusion_detector
from lidarloop_training.ranges import check_ranges
from lidarloop_training.tasks.detection.dataset import DetectionBatch
from lidarloop_training.tasks.detection.task import DetectionConfig, DetectionTask
from lidarloop_training.tasks.fusion.dataset import FusionDataset, FusionExample, collate


@dataclass(frozen=True)
class FusionConfig(DetectionConfig):
    """Settings of detection with cameras.

    Attributes:
        camera: widths and depths of the cameras' part of the network.
        camera_dropout: share of the examples that are learnt from without cameras, so that the network answers where
            they fail; 0 for a network on cameras alone.
    """

    name: ClassVar[str] = "fusion"

    camera: CameraConfig = field(default_factory=CameraConfig)
    camera_dropout: float = 0.1

    def __post_init__(self) -> None:
        check_ranges("FusionConfig", camera_dropout=(self.camera_dropout, 0, 1))
        if self.camera_dropout and not self.spec.takes_points:
            raise ConfigError(
                f"FusionConfig received camera_dropout {self.camera_dropout:g} for a network on cameras alone; "
                "expected 0, for without them it has nothing to learn from: set --task.camera-dropout 0"
            )

    def task(self) -> FusionTask:  # type: ignore[override]  # the settings are a detector's, the network is not
        """The task with these settings."""
        return FusionTask(self)


class FusionTask:
    """Detection with cameras as the training core sees it; see ``Task``."""

    def __init__(self, config: FusionConfig) -> None:
        if config.spec.cameras is None:
            raise ConfigError(
                f"{config.spec.name} has no cameras; expected a spec with cameras: take a recipe with them, e.g. "
                "fusion-toytown, or train a detector"
            )
        self.config = config
        self.spec = config.spec
        self.rig: CameraRig = config.spec.cameras
        self._detection = DetectionTask(config)
        self.loss = self._detection.loss
        self.export_view = self._detection.export_view

    def build(self) -> FusionDetector:
        """A new network; see ``Task.build``.

        Raises:
            ConfigError: the maps of points, cameras and backbone do not fit one another.
        """
        return fusion_detector(self.spec, self.config.network, self.config.camera)

    def check(self, source: SampleSource, *, training: bool) -> str:
        """Objects by class, and whether there are pictures; see ``Task.check``.

        Raises:
            DatasetError: a sample is unlabelled, the first one lacks a camera, or there is nothing to learn.
        """
        if len(source):
            _check_cameras(source, self.rig)
        return self._detection.check(source, training=training)

    def dataset(self, source: SampleSource, *, training: bool, seed: int) -> FusionDataset:
        """Examples of labelled samples with pictures; see ``DetectionTask.dataset``.

        Raises:
            DatasetError: a sample is unlabelled, or no sample has an object to balance by.
        """
        scenes = self._detection.dataset(source, training=training, seed=seed)
        return FusionDataset(scenes, self.rig, self.config.camera_dropout if training else 0.0)

    def collate(self, examples: Sequence[FusionExample]) -> DetectionBatch:
        """One batch of examples, at least one."""
        return collate(examples, self.spec)


def _check_cameras(source: SampleSource, rig: CameraRig) -> None:
    there = [camera.name for camera in source[0].cameras]
    if missing := [name for name in rig.names if name not in there]:
        raise DatasetError(
            f"sample {source.keys[0].token} has pictures of {', '.join(there) or 'no camera'}; expected also "
            f"{', '.join(missing)}: set --data.cameras, or name the drive's own cameras by --task.spec.cameras.names"
        )
