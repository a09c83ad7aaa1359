"""What pseudo-labels do not know: doubtful labels teach nothing, labels on few points teach class and place alone.

How high the quality of a label is depends on the 2D model: scores of a small one may all lie below 0.2. So quality
counts in units of that of the best labels, those of the uppermost tenth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import Boxes3D, points_in_boxes
from lidarloop_core.sample import Annotations, LidarPose, Sample, SampleKey, SampleSource
from lidarloop_training.ranges import check_ranges

_BEST = 0.9
"""Quantile of the qualities that is the unit."""


@dataclass(frozen=True)
class DoubtConfig:
    """What is not believed of pseudo-labels. Qualities are relative: 1 is that of the uppermost tenth's lowest.

    Attributes:
        min_quality: labels of less quality teach nothing: where they are, training takes the scene neither for an
            object nor for empty; 0 believes all.
        ghost_quality: labels of even less quality are left out: where they are, training takes the scene for empty.
        min_points: labels on fewer LiDAR points teach that something of their class is there, but neither its size nor
            its heading; 0 believes all.
        weigh: whether the others count by their quality, at most 1; else they count alike.
        ignore_unseen: whether places that no camera looks at are left out, instead of being taken for empty.
    """

    min_quality: float = 0.3
    ghost_quality: float = 0.1
    min_points: int = 10
    weigh: bool = True
    ignore_unseen: bool = True

    def __post_init__(self) -> None:
        check_ranges(
            "DoubtConfig",
            min_quality=(self.min_quality, 0, 1),
            ghost_quality=(self.ghost_quality, 0, 1),
            min_points=(self.min_points, 0, 10**6),
        )
        if self.ghost_quality > self.min_quality:
            raise ConfigError(
                f"DoubtConfig received ghost_quality {self.ghost_quality:g} above min_quality {self.min_quality:g}; "
                "expected at most that"
            )


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
        found = [source.annotations(index) for index in range(len(source))]
        qualities = np.concatenate([np.zeros(0), *(each.boxes.scores for each in found if each is not None)])
        self._best = float(np.quantile(qualities, _BEST)) if len(qualities) else 1.0

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
        quality = annotations.boxes.scores / max(self._best, 1e-9)
        kept = np.flatnonzero(quality >= self.config.ghost_quality)
        boxes, quality, num_points = annotations.boxes[kept], quality[kept], annotations.num_lidar_pts[kept]
        is_believed = quality >= self.config.min_quality
        values = boxes.values.copy()
        values[(num_points >= 0) & (num_points < self.config.min_points) & is_believed, 6] = np.nan
        weights = (np.minimum(quality, 1) if self.config.weigh else 1.0) * is_believed
        return Annotations(
            Boxes3D(values, weights.astype(np.float32), boxes.labels, boxes.class_names),
            tuple(annotations.instance_ids[i] for i in kept),
            num_points,
            annotations.visibility[kept],
            in_view_only=self.config.ignore_unseen,
        )


def doubt_counts(source: DoubtfulSource) -> npt.NDArray[np.int64]:
    """(3,) numbers of labels that teach, that teach nothing, and that were left out; reads no cloud."""
    counts = np.zeros(3, np.int64)
    for index in range(len(source)):
        before, after = source.source.annotations(index), source.annotations(index)
        if before is not None and after is not None:
            taught = int((after.boxes.scores > 0).sum())
            counts += (taught, len(after.boxes) - taught, len(before.boxes) - len(after.boxes))
    return counts
