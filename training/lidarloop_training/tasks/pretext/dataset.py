"""Samples with pictures → clouds, their units and what these are compared with: a torch data set.

What is random about an example depends on (seed, epoch, sample index) alone, as in detection. Units and targets are
found before the random changes, where the calibration between cloud and cameras holds; the unit of a point then
travels as a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lidarloop_core.model.group import GroupedCloud, group_cloud
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.sweeps import network_points
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_core.sparse.cloud import VoxelCloud
from lidarloop_training.data.point_labels import is_in_range
from lidarloop_training.models.point_network import PointsOfInterest
from lidarloop_training.tasks.augment import augment
from lidarloop_training.tasks.grouped import collate_grouped
from lidarloop_training.tasks.pretext.config import ContrastConfig
from lidarloop_training.tasks.pretext.image_features import ImageFeatures, no_pictures
from lidarloop_training.tasks.pretext.network import View
from lidarloop_training.tasks.pretext.statistics import lidar_statistics
from lidarloop_training.tasks.pretext.unit_choice import group_points
from lidarloop_training.tasks.pretext.units.pooling import pool_images
from lidarloop_training.tasks.pretext.units.sightings import Sightings, find_sightings
from lidarloop_training.tasks.task import ExampleKey, Examples

_NO_BOXES = np.zeros((0, 9), np.float32)


@dataclass(frozen=True)
class CloudView:
    """A cloud under one random change.

    Attributes:
        cloud: its points in range, grouped.
        num_points: number of these points.
        row: (M,) int64 place among them of each point that belongs to a unit.
        xyz: (M, 3) float32 where it lies, metres, LiDAR frame.
        unit: (M,) int64 its unit.
    """

    cloud: GroupedCloud
    num_points: int
    row: npt.NDArray[np.int64]
    xyz: npt.NDArray[np.float32]
    unit: npt.NDArray[np.int64]


@dataclass(frozen=True)
class ContrastExample:
    """One sample, ready to be put into a batch.

    Attributes:
        views: the cloud once, or twice under two random changes; the units are the same.
        num_units: U; each has a point in every view.
        targets: (U, C) float32 what units are compared with; None where views are compared with each other alone.
    """

    views: tuple[CloudView, ...]
    num_units: int
    targets: npt.NDArray[np.float32] | None


@dataclass(frozen=True)
class ContrastBatch:
    """What the network takes.

    Attributes:
        views: all clouds of the batch, once or twice.
        targets: (U, C) of the units of all clouds, one cloud after another; None where there are none.
        units_of_cloud: number of units of each cloud.
    """

    views: tuple[View, ...]
    targets: Tensor | None
    units_of_cloud: tuple[int, ...]

    def to(self, device: torch.device) -> ContrastBatch:
        """The batch on another device."""
        targets = None if self.targets is None else self.targets.to(device)
        return ContrastBatch(tuple(view.to(device) for view in self.views), targets, self.units_of_cloud)


class ContrastDataset(Examples[ContrastExample]):
    """Contrastive examples by ``ExampleKey``.

    Args:
        source: samples, with pictures where the targets are of images.
        config: settings of the task.
        features: maps of the pictures; None where no pictures are read.
        seed: seed for units and random changes.
    """

    def __init__(self, source: SampleSource, config: ContrastConfig, features: ImageFeatures | None, seed: int) -> None:
        self.source = source
        self.config = config
        self.features = features
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source)

    def token(self, sample: int) -> str:
        return self.source.keys[sample].token

    def __getitem__(self, key: ExampleKey) -> ContrastExample:
        """One example.

        Raises:
            DatasetError: the sample has no pictures, and its units are compared with them.
        """
        config, sample = self.config, self.source[key.sample]
        spec = config.spec
        rng = np.random.default_rng((self.seed, key.epoch, key.sample))
        if config.reads_pictures and not sample.cameras:
            raise no_pictures(self.source)
        keyframe = network_points(sample.sweeps[:1], spec.point_columns, spec.column_limits)
        points = network_points(sample.sweeps[: spec.num_sweeps], spec.point_columns, spec.column_limits)
        sightings = sightings_of(sample, keyframe)
        unit, num_units = group_points(sample, keyframe, sightings, config, rng)
        targets = self._targets(sample, keyframe, sightings, (unit, num_units), rng)
        # Older sweeps add to what the network sees; the units are of the keyframe, whose pictures were taken with it.
        with_unit = np.full((len(points), points.shape[1] + 1), -1, np.float32)
        with_unit[:, :-1], with_unit[: len(unit), -1] = points, unit
        views = [self._view(with_unit, rng) for _ in range(1 + config.compares_views)]
        return _with_units_of_all_views(views, num_units, targets)

    def _targets(
        self,
        sample: Sample,
        keyframe: npt.NDArray[np.float32],
        sightings: Sightings,
        units: tuple[npt.NDArray[np.int32], int],
        rng: np.random.Generator,
    ) -> npt.NDArray[np.float32] | None:
        """(U, C) what the units are compared with."""
        unit, num_units = units
        spec = self.config.spec
        if not self.config.compares_targets:
            return None
        if self.features is None:
            kept = unit >= 0
            intensity = np.zeros(kept.sum(), np.float32)
            if "intensity" in spec.point_columns:
                intensity = keyframe[kept, spec.point_columns.index("intensity")] * spec.intensity_scale
            return lidar_statistics(keyframe[kept, :3], intensity, unit[kept], num_units)
        by_camera = self.features.maps(sample.cameras)
        unit_of_point = torch.from_numpy(unit)
        levels = [
            pool_images([torch.from_numpy(m).float() for m in maps], sightings, unit_of_point, num_units)
            for maps in zip(*by_camera, strict=True)
        ]
        targets: npt.NDArray[np.float32] = torch.cat(levels, dim=1).numpy()
        return targets[rng.permutation(num_units)] if self.config.targets == "shuffled-images" else targets

    def _view(self, with_unit: npt.NDArray[np.float32], rng: np.random.Generator) -> CloudView:
        """A random change of points (N, C + 1), the last column their unit or -1."""
        spec = self.config.spec
        changed, _ = augment(with_unit, _NO_BOXES, self.config.augment, rng)
        changed = changed[is_in_range(changed, spec)]
        cloud = group_cloud(changed[:, :-1].copy(), spec)
        in_unit = changed[:, -1] >= 0
        if isinstance(cloud, VoxelCloud):
            in_unit &= cloud.index.voxel_of_point > 0  # not of a voxel that there was no room for
        row = np.flatnonzero(in_unit)
        return CloudView(cloud, len(changed), row, changed[row, :3].copy(), changed[row, -1].astype(np.int64))


def collate(examples: Sequence[ContrastExample], spec: ModelSpec) -> ContrastBatch:
    """One batch of examples, at least one; points, units and clouds are counted on over it."""
    first_unit = np.cumsum([0, *(example.num_units for example in examples)])
    targets = [example.targets for example in examples if example.targets is not None]
    views = zip(*(example.views for example in examples), strict=True)
    return ContrastBatch(
        tuple(_collate_views(view, first_unit, spec) for view in views),
        torch.from_numpy(np.concatenate(targets)) if targets else None,
        tuple(example.num_units for example in examples),
    )


def sightings_of(sample: Sample, keyframe: npt.NDArray[np.float32]) -> Sightings:
    """Where cameras see the keyframe's points (N, C); of a sample without cameras, as if one saw everything."""
    if sample.cameras:
        return find_sightings(keyframe, sample.cameras, sample.keyframe)
    number = len(keyframe)
    pixels = np.zeros((number, 2), np.float32)
    return Sightings(np.arange(number), np.zeros(number, np.int64), pixels, ((1, 1),), number)


