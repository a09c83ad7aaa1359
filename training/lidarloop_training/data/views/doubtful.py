"""What pseudo-labels do not know: doubtful labels teach nothing, labels on few points teach class and place alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import Boxes3D, points_in_boxes
from lidarloop_core.sample import Annotations, LidarPose, Sample, SampleKey, SampleSource
from lidarloop_training.ranges import check_ranges


@dataclass(frozen=True)
class DoubtConfig:
    """What is not believed of pseudo-labels.

    Attributes:
        min_quality: labels of less quality teach nothing: where they are, training takes the scene neither for an
            object nor for empty; 0 believes all.
        min_points: labels on fewer LiDAR points teach that something of their class is there, but neither its size nor
            its heading; 0 believes all.
        weigh: whether the others count by their quality; else they count alike.
        ignore_unseen: whether places that no camera looks at are left out, instead of being taken for empty.
    """

    min_quality: float = 0.1
    min_points: int = 10
    weigh: bool = True
    ignore_unseen: bool = True

    def __post_init__(self) -> None:
        check_ranges("DoubtConfig", min_quality=(self.min_quality, 0, 1), min_points=(self.min_points, 0, 10**6))


class DoubtfulSource:
    """Pseudo-labelled samples, with what is not believed taken out of their labels.

    A label that teaches nothing has the weight (score) 0; one that teaches class and place alone has no heading (NaN).
    ``[i]`` counts the points in boxes that files give no number for; ``annotations(i)`` believes such a label.

    Args:
        source: samples whose labels have their quality as scores, with cameras where ``config.ignore_unseen``.
        config: what is not believed.
    """

    def __init__(self, source: SampleSource, config: DoubtConfig) -> None:
        self.source = source
        self.config = config

    def __len__(self) -> int:
        return len(self.source)

    @property
    def keys(self) -> Sequence[SampleKey]:
        return self.source.keys

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        annotations = sample.annotations
        if annotations is None:
            return sample
        num_points = annotations.num_lidar_pts.copy()
        unknown = num_points < 0
        num_points[unknown] = points_in_boxes(sample.keyframe.points, annotations.boxes.values[unknown]).sum(axis=1)
        counted = dataclasses.replace(annotations, num_lidar_pts=num_points)
        return dataclasses.replace(sample, annotations=self._doubted(counted))

    def annotations(self, index: int) -> Annotations | None:
        annotations = self.source.annotations(index)
        return None if annotations is None else self._doubted(annotations)

    def pose(self, index: int) -> LidarPose:
        return self.source.pose(index)

    def _doubted(self, annotations: Annotations) -> Annotations:
        boxes, num_points = annotations.boxes, annotations.num_lidar_pts
        is_doubtful = boxes.scores < self.config.min_quality
        values = boxes.values.copy()
        values[(num_points >= 0) & (num_points < self.config.min_points) & ~is_doubtful, 6] = np.nan
        weights = boxes.scores if self.config.weigh else np.ones(len(boxes), np.float32)
        weights = np.where(is_doubtful, np.float32(0), weights).astype(np.float32)
        return dataclasses.replace(
            annotations,
            boxes=Boxes3D(values, weights, boxes.labels, boxes.class_names),
            in_view_only=self.config.ignore_unseen,
        )


def doubt_counts(source: DoubtfulSource) -> npt.NDArray[np.int64]:
    """(2,) numbers of labels of a source, and of those that teach nothing; reads no cloud."""
    counts = np.zeros(2, np.int64)
    for index in range(len(source)):
        annotations = source.annotations(index)
        if annotations is not None:
            counts += (len(annotations.boxes), int((annotations.boxes.scores == 0).sum()))
    return counts
