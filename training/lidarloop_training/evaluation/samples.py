"""Brings detections and ground truth of one sample into one frame of reference.

Results name theirs in ``meta["frame"]``: ``"world"``, or ``"lidar"`` (each sample's own LiDAR) where there is no
ego-motion. Scored is in the *level* frame: its origin at the ego vehicle, its axes those of the world (those of the
vehicle where there is no ego-motion). So distances lie in the world's ground plane as in the devkit, and float32 keeps
micrometres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.results import ResultsFrame
from lidarloop_core.progress import progress
from lidarloop_core.sample import Annotations, Sample, SampleSource
from lidarloop_training.evaluation.metrics.matching import GroundTruth


@dataclass(frozen=True)
class SampleRecord:
    """What scoring keeps of a ``Sample``: everything but the cloud.

    Attributes:
        index: position in its source.
        token: sample token.
        scene: name of the drive.
        ego_SE3_lidar: mounting pose of the keyframe's LiDAR.
        world_SE3_ego: ego pose at the keyframe; None where there is no ego-motion.
        annotations: ground truth in the keyframe LiDAR's frame; None where it is not labelled.
    """

    index: int
    token: str
    scene: str
    ego_SE3_lidar: SE3
    world_SE3_ego: SE3 | None
    annotations: Annotations | None

    @staticmethod
    def of(sample: Sample, index: int) -> SampleRecord:
        keyframe = sample.keyframe
        return SampleRecord(
            index, sample.token, sample.scene, keyframe.ego_SE3_lidar, keyframe.world_SE3_ego, sample.annotations
        )

    @property
    def level_SE3_ego(self) -> SE3:
        return SE3.identity() if self.world_SE3_ego is None else SE3(self.world_SE3_ego.rotation, np.zeros(3))

    @property
    def level_SE3_lidar(self) -> SE3:
        return self.level_SE3_ego @ self.ego_SE3_lidar

    def ground_truth(self) -> GroundTruth:
        """The annotations in the level frame; only for a sample that has some."""
        assert self.annotations is not None
        return GroundTruth(
            boxes=self.annotations.boxes.righted(self.level_SE3_lidar),
            num_lidar_pts=self.annotations.num_lidar_pts,
            visibility=self.annotations.visibility,
        )

    def to_level(self, boxes: Boxes3D, frame: ResultsFrame) -> Boxes3D:
        """Result boxes in the level frame.

        Raises:
            DatasetError: boxes in the world frame, and the sample has no ego pose.
        """
        if frame == "lidar":
            return boxes.transformed(self.level_SE3_lidar)
        if self.world_SE3_ego is None:
            raise DatasetError(
                f"the results are in the world frame, but frame '{self.token}' of the ground truth has no ego pose; "
                "expected results with meta.frame 'lidar', or a source with ego-motion"
            )
        # In float64: at a kilometre from the origin float32 would cost 0.1 mm.
        values = boxes.values.astype(np.float64)
        values[:, :3] -= self.world_SE3_ego.translation
        return Boxes3D(values.astype(np.float32), boxes.scores, boxes.labels, boxes.class_names)

    def to_lidar(self, boxes: Boxes3D, frame: ResultsFrame) -> Boxes3D:
        """Result boxes in the keyframe LiDAR's frame.

        Raises:
            DatasetError: as ``to_level``.
        """
        return self.to_level(boxes, frame).transformed(self.level_SE3_lidar.inverse())

    def to_ego(self, boxes: Boxes3D, frame: ResultsFrame) -> Boxes3D:
        """Result boxes in the vehicle's frame, for pictures: forward is forward however the LiDAR is mounted.

        Raises:
            DatasetError: as ``to_level``.
        """
        return self.to_level(boxes, frame).transformed(self.level_SE3_ego.inverse())


def read_samples(source: SampleSource) -> list[SampleRecord]:
    """All samples of a source, in order; a cloud is read only where the points on its objects have to be counted."""
    return [read_sample(source, i) for i in progress(range(len(source)), "reading the ground truth")]


def read_sample(source: SampleSource, index: int) -> SampleRecord:
    """One sample of a source; its cloud is read only where the points on its objects have to be counted."""
    key, pose, annotations = source.keys[index], source.pose(index), source.annotations(index)
    if annotations is not None and (annotations.num_lidar_pts < 0).any():
        annotations = source[index].annotations
    return SampleRecord(index, key.token, key.drive, pose.ego_SE3_lidar, pose.world_SE3_ego, annotations)


def spread(num_samples: int, count: int) -> list[int]:
    """At most ``count`` positions, evenly over ``num_samples``, both ends included."""
    return sorted({int(i) for i in np.linspace(0, num_samples - 1, min(count, num_samples)).round()})
