"""Sources made for tests: what every one of them has in common, and what every source has to fulfil."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from unittest import mock

import numpy as np

from lidarloop_core.sample import Annotations, LidarPose, Sample, SampleKey, SampleSource


class MadeSource(ABC):
    """A source whose samples are made in memory: names, labels and poses are those of the samples."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample: ...

    @property
    def keys(self) -> list[SampleKey]:
        samples = (self[index] for index in range(len(self)))
        return [SampleKey(sample.token, sample.scene, sample.stamp_ns) for sample in samples]

    def annotations(self, index: int) -> Annotations | None:
        return self[index].annotations

    def pose(self, index: int) -> LidarPose:
        return LidarPose.of(self[index].keyframe)


class MemorySource(MadeSource):
    """The samples of a sequence."""

    def __init__(self, samples: tuple[Sample, ...] | list[Sample]) -> None:
        self.samples = tuple(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def assert_names_labels_and_poses_need_no_cloud(source: SampleSource, *read_cloud: str) -> None:
    """They equal those of the samples, and none of the functions that read clouds is called for them.

    Args:
        source: what is tested.
        read_cloud: dotted names of functions that read a cloud.
    """
    with contextlib.ExitStack() as patches:
        for name in read_cloud:
            patches.enter_context(mock.patch(name, side_effect=AssertionError(f"{name} was called")))
        keys = list(source.keys)
        labels = [source.annotations(index) for index in range(len(source))]
        poses = [source.pose(index) for index in range(len(source))]
    assert len(keys) == len(source)
    for index, (key, found, pose) in enumerate(zip(keys, labels, poses, strict=True)):
        sample = source[index]
        assert key == (sample.token, sample.scene, sample.stamp_ns)
        keyframe = sample.keyframe
        np.testing.assert_array_equal(pose.ego_SE3_lidar.matrix, keyframe.ego_SE3_lidar.matrix)
        assert (pose.world_SE3_ego is None) == (keyframe.world_SE3_ego is None)
        if pose.world_SE3_ego is not None and keyframe.world_SE3_ego is not None:
            np.testing.assert_array_equal(pose.world_SE3_ego.matrix, keyframe.world_SE3_ego.matrix)
        assert (found is None) == (sample.annotations is None)
        if found is not None and sample.annotations is not None:
            _assert_same_labels(found, sample.annotations)


def _assert_same_labels(found: Annotations, complete: Annotations) -> None:
    assert found.boxes.class_names == complete.boxes.class_names
    for field in ("values", "scores", "labels"):
        np.testing.assert_array_equal(getattr(found.boxes, field), getattr(complete.boxes, field))
    assert found.instance_ids == complete.instance_ids
    known = found.num_lidar_pts >= 0
    np.testing.assert_array_equal(found.num_lidar_pts[known], complete.num_lidar_pts[known])
    seen = np.isfinite(found.visibility)
    np.testing.assert_array_equal(found.visibility[seen], complete.visibility[seen])
