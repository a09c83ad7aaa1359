"""Samples → clouds with masked BEV cells, and what was in these: a torch data set.

What is random about an example depends on (seed, epoch, sample index) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lidarloop_core.model.group import GroupedCloud, group_cloud
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.sweeps import network_points
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.point_labels import is_in_range
from lidarloop_training.models.sparse.rulebook import Rulebook
from lidarloop_training.ranges import check_ranges
from lidarloop_training.tasks.augment import AugmentConfig, augment
from lidarloop_training.tasks.grouped import collate_grouped
from lidarloop_training.tasks.task import ExampleKey, Examples

_NO_BOXES = np.zeros((0, 9), np.float32)


@dataclass(frozen=True)
class MaskConfig:
    """What is masked, and what of it is found again.

    Attributes:
        share: share of the cells with points that is masked.
        max_points: number of points of a cell that are found again; of more, so many are drawn.
    """

    share: float = 0.7
    max_points: int = 20

    def __post_init__(self) -> None:
        check_ranges("MaskConfig", share=(self.share, 0.01, 0.99), max_points=(self.max_points, 1, 1000))


class MaskedCells(NamedTuple):
    """K masked cells of a cloud's map, and their points.

    Attributes:
        cell: (K,) int64 row × columns + column of the map.
        points: (K, Q, 3) float32 metres from the cell's centre, and from the middle of the model's heights.
        is_point: (K, Q) bool, False for filling.
        num_points: (K,) int64 number of points of the cell, ≥ 1.
    """

    cell: npt.NDArray[np.int64]
    points: npt.NDArray[np.float32]
    is_point: npt.NDArray[np.bool_]
    num_points: npt.NDArray[np.int64]


class MaskedTargets(NamedTuple):
    """The K masked cells of a batch as tensors; see ``MaskedCells``.

    Attributes:
        cell: (K,) int64 (sample × rows + row) × columns + column of the maps.
        points: (K, Q, 3) float32 metres from the cell's centre, and from the middle of the model's heights.
        is_point: (K, Q) bool, False for filling.
        num_points: (K,) int64 number of points of the cell, ≥ 1.
    """

    cell: Tensor
    points: Tensor
    is_point: Tensor
    num_points: Tensor


class MaskedExample(NamedTuple):
    """One sample, ready to be put into a batch: what is left of its cloud, grouped, and what was taken from it."""

    cloud: GroupedCloud
    masked: MaskedCells


class MaskedBatch(NamedTuple):
    """What the network takes, and what it should find.

    Attributes:
        inputs: the spec's inputs, in its order, all samples one after another; see ``collate_grouped``.
        masked: the masked cells of all samples.
        batch_size: number of samples.
    """

    inputs: tuple[Tensor | Rulebook, ...]
    masked: MaskedTargets
    batch_size: int

    def to(self, device: torch.device) -> MaskedBatch:
        """The batch on another device."""
        masked = MaskedTargets(*(values.to(device) for values in self.masked))
        return MaskedBatch(tuple(each.to(device) for each in self.inputs), masked, self.batch_size)


class MaskedDataset(Examples[MaskedExample]):
    """Masked examples by ``ExampleKey``.

    Args:
        source: samples; nothing but their clouds is read.
        spec: contract of the network that they are for.
        map_shape: columns and rows of the map whose cells are masked.
        mask: what is masked.
        augment: limits of the random changes.
        seed: seed for mask and changes.
    """

    def __init__(
        self,
        source: SampleSource,
        spec: ModelSpec,
        map_shape: tuple[int, int],
        *,
        mask: MaskConfig,
        augment: AugmentConfig,
        seed: int,
    ) -> None:
        self.source, self.spec, self.map_shape = source, spec, map_shape
        self.mask, self.augment, self.seed = mask, augment, seed

    def __len__(self) -> int:
        return len(self.source)

    def token(self, sample: int) -> str:
        return self.source.keys[sample].token

    def __getitem__(self, key: ExampleKey) -> MaskedExample:
        """One example."""
        spec = self.spec
        sweeps = self.source[key.sample].sweeps[: spec.num_sweeps]
        points = network_points(sweeps, spec.point_columns, spec.column_limits)
        rng = np.random.default_rng((self.seed, key.epoch, key.sample))
        points, _ = augment(points, _NO_BOXES, self.augment, rng)
        points = points[is_in_range(points, spec)]
        is_masked, masked = mask_cells(points, spec, self.map_shape, self.mask, rng)
        return MaskedExample(group_cloud(points[~is_masked].copy(), spec), masked)


def mask_cells(
    points: npt.NDArray[np.float32],
    spec: ModelSpec,
    map_shape: tuple[int, int],
    config: MaskConfig,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.bool_], MaskedCells]:
    """Draws cells among those with points.

    Args:
        points: (N, C) in the model's range, x y z first, metres, LiDAR frame.
        spec: gives the range.
        map_shape: columns and rows of the map.
        config: how many.
        rng: source of all randomness.

    Returns:
        (N,) whether a point's cell is masked, and the masked cells.
    """
    low, high = np.array(spec.grid.ranges_m, np.float64).T
    size = (high - low)[:2] / map_shape
    place = np.minimum(((points[:, :2] - low[:2]) / size).astype(np.int64), np.array(map_shape) - 1)
    cell = place[:, 1] * map_shape[0] + place[:, 0]
    occupied = np.unique(cell)
    chosen = np.sort(rng.permutation(occupied)[: round(len(occupied) * config.share)])
    is_masked = np.isin(cell, chosen)
    inside = rng.permutation(np.flatnonzero(is_masked))  # so that the first of a cell are drawn at random
    row_of_point = np.searchsorted(chosen, cell[inside])
    order = np.argsort(row_of_point, kind="stable")
    inside, row_of_point = inside[order], row_of_point[order]
    count = np.bincount(row_of_point, minlength=len(chosen))
    rank = np.arange(len(inside)) - (np.cumsum(count) - count)[row_of_point]
    taken = rank < config.max_points
    rows, columns = np.divmod(chosen, map_shape[0])
    center = np.column_stack([np.column_stack([columns, rows]) + 0.5, np.zeros(len(chosen))])
    center = center * (*size, 1) + (*low[:2], (low[2] + high[2]) / 2)
    found = np.zeros((len(chosen), config.max_points, 3), np.float32)
    is_point = np.zeros(found.shape[:2], np.bool_)
    where = row_of_point[taken], rank[taken]
    found[where] = points[inside[taken], :3] - center[row_of_point[taken]]
    is_point[where] = True
    return is_masked, MaskedCells(chosen, found, is_point, count)


def collate(examples: Sequence[MaskedExample], spec: ModelSpec, num_cells: int) -> MaskedBatch:
    """One batch of examples, at least one; ``num_cells`` is the number of cells of a map."""
    of_batch = [example.masked._replace(cell=example.masked.cell + i * num_cells) for i, example in enumerate(examples)]
    masked = MaskedTargets(*(torch.from_numpy(np.concatenate(values)) for values in zip(*of_batch, strict=True)))
    inputs = collate_grouped([example.cloud for example in examples], spec)
    return MaskedBatch(inputs, masked, len(examples))
