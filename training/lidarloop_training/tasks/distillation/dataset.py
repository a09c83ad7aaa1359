"""Labelled, painted samples → examples for student and teacher: one scene, changed once, grouped once.

The teacher's columns are the student's and the paints. So the scene is made with the teacher's, and the student is
given the same points, or means of the same voxels, without the paints: their inputs cannot differ in anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lidarloop_core.geometry.boxes import points_in_boxes
from lidarloop_core.model.group import GroupedCloud, group_cloud
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import names
from lidarloop_training.data.point_labels import is_in_range
from lidarloop_training.losses.center import BatchTargets
from lidarloop_training.losses.distillation.config import PointConfig
from lidarloop_training.losses.distillation.points import ForegroundPoints
from lidarloop_training.models.sparse.rulebook import Rulebook
from lidarloop_training.tasks.detection.dataset import DetectionDataset, collate_targets
from lidarloop_training.tasks.detection.targets import CenterTargets, center_targets
from lidarloop_training.tasks.distillation.neighbours import Neighbours, nearest
from lidarloop_training.tasks.distillation.occupied import LevelGrid, occupied_cells
from lidarloop_training.tasks.grouped import collate_grouped
from lidarloop_training.tasks.task import ExampleKey, Examples

_SEED = 0xD157


@dataclass(frozen=True)
class DistillationExample:
    """One sample, ready to be put into a batch.

    Attributes:
        cloud: its points with the teacher's columns, grouped.
        targets: what the network should answer.
        boxes: (O, 9) float32 its labelled boxes, metres and radians, LiDAR frame.
        map_cells: (V,) int64 row × columns + column of the map's cell below each voxel of the level that is compared;
            -1 for the unused row of a level without voxels.
        neighbours: nearest voxels of the M points inside labelled boxes and the model's range.
        related: (M,) bool, points drawn for the relations.
    """

    cloud: GroupedCloud
    targets: CenterTargets
    boxes: npt.NDArray[np.float32]
    map_cells: npt.NDArray[np.int64]
    neighbours: Neighbours
    related: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DistillationBatch:
    """What student and teacher take, what the student should answer, and where their features are compared.

    Attributes:
        taught_inputs: the teacher's inputs, in its spec's order.
        columned: which of the inputs has the columns of points.
        columns: (C,) int64 the student's columns among the teacher's.
        targets: what the student should answer.
        boxes: (O, 9) labelled boxes of each sample, metres and radians.
        map_cells: (V,) int64 (sample × H + row) × W + column of the map's cell below each voxel; -1 for none.
        cloud_of_voxel: (V,) int64 sample of each voxel.
        points: the points inside labelled boxes and the model's range.
    """

    taught_inputs: tuple[Tensor | Rulebook, ...]
    columned: int
    columns: Tensor
    targets: BatchTargets
    boxes: tuple[Tensor, ...]
    map_cells: Tensor
    cloud_of_voxel: Tensor
    points: ForegroundPoints

    @property
    def batch_size(self) -> int:
        """Number of samples."""
        return int(self.targets.heatmap.shape[0])

    @property
    def inputs(self) -> tuple[Tensor | Rulebook, ...]:
        """The student's inputs, in its spec's order: those of the teacher without the paints."""
        inputs = list(self.taught_inputs)
        columned = inputs[self.columned]
        assert isinstance(columned, Tensor)
        inputs[self.columned] = columned[:, self.columns]
        return tuple(inputs)

    def to(self, device: torch.device) -> DistillationBatch:
        """The batch on another device."""
        return DistillationBatch(
            tuple(each.to(device) for each in self.taught_inputs),
            self.columned,
            self.columns.to(device),
            BatchTargets(*(tensor.to(device) for tensor in self.targets)),
            tuple(boxes.to(device) for boxes in self.boxes),
            self.map_cells.to(device),
            self.cloud_of_voxel.to(device),
            ForegroundPoints(*(tensor.to(device) for tensor in self.points)),
        )


class DistillationDataset(Examples[DistillationExample]):
    """Examples by ``ExampleKey``.

    Args:
        scenes: the changed scenes, with the teacher's columns.
        grid: the level whose voxels are compared.
        config: neighbours and relations of points.
    """

    def __init__(self, scenes: DetectionDataset, grid: LevelGrid, config: PointConfig) -> None:
        self.scenes = scenes
        self.grid = grid
        self.config = config
        self.summary = scenes.summary

    def __len__(self) -> int:
        return len(self.scenes)

    def token(self, sample: int) -> str:
        return self.scenes.token(sample)

    def __getitem__(self, key: ExampleKey) -> DistillationExample:
        """One example.

        Raises:
            DatasetError: the sample is unlabelled.
            CloudFormatError: its points are not painted with the teacher's classes.
        """
        points, boxes, unseen, _, _ = self.scenes.scene(key)
        cloud = group_cloud(points, self.scenes.spec)
        cells = occupied_cells(cloud, self.grid)
        # Without a voxel there is nothing to interpolate; out of range the nearest one is of something else.
        inside = points_in_boxes(points, boxes.values).any(axis=0) & is_in_range(points, self.scenes.spec)
        inside &= len(cells) > 0
        foreground = points[inside, : self.grid.num_axes]
        return DistillationExample(
            cloud=cloud,
            targets=center_targets(boxes, self.scenes.spec, self.scenes.stride, unseen),
            boxes=boxes.values,
            map_cells=self.grid.map_cell_of_rows(cells),
            neighbours=nearest(foreground, self.grid.centers_m(cells), self.config.num_neighbours),
            related=self._drawn(len(foreground), key),
        )

    def _drawn(self, number: int, key: ExampleKey) -> npt.NDArray[np.bool_]:
        """P' of equation 10: the same points whenever this example is made."""
        related = np.zeros(number, np.bool_)
        rng = np.random.default_rng((self.scenes.seed, key.epoch, key.sample, _SEED))
        related[rng.permutation(number)[: self.config.max_relations]] = True
        return related


