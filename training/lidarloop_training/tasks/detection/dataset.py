"""Samples of any source → augmented, grouped batches with targets for the pillar detector.

Everything random is drawn from (seed, epoch, sample) and the batch order from (seed, epoch): a run that was interrupted
and resumed, or that uses another number of workers, sees the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D, points_in_boxes, wrap_angle
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grouping import PillarIndex, group_pillars
from lidarloop_core.pointcloud.sweeps import merge_sweeps
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_training.losses.center import BatchTargets
from lidarloop_training.tasks.detection.copy_paste import CopyPasteConfig, ObjectDatabase
from lidarloop_training.tasks.detection.targets import CenterTargets, center_targets


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of a whole scene: CenterPoint's (Yin et al., CVPR 2021, section 5), and points left out.

    Attributes:
        flip_left_right: probability of mirroring at the x axis.
        flip_front_back: probability of mirroring at the y axis.
        max_rotation_rad: yaw of the scene is turned by up to this, either way.
        max_scaling: sizes and distances change by up to this share, either way.
        max_drop: up to this share of the points is left out, as if the sensor saw less.
    """

    flip_left_right: float = 0.5
    flip_front_back: float = 0.5
    max_rotation_rad: float = float(np.pi / 8)
    max_scaling: float = 0.05
    max_drop: float = 0.1


NO_AUGMENTATION = AugmentConfig(0.0, 0.0, 0.0, 0.0, 0.0)


