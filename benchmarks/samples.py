"""Samples of which a benchmark knows that they are labelled and have poses."""

from __future__ import annotations

from collections.abc import Iterator

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.sample import Annotations, Sample, SampleSource


def each(source: SampleSource) -> Iterator[Sample]:
    """All samples in order; each is read when it is asked for."""
    return (source[i] for i in range(len(source)))


def labels_of(sample: Sample) -> Annotations:
    """Ground truth of a labelled sample, in the frame of the keyframe LiDAR."""
    assert sample.annotations is not None, f"sample {sample.token} is not labelled"
    return sample.annotations


def world_SE3_ego(sample: Sample) -> SE3:
    """Ego pose at the keyframe of a sample with ego-motion."""
    assert sample.keyframe.world_SE3_ego is not None, f"sample {sample.token} has no pose"
    return sample.keyframe.world_SE3_ego


def boxes_in_world(sample: Sample) -> Boxes3D:
    """The labelled boxes of a sample in the world frame."""
    return labels_of(sample).boxes.transformed(world_SE3_ego(sample) @ sample.keyframe.ego_SE3_lidar)
