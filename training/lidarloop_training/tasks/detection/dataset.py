"""Labelled samples → detection examples, grouped for the network: a torch data set.

What is random about an example depends on (seed, epoch, sample index) alone, never on the process, the worker or the
order, so that a run resumes exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D, points_in_boxes
from lidarloop_core.model.group import GroupedCloud, group_cloud
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.sweeps import network_points
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_training.data.views.mixed import MixedSource
from lidarloop_training.losses.center import BatchTargets
from lidarloop_training.models.sparse.rulebook import Rulebook
from lidarloop_training.tasks.augment import AugmentConfig, SceneChange
from lidarloop_training.tasks.detection.copy_paste import CopyPasteConfig, ObjectDatabase
from lidarloop_training.tasks.detection.targets import CenterTargets, center_targets
from lidarloop_training.tasks.detection.unseen import unseen_cells
from lidarloop_training.tasks.grouped import collate_grouped
from lidarloop_training.tasks.task import ExampleKey, Examples, Part


@dataclass(frozen=True)
class DetectionExample:
    """One sample, ready to be put into a batch.

    Attributes:
        cloud: its points, grouped.
        targets: what the network should answer.
    """

    cloud: GroupedCloud
    targets: CenterTargets


@dataclass(frozen=True)
class DetectionBatch:
    """What the network takes and what it should answer.

    Attributes:
        inputs: the spec's inputs, in its order, all samples one after another; see ``collate_grouped``.
        targets: what the network should answer for the same samples.
    """

    inputs: tuple[Tensor | Rulebook, ...]
    targets: BatchTargets

    @property
    def batch_size(self) -> int:
        """Number of samples."""
        return int(self.targets.heatmap.shape[0])

    def to(self, device: torch.device) -> DetectionBatch:
        """The batch on another device."""
        inputs = tuple(each.to(device) for each in self.inputs)
        return DetectionBatch(inputs, BatchTargets(*(tensor.to(device) for tensor in self.targets)))


class Scene(NamedTuple):
    """What an example is made of; metres, LiDAR frame.

    Attributes:
        points: (N, C) float32 in ``spec.point_columns``.
        boxes: the visible boxes.
        unseen: (H, W) bool; cells of the head's map whose objects may lack a label.
        sample: the sample as its source gives it.
        change: how points and boxes were moved.
    """

    points: npt.NDArray[np.float32]
    boxes: Boxes3D
    unseen: npt.NDArray[np.bool_]
    sample: Sample
    change: SceneChange


class DetectionDataset(Examples[DetectionExample]):
    """Detection examples by ``ExampleKey``.

    Args:
        source: labelled samples.
        spec: contract of the network that they are for.
        stride: cells of the input grid that one cell of the head's map spans, each way.
        augment: limits of the random changes.
        seed: seed for the random changes.
        database: objects to paste into the scenes; None pastes nothing.
        summary: one line for the log.
    """

    def __init__(
        self,
        source: SampleSource,
        spec: ModelSpec,
        stride: int,
        *,
        augment: AugmentConfig,
        seed: int,
        database: ObjectDatabase | None = None,
        summary: str = "",
    ) -> None:
        self.source = source
        self.spec = spec
        self.stride = stride
        self.augment = augment
        self.seed = seed
        self.database = database
        self.summary = summary

    def __len__(self) -> int:
        return len(self.source)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Those of a mixed source, else one."""
        if isinstance(self.source, MixedSource):
            return tuple(Part(number, share) for number, share in self.source.shares)
        return super().parts

    def token(self, sample: int) -> str:
        return self.source.keys[sample].token

    def __getitem__(self, key: ExampleKey) -> DetectionExample:
        """One example.

        Raises:
            DatasetError: the sample is unlabelled.
        """
        scene = self.scene(key)
        targets = center_targets(scene.boxes, self.spec, self.stride, scene.unseen)
        return DetectionExample(group_cloud(scene.points, self.spec), targets)

    def scene(self, key: ExampleKey) -> Scene:
        """The changed scene that an example is made of.

        Raises:
            DatasetError: the sample is unlabelled.
        """
        sample = self.source[key.sample]
        points, boxes = labelled_cloud(sample, self.spec)
        rng = np.random.default_rng((self.seed, key.epoch, key.sample))
        if self.database is not None:
            points, boxes = self.database.paste(points, boxes, rng)
        change = SceneChange.draw(self.augment, rng)
        return Scene(
            points=change.of_points(points, rng),
            boxes=Boxes3D(change.of_boxes(boxes.values), boxes.scores, boxes.labels, boxes.class_names),
            unseen=unseen_cells(sample, self.spec, self.stride, change),
            sample=sample,
            change=change,
        )


def collate(examples: Sequence[DetectionExample], spec: ModelSpec) -> DetectionBatch:
    """One batch of examples, at least one."""
    inputs = collate_grouped([e.cloud for e in examples], spec)
    return DetectionBatch(inputs, collate_targets([e.targets for e in examples]))


def collate_targets(targets: Sequence[CenterTargets]) -> BatchTargets:
    """The targets of a batch of samples, at least one."""
    num_objects = [len(each.cell) for each in targets]
    return BatchTargets(
        heatmap=torch.from_numpy(np.stack([each.heatmap for each in targets])),
        sample=torch.from_numpy(np.repeat(np.arange(len(targets)), num_objects)),
        cell=torch.from_numpy(np.concatenate([each.cell for each in targets])),
        label=torch.from_numpy(np.concatenate([each.label for each in targets])),
        regression=torch.from_numpy(np.concatenate([each.regression for each in targets])),
        weight=torch.from_numpy(np.concatenate([each.weight for each in targets])),
        ignored=torch.from_numpy(np.stack([each.ignored for each in targets])),
    )


def labelled_cloud(sample: Sample, spec: ModelSpec) -> tuple[npt.NDArray[np.float32], Boxes3D]:
    """What a network sees of a sample, and the objects that it should find.

    Returns:
        The merged sweeps (N, C) float32 in ``spec.point_columns``, guarded as on the vehicle, and the visible boxes;
        metres, LiDAR frame.

    Raises:
        DatasetError: the sample is unlabelled.
    """
    points = network_points(sample.sweeps[: spec.num_sweeps], spec.point_columns, spec.column_limits)
    return points, visible_boxes(sample, spec.class_names)


def object_database(source: SampleSource, spec: ModelSpec, config: CopyPasteConfig, seed: int) -> ObjectDatabase:
    """All objects of a source for copy-paste; reads each sample once.

    Raises:
        DatasetError: a sample is unlabelled.
    """
    database = ObjectDatabase(spec.class_names, config, seed)
    for i in range(len(source)):
        database.add(*labelled_cloud(source[i], spec))
    return database


def visible_boxes(sample: Sample, class_names: tuple[str, ...]) -> Boxes3D:
    """The labels with at least one LiDAR point of the keyframe inside, of the classes asked for.

    Raises:
        DatasetError: the sample is unlabelled.
    """
    annotations = sample.annotations
    if annotations is None:
        raise DatasetError(f"sample {sample.token} has no annotations; expected a labelled source to train on")
    num_points = annotations.num_lidar_pts.copy()
    unknown = num_points < 0
    num_points[unknown] = points_in_boxes(sample.keyframe.points, annotations.boxes.values[unknown]).sum(axis=1)
    return annotations.boxes[num_points > 0].relabelled(class_names)
