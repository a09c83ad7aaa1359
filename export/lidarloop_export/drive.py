"""Labelled clouds of a drive, as a model takes them: precisions are calibrated and compared on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lidarloop_core.camera_bev.pictures import Pictures, pictures_of
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.inference.backend import Backend
from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.segmenter import NO_LABEL, PointLabels, Segmenter
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.sweeps import network_points
from lidarloop_core.sample import Sample
from lidarloop_training.data.drive_lookup import drive_arguments, drive_named
from lidarloop_training.data.drive_spec import Drive as DriveSpec
from lidarloop_training.data.drive_spec import DriveName, ToyTown
from lidarloop_training.data.point_labels import UNLABELLED, is_in_range, labelled_points
from lidarloop_training.evaluation.metrics.matching import DetectionConfig
from lidarloop_training.evaluation.metrics.nuscenes import evaluate_detections
from lidarloop_training.evaluation.metrics.segmentation import SegmentationMetrics, confusion_matrix
from lidarloop_training.evaluation.samples import SampleRecord, spread

Drive = tuple[DriveName, str]
"""A drive's kind and its path (a seed for the toy town), as ``lidarloop convert`` takes them."""


@dataclass(frozen=True)
class Cloud:
    """One cloud of a drive.

    Attributes:
        points: (N, C) float32 in ``spec.point_columns``, sweeps merged.
        frame: labels and poses of its sample.
        pictures: what the cameras of a model with cameras saw; None for another model.
    """

    points: npt.NDArray[np.float32]
    frame: SampleRecord
    pictures: Pictures | None = None


@dataclass(frozen=True)
class PointCloud:
    """One cloud of a drive, with the class of each point where the drive labels them.

    Attributes:
        points: (N, C) float32 in ``spec.point_columns``, sweeps merged.
        classes: (N,) int64 class of each point in range, ``UNLABELLED`` for none; None where the drive has no labels.
    """

    points: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64] | None


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
    return [
        Cloud(_points(sample, spec), SampleRecord.of(sample, position), _pictures(sample, spec))
        for position, sample in _spread_samples(drive_named(*drive), spec, num_frames)
    ]


def read_points(drive: Drive, spec: ModelSpec, num_frames: int) -> list[PointCloud]:
    """``read_drive`` for a segmenter: clouds (N, C) with the class of each point, where the drive labels points.

    Raises:
        ConfigError, DatasetError, BagError: as ``read_drive``.
    """
    named = drive_named(*drive)
    if isinstance(named, ToyTown):
        named = replace(named, point_labels=True)
    clouds = []
    for _, sample in _spread_samples(named, spec, num_frames):
        if not sample.point_classes:
            clouds.append(PointCloud(_points(sample, spec), None))
            continue
        points, classes = labelled_points(sample, spec)
        clouds.append(PointCloud(points, np.where(is_in_range(points, spec), classes, UNLABELLED)))
    return clouds


def _spread_samples(drive: DriveSpec, spec: ModelSpec, num_frames: int) -> Iterator[tuple[int, Sample]]:
    source = drive.open(num_sweeps=spec.num_sweeps, cameras=spec.cameras is not None, lane_map=False)
    if len(source) == 0:
        raise DatasetError(f"{' '.join(drive_arguments(drive))} holds no frame; expected at least one")
    skipped = min(spec.num_sweeps - 1, len(source) - 1)
    for position in spread(len(source) - skipped, num_frames):
        yield position + skipped, source[position + skipped]


def _points(sample: Sample, spec: ModelSpec) -> npt.NDArray[np.float32]:
    return network_points(sample.sweeps[: spec.num_sweeps], spec.point_columns, spec.column_limits)


def _pictures(sample: Sample, spec: ModelSpec) -> Pictures | None:
    if spec.cameras is None:
        return None
    return pictures_of(sample.cameras, sample.keyframe, spec.cameras, spec.grid)


def detect_all(backend: Backend, clouds: Sequence[Cloud]) -> list[Boxes3D]:
    """The boxes that a model finds in each cloud, in the LiDAR's frame; metres and radians."""
    detector = Detector(backend)
    return [detector.detect(cloud.points, cloud.pictures).boxes for cloud in clouds]


def label_all(backend: Backend, clouds: Sequence[PointCloud]) -> list[PointLabels]:
    """The labels that a segmenter gives the points (N,) of each cloud."""
    segmenter = Segmenter(backend)
    return [segmenter.segment(cloud.points) for cloud in clouds]


def mean_iou(found: Sequence[PointLabels], clouds: Sequence[PointCloud], class_names: tuple[str, ...]) -> float | None:
    """mIoU over the classes that occur; None where a cloud is not labelled. A point without a label counts as wrong."""
    nothing = len(class_names)
    total = np.zeros((nothing + 1, nothing + 1), np.int64)
    for answer, cloud in zip(found, clouds, strict=True):
        if cloud.classes is None:
            return None
        counts = cloud.classes != UNLABELLED
        labels = np.where(answer.labels == NO_LABEL, nothing, answer.labels)
        total += confusion_matrix(cloud.classes[counts], labels[counts], nothing + 1)
    return SegmentationMetrics(total, (*class_names, "nothing"), ignore_label=nothing).mean_iou_present


def mean_ap(found: Sequence[Boxes3D], clouds: Sequence[Cloud]) -> float | None:
    """nuScenes mAP over the classes present; None where a cloud is not labelled."""
    if any(cloud.frame.annotations is None for cloud in clouds):
        return None
    predictions = {
        cloud.frame.token: cloud.frame.to_level(boxes, "lidar") for cloud, boxes in zip(clouds, found, strict=True)
    }
    truth = {cloud.frame.token: cloud.frame.ground_truth() for cloud in clouds}
    return evaluate_detections(predictions, truth, DetectionConfig.of_classes(found[0].class_names)).mean_ap
