"""The teacher: a trained detector on painted points, frozen, and what a student has to have in common with it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lidarloop_core.errors import ConfigError
from lidarloop_training.models.detector import CenterPoint, DetectorFeatures, map_stride
from lidarloop_training.tasks.detection.task import DetectionConfig
from lidarloop_training.tasks.distillation.dataset import DistillationBatch


@dataclass(frozen=True)
class Teacher:
    """A frozen network in evaluation mode.

    Attributes:
        network: the detector.
        config: settings that it was trained with.
        weights_sha256: hash of its weights.
    """

    network: CenterPoint
    config: DetectionConfig
    weights_sha256: str

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def features(self, batch: DistillationBatch) -> DetectorFeatures:
        """Its answers and features for a batch, on the batch's device, in float32."""
        self.network.to(batch.map_cells.device)
        return self.network.features(*batch.taught_inputs, batch_size=batch.batch_size)

    def level_channels(self, level: int) -> int:
        """Features of a voxel at a level of its encoder, or of a pillar."""
        return level_channels(self.config, level)

    def check_student(self, student: DetectionConfig) -> None:
        """Whether what the two compute can be compared cell by cell.

        Raises:
            ConfigError: grid, sweeps, classes, groups, map or its channels differ, or the student has a column that the
                teacher lacks.
        """
        ours, theirs = student.spec, self.config.spec
        both = {
            "grid": (ours.grid, theirs.grid),
            "num_sweeps": (ours.num_sweeps, theirs.num_sweeps),
            "class_names": (ours.class_names, theirs.class_names),
            "intensity_scale": (ours.intensity_scale, theirs.intensity_scale),
            "class_groups": (student.network.class_groups, self.config.network.class_groups),
            "shared_channels": (student.network.shared_channels, self.config.network.shared_channels),
            "stride of the map": (map_stride(ours, student.network), map_stride(theirs, self.config.network)),
        }
        for name, (of_student, of_teacher) in both.items():
            if of_student != of_teacher:
                raise ConfigError(
                    f"--teacher received a run whose {name} is {of_teacher}; expected the student's, {of_student}: "
                    "their features are compared cell by cell. Train the teacher, or choose the student's recipe, to "
                    "match"
                )
        if missing := [name for name in ours.point_columns if name not in theirs.point_columns]:
            raise ConfigError(
                f"--teacher received a run whose points lack {', '.join(missing)}; expected all columns of the "
                f"student, {', '.join(ours.point_columns)}, and its own beside them"
            )


def level_channels(config: DetectionConfig, level: int) -> int:
    """Features of a voxel at a level of a detector's encoder, or of a pillar."""
    if config.spec.grid.kind == "pillars":
        return config.network.pillar_channels
    return config.network.voxel_channels[level]
