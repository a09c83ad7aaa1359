"""All labels of a drive as columns, in a static frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.pseudo_labels import KNOWS_FRONT, PseudoLabels

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Observations:
    """K labels of a drive of T frames, frame after frame.

    Attributes:
        values: (K, 9) box columns in the drive's frame.
        frame: (K,) int64, index of the frame.
        place: (K,) int64, index of the label within its frame.
        scores, quality: (K,) in [0, 1].
        labels: (K,) int64, indices into the class names.
        num_points: (K,) int64, numbers of LiDAR points.
        range_m: (K,) distances from the LiDAR in the ground plane, metres.
        bearing: (K, 2) unit vectors from the LiDAR to each label, in the ground plane.
        has_front: (K,) bool, whether the yaw distinguishes front from back: one from a lane does, one from points does
            not.
    """

    values: FloatArray
    frame: IntArray
    place: IntArray
    scores: FloatArray
    quality: FloatArray
    labels: IntArray
    num_points: IntArray
    range_m: FloatArray
    bearing: FloatArray
    has_front: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, index: npt.NDArray[Any]) -> Observations:
        return Observations(**{name: value[index] for name, value in vars(self).items()})


def drive_SE3_lidars(world_SE3_lidar: Sequence[SE3]) -> list[SE3]:
    """The poses in the drive's frame, with the world's axes and its origin at the first pose.

    Boxes are float32, and world coordinates may be millions of metres.
    """
    if not world_SE3_lidar:
        return []
    start = world_SE3_lidar[0].translation
    return [SE3(pose.rotation, pose.translation - start) for pose in world_SE3_lidar]


def observe(labels: Sequence[PseudoLabels], drive_SE3_lidar: Sequence[SE3]) -> Observations:
    """The labels of T frames in the drive's frame."""
    boxes = [frame.boxes.righted(pose) for frame, pose in zip(labels, drive_SE3_lidar, strict=True)]
    counts = [len(b) for b in boxes]
    frame = np.repeat(np.arange(len(boxes)), counts)
    values = np.concatenate([np.zeros((0, 9)), *(b.values.astype(np.float64) for b in boxes)])
    sensor = np.array([pose.translation[:2] for pose in drive_SE3_lidar]).reshape(-1, 2)
    sight = values[:, :2] - sensor[frame]
    range_m = np.linalg.norm(sight, axis=1)
    return Observations(
        values=values,
        frame=frame,
        place=np.concatenate([np.zeros(0, np.int64), *(np.arange(n) for n in counts)]),
        scores=np.concatenate([np.zeros(0), *(b.scores.astype(np.float64) for b in boxes)]),
        quality=np.concatenate([np.zeros(0), *(p.quality.astype(np.float64) for p in labels)]),
        labels=np.concatenate([np.zeros(0, np.int64), *(b.labels for b in boxes)]),
        num_points=np.concatenate([np.zeros(0, np.int64), *(p.num_points for p in labels)]),
        range_m=range_m,
        bearing=sight / np.maximum(range_m, 1e-6)[:, None],
        has_front=np.array([source in KNOWS_FRONT for p in labels for source in p.yaw_sources], np.bool_),
    )


def as_boxes(observations: Observations, class_names: tuple[str, ...]) -> Boxes3D:
    """The observations as boxes in the drive's frame."""
    return Boxes3D(
        observations.values.astype(np.float32), observations.scores.astype(np.float32), observations.labels, class_names
    )
