"""Labelled clouds of a drive, as a model takes them: precisions are calibrated and compared on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.inference.backend import Backend
from lidarloop_core.inference.detector import Detector
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.sweeps import network_points
from lidarloop_training.data.drive_spec import DriveName, drive_named
from lidarloop_training.evaluation.metrics.matching import DetectionConfig
from lidarloop_training.evaluation.metrics.nuscenes import evaluate_detections
from lidarloop_training.evaluation.samples import SampleRecord, spread

Drive = tuple[DriveName, str]
"""A drive's kind and its path (a seed for the toy town), as ``lidarloop convert`` takes them."""


@dataclass(frozen=True)
class Cloud:
    """One cloud of a drive.

    Attributes:
        points: (N, C) float32 in ``spec.point_columns``, sweeps merged.
        frame: labels and poses of its sample.
    """

    points: npt.NDArray[np.float32]
    frame: SampleRecord


def read_drive(drive: Drive, spec: ModelSpec, num_frames: int) -> list[Cloud]:
    """At most ``num_frames`` clouds of a drive, evenly spread over it.

    The first samples of a drive have too few sweeps before them: they are left out if there are others.

    Args:
        drive: source and path.
        spec: contract of the model, which decides the columns and how many sweeps are merged.
        num_frames: largest number of clouds.

    Raises:
        ConfigError, DatasetError, BagError: nothing readable is there, or the drive has no frame.
    """
    source = drive_named(*drive).open(num_sweeps=spec.num_sweeps, cameras=False, lane_map=False)
    if len(source) == 0:
        raise DatasetError(f"{drive[0]} {drive[1]} holds no frame; expected at least one")
    skipped = min(spec.num_sweeps - 1, len(source) - 1)
    clouds = []
    for position in spread(len(source) - skipped, num_frames):
        sample = source[position + skipped]
        points = network_points(sample.sweeps[: spec.num_sweeps], spec.point_columns, spec.column_limits)
        clouds.append(Cloud(points, SampleRecord.of(sample, position + skipped)))
    return clouds


def detect_all(backend: Backend, clouds: Sequence[Cloud]) -> list[Boxes3D]:
    """The boxes that a model finds in each cloud, in the LiDAR's frame; metres and radians."""
    detector = Detector(backend)
    return [detector.detect(cloud.points).boxes for cloud in clouds]


def mean_ap(found: Sequence[Boxes3D], clouds: Sequence[Cloud]) -> float | None:
    """nuScenes mAP over the classes present; None where a cloud is not labelled."""
    if any(cloud.frame.annotations is None for cloud in clouds):
        return None
    predictions = {
        cloud.frame.token: cloud.frame.to_level(boxes, "lidar") for cloud, boxes in zip(clouds, found, strict=True)
    }
    truth = {cloud.frame.token: cloud.frame.ground_truth() for cloud in clouds}
    return evaluate_detections(predictions, truth, DetectionConfig.of_classes(found[0].class_names)).mean_ap
