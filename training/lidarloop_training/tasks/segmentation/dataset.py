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

from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import SampleSource
from lidarloop_core.sparse.cloud import VoxelCloud, group_for_network
from lidarloop_training.data.point_labels import UNLABELLED, is_in_range, labelled_points
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
