"""Labelled samples with pictures → examples: the scene changed once, and the cameras' table changed with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lidarloop_core.camera_bev.lift_table import LiftTable, dark_table
from lidarloop_core.camera_bev.pictures import Pictures, pictures_of
from lidarloop_core.camera_bev.rig import CameraRig
from lidarloop_core.model.group import GroupedCloud, group_cloud
from lidarloop_core.model.spec import ModelSpec
from lidarloop_training.tasks.detection.dataset import DetectionBatch, DetectionDataset, collate_targets
from lidarloop_training.tasks.detection.targets import CenterTargets, center_targets
from lidarloop_training.tasks.grouped import collate_grouped
from lidarloop_training.tasks.task import ExampleKey, Examples

_SEED = 0xCA3


@dataclass(frozen=True)
class FusionExample:
    """One sample, ready to be put into a batch.

    Attributes:
        cloud: its points, grouped; None for a network on cameras alone.
        images: (cameras, height, width, 3) uint8 pictures, zeros for a camera without one.
        table: where their features fall in the changed scene.
        targets: what the network should answer.
    """

    cloud: GroupedCloud | None
    images: npt.NDArray[np.uint8]
    table: LiftTable
    targets: CenterTargets


class FusionDataset(Examples[FusionExample]):
    """Examples by ``ExampleKey``.

    Args:
        scenes: the changed scenes.
        rig: what the model takes of the cameras.
        camera_dropout: share of the examples whose cameras are dark.
    """

    def __init__(self, scenes: DetectionDataset, rig: CameraRig, camera_dropout: float) -> None:
        self.scenes = scenes
        self.rig = rig
        self.camera_dropout = camera_dropout
        self.summary = scenes.summary

    def __len__(self) -> int:
        return len(self.scenes)

    def token(self, sample: int) -> str:
        return self.scenes.token(sample)

    def __getitem__(self, key: ExampleKey) -> FusionExample:
        """One example.

        Raises:
            DatasetError: the sample is unlabelled, or a picture cannot be read.
        """
        scenes, spec = self.scenes, self.scenes.spec
        scene = scenes.scene(key)
        sample = scene.sample
        seen: Pictures = pictures_of(sample.cameras, sample.keyframe, self.rig, spec.grid, scene.change.matrix)
        # The pictures stay: the norms of the image encoder would otherwise see black ones.
        rng = np.random.default_rng((scenes.seed, key.epoch, key.sample, _SEED))
        table = dark_table(self.rig, spec.grid) if rng.random() < self.camera_dropout else seen.table
        return FusionExample(
            cloud=group_cloud(scene.points, spec) if spec.takes_points else None,
            images=seen.images,
            table=table,
            targets=center_targets(scene.boxes, spec, scenes.stride, scene.unseen),
        )


def collate(examples: Sequence[FusionExample], spec: ModelSpec) -> DetectionBatch:
    """One batch of examples, at least one."""
    clouds = [e.cloud for e in examples if e.cloud is not None]
    assert spec.cameras is not None
    of_points = collate_grouped(clouds, spec) if clouds else ()
    images = torch.from_numpy(np.concatenate([e.images for e in examples]))
    tables = collate_tables([e.table for e in examples], spec.cameras)
    return DetectionBatch((*of_points, images, *tables), collate_targets([e.targets for e in examples]))


def collate_tables(tables: Sequence[LiftTable], rig: CameraRig) -> tuple[Tensor, Tensor, Tensor]:
    """The tables of a batch, at least one, as ``CameraBevEncoder.forward`` takes them.

    Returns:
        places (R, 8), rows (U, 16) and cells (B · columns · rows,), all int32, counted on over the batch.
    """

    def counted_on(arrays: Sequence[npt.NDArray[np.int32]], numbers: Sequence[int]) -> Tensor:
        first = np.cumsum([0, *numbers[:-1]])
        moved = [np.where(array > 0, array + before, 0) for array, before in zip(arrays, first, strict=True)]
        return torch.from_numpy(np.concatenate(moved).astype(np.int32))

    return (
        counted_on([t.places for t in tables], [rig.num_places] * len(tables)),
        counted_on([t.rows for t in tables], [len(t.places) for t in tables]),
        counted_on([t.cells for t in tables], [len(t.rows) for t in tables]),
    )
