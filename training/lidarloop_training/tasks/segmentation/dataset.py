"""Samples with labelled points → segmentation examples, grouped for the network: a torch data set.

What is random about an example depends on (seed, epoch, sample index) alone, as in detection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lidarloop_core.errors import DatasetError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.sweeps import network_points
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_core.sparse.cloud import VoxelCloud, group_for_network
from lidarloop_training.losses.segmentation import UNLABELLED
from lidarloop_training.models.encoders.voxel_features import voxel_grid
from lidarloop_training.models.sparse.rulebook import Rulebook
from lidarloop_training.tasks.augment import AugmentConfig, augment
from lidarloop_training.tasks.grouped import collate_grouped
from lidarloop_training.tasks.task import ExampleKey, Examples

_NO_BOXES = np.zeros((0, 9), np.float32)


@dataclass(frozen=True)
class SegmentationExample:
    """One sample, ready to be put into a batch.

    Attributes:
        cloud: its N points in range, grouped.
        labels: (N,) int64 class of each point, ``UNLABELLED`` for none.
    """

    cloud: VoxelCloud
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class SegmentationBatch:
    """What the network takes and what it should answer.

    Attributes:
        inputs: the spec's inputs, in its order, all samples one after another; see ``collate_grouped``.
        labels: (N,) int64 class of each point of all samples, ``UNLABELLED`` for none.
    """

    inputs: tuple[Tensor | Rulebook, ...]
    labels: Tensor

    def to(self, device: torch.device) -> SegmentationBatch:
        """The batch on another device."""
        return SegmentationBatch(tuple(each.to(device) for each in self.inputs), self.labels.to(device))


class SegmentationDataset(Examples[SegmentationExample]):
    """Segmentation examples by ``ExampleKey``.

    Args:
        source: samples with labelled points.
        spec: contract of the network that they are for.
        augment: limits of the random changes.
        seed: seed for the random changes.
    """

    def __init__(self, source: SampleSource, spec: ModelSpec, *, augment: AugmentConfig, seed: int) -> None:
        self.source = source
        self.spec = spec
        self.augment = augment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source)

    def token(self, sample: int) -> str:
        return self.source.keys[sample].token

    def __getitem__(self, key: ExampleKey) -> SegmentationExample:
        """One example.

        Raises:
            DatasetError: the points of the sample are not labelled.
        """
        points, labels = labelled_points(self.source[key.sample], self.spec)
        rng = np.random.default_rng((self.seed, key.epoch, key.sample))
        # The label travels as a column, so that what leaves out points leaves out their labels.
        with_label, _ = augment(np.column_stack([points, labels]).astype(np.float32), _NO_BOXES, self.augment, rng)
        with_label = with_label[is_in_range(with_label, self.spec)]
        cloud = group_for_network(with_label[:, :-1].copy(), voxel_grid(self.spec), gives_points=True)
        labels = with_label[:, -1].astype(np.int64)
        labels[cloud.index.voxel_of_point == 0] = UNLABELLED  # of a voxel that there was no room for
        return SegmentationExample(cloud, labels)


def collate(examples: Sequence[SegmentationExample], spec: ModelSpec) -> SegmentationBatch:
    """One batch of examples, at least one."""
    labels = torch.from_numpy(np.concatenate([example.labels for example in examples]))
    return SegmentationBatch(collate_grouped([example.cloud for example in examples], spec), labels)


def labelled_points(sample: Sample, spec: ModelSpec) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """What a network sees of a sample, and what it should answer.

    Returns:
        The merged sweeps (N, C) float32 in ``spec.point_columns``, guarded as on the vehicle, metres, LiDAR frame, the
        keyframe's points first; and the class (N,) of each point in ``spec.class_names``, ``UNLABELLED`` where it has
        none of them.

    Raises:
        DatasetError: the points of the sample are not labelled.
    """
    lookup = class_of_label(sample, spec)
    columns = (*spec.point_columns, "label")
    points = network_points(sample.sweeps[: spec.num_sweeps], columns, spec.column_limits)
    return points[:, :-1], lookup[points[:, -1].astype(np.int64)]


def class_of_label(sample: Sample, spec: ModelSpec) -> npt.NDArray[np.int64]:
    """(L,) class in ``spec.class_names`` by the label of a sample's points; ``UNLABELLED`` for what is not learnt.

    Raises:
        DatasetError: the points of the sample are not labelled.
    """
    if not sample.point_classes:
        raise DatasetError(
            f"sample {sample.token} has no labels of points; expected them to segment by: take a nuscenes-lidarseg or "
            "semantic-kitti drive, or toy-town drives of this version (delete older ones, they are made anew)"
        )
    _, *names = sample.point_classes
    place = {name: number for number, name in enumerate(spec.class_names)}
    return np.array([UNLABELLED, *(place.get(name, UNLABELLED) for name in names)], np.int64)


def is_in_range(points: npt.NDArray[np.float32], spec: ModelSpec) -> npt.NDArray[np.bool_]:
    """(N, C) points, x y z first → (N,) whether each lies in the model's range."""
    low, high = np.array(spec.grid.ranges_m, dtype=np.float64).T
    xyz = points[:, :3].astype(np.float64)
    inside: npt.NDArray[np.bool_] = ((xyz >= low) & (xyz < high)).all(axis=1)
    return inside
