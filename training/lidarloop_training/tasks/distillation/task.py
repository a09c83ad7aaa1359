"""Distillation: a detector that learns to see like one on painted points, by four levels beside its own loss.

Source: S2M2-SSD (Zheng et al., CVPR 2022). Each level is in ``losses/distillation`` with its equations; here they meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

import tyro
from torch import Tensor, nn

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import SampleSource
from lidarloop_training.losses.center import center_loss
from lidarloop_training.losses.distillation.config import DistillationLossConfig, Level
from lidarloop_training.losses.distillation.instances import MapPlace, instance_loss
from lidarloop_training.losses.distillation.points import point_loss
from lidarloop_training.losses.distillation.responses import CrucialResponses, crucial_responses, response_loss
from lidarloop_training.losses.distillation.voxels import all_voxels, crucial_voxels, voxel_loss
from lidarloop_training.models.detector import DetectorFeatures, map_stride
from lidarloop_training.tasks.detection.export_view import DetectionView
from lidarloop_training.tasks.detection.task import DetectionConfig, DetectionTask
from lidarloop_training.tasks.distillation.dataset import (
    DistillationBatch,
    DistillationDataset,
    DistillationExample,
    collate,
)
from lidarloop_training.tasks.distillation.instances import instances
from lidarloop_training.tasks.distillation.occupied import LevelGrid, level_grid
from lidarloop_training.tasks.distillation.student import DistilledStudent, StudentFeatures, adapters_for
from lidarloop_training.tasks.distillation.teacher import Teacher, level_channels
from lidarloop_training.tasks.task import Forward, LossTerms


@dataclass(frozen=True)
class TaughtBy:
    """What a student's checkpoint holds of its teacher.

    Attributes:
        weights_sha256: hash of the teacher's weights; "" before one is chosen.
        channels: features of the teacher's voxels at the level compared, which the adapters lead to.
        point_columns: columns of the points that it sees.
    """

    weights_sha256: str = ""
    channels: int = 0
    point_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class DistillationConfig(DetectionConfig):
    """Settings of a distillation: those of the student as a detector, and the levels.

    Attributes:
        distillation: levels, their weights and choices.
        taught_by: the teacher, as `lidarloop distill --teacher` finds it.
    """

    name: ClassVar[str] = "distillation"

    distillation: DistillationLossConfig = field(default_factory=DistillationLossConfig)
    taught_by: Annotated[TaughtBy, tyro.conf.Suppress] = field(default_factory=TaughtBy)

    def task(self) -> DistillationTask:  # type: ignore[override]  # the settings are a detector's, the task is not
        """The task without its teacher: it builds and exports the student, and cannot train it."""
        return DistillationTask(self)

    def with_teacher(self, teacher: Teacher) -> DistillationConfig:
        """The same distillation by a teacher.

        Raises:
            ConfigError: student and teacher cannot be compared.
        """
        teacher.check_student(self)
        return replace(
            self,
            taught_by=TaughtBy(
                teacher.weights_sha256,
                teacher.level_channels(self.distillation.voxel_level),
                teacher.config.spec.point_columns,
            ),
        )


class DistillationTask:
    """Distillation as the training core sees it; see ``Task``.

    Args:
        config: the settings.
        teacher: the teacher that they name; None where nothing is learnt, to build, load or export a student.
    """

    def __init__(self, config: DistillationConfig, teacher: Teacher | None = None) -> None:
        self.config = config
        self.spec = config.spec
        self._teacher = teacher
        self._detection = DetectionTask(config)
        self._groups = self._detection.group_of_class
        self._columns = config.taught_by.point_columns or config.spec.point_columns

    def build(self) -> DistilledStudent:
        """A new student with its adapters; see ``Task.build``.

        Raises:
            ConfigError: the network's settings contradict one another, or the level compared is not there.
        """
        detector, level = self._detection.build(), self._level
        ours = level_channels(self.config, level.number)
        adapters = adapters_for(
            self.spec, self.config.distillation.levels, level, ours, self.config.taught_by.channels or ours
        )
        return DistilledStudent(self.spec, detector, adapters, level.number)

    def check(self, source: SampleSource, *, training: bool) -> str:
        """Objects by class; see ``DetectionTask.check``."""
        return self._detection.check(source, training=training)

    def dataset(self, source: SampleSource, *, training: bool, seed: int) -> DistillationDataset:
        """Examples of labelled samples whose points are painted; see ``DetectionTask.dataset``."""
        scenes = DetectionTask(replace(self.config, spec=self._taught_spec))
        made = scenes.dataset(source, training=training, seed=seed)
        return DistillationDataset(made, self._level, self.config.distillation.point)

    def collate(self, examples: Sequence[DistillationExample]) -> DistillationBatch:
        """One batch of examples, at least one."""
        columns = [self._columns.index(name) for name in self.spec.point_columns]
        return collate(examples, self._taught_spec, columns, self._level.map_shape)

    def loss(self, network: Forward, batch: DistillationBatch) -> LossTerms:
        """Equation 13: the student's own loss, and μ times the sum of the levels.

        Raises:
            ConfigError: the task has no teacher.
        """
        if self._teacher is None:
            raise ConfigError(
                "a distillation received no teacher; expected one to learn from: `lidarloop distill --teacher RUN`"
            )
        student: StudentFeatures = network(*batch.inputs, batch_size=batch.batch_size)
        taught = self._teacher.features(batch)
        output, groups = student.detector.output, self._groups.to(batch.map_cells.device)
        own = center_loss(output, batch.targets, groups, self.config.loss)
        config = self.config.distillation
        crucial = crucial_responses(output.heatmap.sigmoid(), batch.targets.heatmap, groups, config.response.threshold)
        parts: dict[str, Tensor] = {
            name: self._level_loss(name, student, taught, crucial, batch) for name in self.config.distillation.levels
        }
        total = own.total + config.weight * sum(parts.values(), start=own.total.new_zeros(()))
        return LossTerms(total, {"heatmap": own.heatmap, "regression": own.regression, **parts})

    def _level_loss(
        self,
        name: Level,
        student: StudentFeatures,
        taught: DetectorFeatures,
        crucial: CrucialResponses,
        batch: DistillationBatch,
    ) -> Tensor:
        config, size = self.config.distillation, batch.batch_size
        if name == "response":
            groups = self._groups.to(batch.map_cells.device)
            return response_loss(student.detector.output, taught.output, crucial, groups, config.response)
        if name == "instance":
            return self._instance_loss(student.detector, taught, crucial, batch)
        ours, theirs = student.adapted[name], taught.levels[self._level.number].float()
        if name == "point":
            return point_loss(ours, theirs, batch.points, size, config.point)
        voxels = crucial_voxels(crucial, batch.map_cells) if config.voxel.only_crucial else all_voxels(batch.map_cells)
        return voxel_loss(ours, theirs, voxels, batch.cloud_of_voxel, size, config.voxel)

    def _instance_loss(
        self, student: DetectorFeatures, taught: DetectorFeatures, crucial: CrucialResponses, batch: DistillationBatch
    ) -> Tensor:
        assert self._teacher is not None
        head = self._teacher.network.head  # of the student's grid, classes and groups, as was checked
        config = self.config.distillation.instance
        boxes = instances(student.output, head, crucial, batch.boxes, config)
        place = MapPlace(head.low_m, head.cell_size_m)
        return instance_loss(student.bev.float(), taught.bev.float(), boxes, place, config)

    def export_view(self, network: nn.Module) -> DetectionView:
        """The student as any detector; its adapters are left out."""
        assert isinstance(network, DistilledStudent)
        return self._detection.export_view(network.detector())

    @property
    def _taught_spec(self) -> ModelSpec:
        """The student's contract with the teacher's columns."""
        return replace(self.spec, point_columns=self._columns)

    @property
    def _level(self) -> LevelGrid:
        return level_grid(self.spec, self.config.distillation.voxel_level, map_stride(self.spec, self.config.network))