def collate(
    examples: Sequence[DistillationExample], taught_spec: ModelSpec, columns: Sequence[int], map_shape: tuple[int, int]
) -> DistillationBatch:
    """One batch.

    Args:
        examples: at least one.
        taught_spec: the spec with the teacher's columns.
        columns: the student's columns among the teacher's.
        map_shape: columns and rows of the head's map.
    """
    num_voxels = [len(e.map_cells) for e in examples]
    first_voxel = np.cumsum([0, *num_voxels[:-1]])
    num_points = [len(e.related) for e in examples]
    order = names(taught_spec.inputs)
    num_cells = map_shape[0] * map_shape[1]
    map_cells = [np.where(e.map_cells < 0, -1, e.map_cells + i * num_cells) for i, e in enumerate(examples)]
    indices = [e.neighbours.rows + first for e, first in zip(examples, first_voxel, strict=True)]
    return DistillationBatch(
        taught_inputs=collate_grouped([e.cloud for e in examples], taught_spec),
        columned=order.index("points" if "points" in order else "voxels"),
        columns=torch.tensor(columns),
        targets=collate_targets([e.targets for e in examples]),
        boxes=tuple(torch.from_numpy(e.boxes) for e in examples),
        map_cells=torch.from_numpy(np.concatenate(map_cells)),
        cloud_of_voxel=torch.from_numpy(np.repeat(np.arange(len(examples)), num_voxels)),
        points=ForegroundPoints(
            neighbours=torch.from_numpy(np.concatenate(indices)),
            weights=torch.from_numpy(np.concatenate([e.neighbours.weight for e in examples])),
            cloud=torch.from_numpy(np.repeat(np.arange(len(examples)), num_points)),
            related=torch.from_numpy(np.concatenate([e.related for e in examples])),
        ),
    )