def _with_units_of_all_views(
    views: Sequence[CloudView], num_units: int, targets: npt.NDArray[np.float32] | None
) -> ContrastExample:
    """Leaves out units that a random change has taken out of the range in one of the views; the rest is renumbered."""
    present = np.ones(num_units, np.bool_)
    for view in views:
        present &= np.bincount(view.unit, minlength=num_units) > 0
    number = np.cumsum(present) - 1
    kept = []
    for view in views:
        stays = present[view.unit]
        kept.append(CloudView(view.cloud, view.num_points, view.row[stays], view.xyz[stays], number[view.unit[stays]]))
    return ContrastExample(tuple(kept), int(present.sum()), None if targets is None else targets[present])


def _collate_views(views: Sequence[CloudView], first_unit: npt.NDArray[Any], spec: ModelSpec) -> View:
    first_point = np.cumsum([0, *(view.num_points for view in views)])
    points = PointsOfInterest(
        torch.from_numpy(np.repeat(np.arange(len(views)), [len(view.row) for view in views])),
        torch.from_numpy(np.concatenate([view.xyz for view in views])),
        torch.from_numpy(np.concatenate([view.row + first_point[i] for i, view in enumerate(views)])),
    )
    unit = np.concatenate([view.unit + first_unit[i] for i, view in enumerate(views)])
    return View(collate_grouped([view.cloud for view in views], spec), points, torch.from_numpy(unit))