def augment(
    points: npt.NDArray[np.float32], values: npt.NDArray[np.float32], config: AugmentConfig, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """One random change of a scene: a point inside a box stays inside it.

    Args:
        points: (N, C), x y z first; metres.
        values: (M, 9) box columns.
        config: how much.
        rng: all randomness comes from it, always the same number of draws.

    Returns:
        The new points and box values; the arguments stay as they are.
    """
    flip_y, flip_x = rng.random(2) < (config.flip_left_right, config.flip_front_back)
    angle = rng.uniform(-1, 1) * config.max_rotation_rad
    scale = 1 + rng.uniform(-1, 1) * config.max_scaling
    kept_share = 1 - rng.random() * config.max_drop
    points = points[rng.random(len(points), dtype=np.float32) < kept_share]  # a new array, changed in place below
    mirror = np.array([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = (turn * mirror * scale).astype(np.float32)

    points[:, :2] = points[:, :2] @ linear.T
    points[:, 2] *= np.float32(scale)
    values = values.copy()
    values[:, 0:2] = values[:, 0:2] @ linear.T
    values[:, 2:6] *= np.float32(scale)
    values[:, 7:9] = values[:, 7:9] @ linear.T
    heading = np.stack([np.cos(values[:, 6]), np.sin(values[:, 6])], axis=1) @ linear.T
    values[:, 6] = wrap_angle(np.arctan2(heading[:, 1], heading[:, 0]))
    return points, values


@dataclass(frozen=True)
class PillarExample:
    """One sample, ready to be put into a batch."""

    pillars: PillarIndex
    targets: CenterTargets


class ExampleKey(NamedTuple):
    """Which example: the sample's index in its source, and the epoch, which decides on the augmentation."""

    epoch: int
    sample: int


@dataclass(frozen=True)
class PillarBatch:
    """What the network takes and what it should say.

    Attributes:
        inputs: points, slot, cell and count of ``PillarDetector.forward``.
        targets: of the same samples.
    """

    inputs: tuple[Tensor, Tensor, Tensor, Tensor]
    targets: BatchTargets

    @property
    def batch_size(self) -> int:
        return int(self.targets.heatmap.shape[0])

    def to(self, device: torch.device) -> PillarBatch:
        """The batch on another device."""
        points, slot, cell, count = (tensor.to(device) for tensor in self.inputs)
        return PillarBatch((points, slot, cell, count), BatchTargets(*(tensor.to(device) for tensor in self.targets)))


class PillarDataset(Dataset[PillarExample]):
    """Examples by ``ExampleKey``.

    Args:
        source: labelled samples.
        spec, stride: of the network that they are for.
        augment: how much each is changed.
        seed: of the changes.
        database: objects to paste into the scenes; None pastes nothing.
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
    ) -> None:
        self.source = source
        self.spec = spec
        self.stride = stride
        self.augment = augment
        self.seed = seed
        self.database = database

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: ExampleKey) -> PillarExample:
        points, boxes = labelled_cloud(self.source[key.sample], self.spec)
        rng = np.random.default_rng((self.seed, key.epoch, key.sample))
        if self.database is not None:
            points, boxes = self.database.paste(points, boxes, rng)
        points, values = augment(points, boxes.values, self.augment, rng)
        boxes = Boxes3D(values, boxes.scores, boxes.labels, boxes.class_names)
        return PillarExample(group_pillars(points, self.spec.pillars), center_targets(boxes, self.spec, self.stride))


def labelled_cloud(sample: Sample, spec: ModelSpec) -> tuple[npt.NDArray[np.float32], Boxes3D]:
    """What a network of ``spec`` sees of a sample, (N, C), and the objects that it should find."""
    points = merge_sweeps(sample.sweeps[: spec.num_sweeps], spec.point_columns)
    return points, visible_boxes(sample, spec.class_names)


def object_database(source: SampleSource, spec: ModelSpec, config: CopyPasteConfig, seed: int) -> ObjectDatabase:
    """All objects of a source for copy-paste; reads each sample once."""
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


def collate(examples: Sequence[PillarExample], spec: ModelSpec) -> PillarBatch:
    """Puts examples one after another; pillars and cells are counted on over the batch."""
    grid = spec.pillars
    first_pillar = np.cumsum([0, *(len(e.pillars.cell) for e in examples[:-1])])
    slots = [
        e.pillars.slot + first * grid.max_points_per_pillar for e, first in zip(examples, first_pillar, strict=True)
    ]
    cells = [e.pillars.cell + i * grid.num_cells for i, e in enumerate(examples)]
    num_objects = [len(e.targets.cell) for e in examples]
    targets = BatchTargets(
        heatmap=torch.from_numpy(np.stack([e.targets.heatmap for e in examples])),
        sample=torch.from_numpy(np.repeat(np.arange(len(examples)), num_objects)),
        cell=torch.from_numpy(np.concatenate([e.targets.cell for e in examples])),
        label=torch.from_numpy(np.concatenate([e.targets.label for e in examples])),
        regression=torch.from_numpy(np.concatenate([e.targets.regression for e in examples])),
        weight=torch.from_numpy(np.concatenate([e.targets.weight for e in examples])),
    )
    points = torch.from_numpy(np.concatenate([e.pillars.points for e in examples]))
    slot, cell = torch.from_numpy(np.concatenate(slots)), torch.from_numpy(np.concatenate(cells))
    count = torch.from_numpy(np.concatenate([e.pillars.count for e in examples]))
    return PillarBatch((points, slot, cell, count), targets)


class StepSampler(Sampler[list[ExampleKey]]):
    """The batches of a whole run, from any step on.

    An epoch is a permutation drawn from (seed, epoch); its last, incomplete batch is left out. With several processes
    each takes its own share of every batch, so that the step count means the same everywhere.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        first_step: int,
        num_steps: int,
        seed: int,
        rank: int,
        world_size: int,
    ) -> None:
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.steps = range(first_step, num_steps)
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.steps_per_epoch = num_samples // (batch_size * world_size)
        if self.steps_per_epoch == 0:
            raise DatasetError(
                f"training received {num_samples} samples; expected at least one batch of "
                f"{batch_size} × {world_size}: use more data or a smaller batch"
            )

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[ExampleKey]]:
        epoch, order = -1, np.zeros(0, np.int64)
        for step in self.steps:
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order = np.random.default_rng((self.seed, epoch)).permutation(self.num_samples)
            first = (step % self.steps_per_epoch * self.world_size + self.rank) * self.batch_size
            yield [ExampleKey(epoch, int(i)) for i in order[first : first + self.batch_size]]
