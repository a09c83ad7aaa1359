"""Painted scenes: the boxes of ``BoxScenes``, whose points carry their class as a column, and what is made of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from lidarloop_core.geometry.boxes import points_in_boxes
from lidarloop_core.labelling.painting.paint import paint_columns
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import Sample, Sweep
from lidarloop_training.data.toytown.training_drives import ToyTownDrives
from lidarloop_training.models.detector import NetworkConfig
from lidarloop_training.recipes.pillar_toytown import CENTERPOINT_GROUPS
from lidarloop_training.stages.config import OptimisationConfig, RunConfig, TrainConfig
from lidarloop_training.stages.schedule import OneCycleConfig
from lidarloop_training.tasks.detection.task import DetectionConfig
from lidarloop_training.tasks.distillation.task import DistillationConfig
from tests.builders import VOXEL_DETECTOR
from tests.training.conftest import BoxScenes, small_spec
from tests.training.sources import MadeSource

PAINTED_CLASSES = ("car", "pedestrian")
COLUMNS = ("x", "y", "z", "intensity", "dt")
SPECS = {
    "pillars": dataclasses.replace(small_spec(), point_columns=COLUMNS),
    "voxels": dataclasses.replace(VOXEL_DETECTOR, num_sweeps=2),
}


@dataclasses.dataclass(frozen=True)
class PaintedScenes(MadeSource):
    """Scenes in which a point of a car or a pedestrian is painted so, and those on the left are seen."""

    scenes: BoxScenes = dataclasses.field(default_factory=BoxScenes)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Sample:
        sample = self.scenes[index]
        return dataclasses.replace(sample, sweeps=tuple(self._painted(sample, sweep) for sweep in sample.sweeps))

    @staticmethod
    def _painted(sample: Sample, sweep: Sweep) -> Sweep:
        assert sample.annotations is not None
        boxes = sample.annotations.boxes
        inside = points_in_boxes(sweep.points, boxes.values)
        names = np.array(boxes.names)
        paint = [inside[names == name].any(axis=0) for name in PAINTED_CLASSES]
        points = np.column_stack([sweep.points, sweep.points[:, 1] > 0, *paint]).astype(np.float32)
        return dataclasses.replace(sweep, points=points, columns=(*sweep.columns, *paint_columns(PAINTED_CLASSES)))


def painted_spec(spec: ModelSpec) -> ModelSpec:
    """The same contract on painted points."""
    return dataclasses.replace(spec, point_columns=(*spec.point_columns, *paint_columns(PAINTED_CLASSES)))


def small_network(**changes: Any) -> NetworkConfig:
    """A few channels; for either grid."""
    return NetworkConfig(
        **{
            "class_groups": CENTERPOINT_GROUPS,
            "pillar_channels": 6,
            "voxel_channels": (4, 6, 6),
            "voxel_blocks": (0, 1, 1),
            "map_channels": 8,
            "first_stride": 1,
            "stage_channels": (8, 8),
            "stage_depths": (1, 1),
            "neck_channels": 8,
            "shared_channels": 8,
            "group_channels": 8,
            **changes,
        }
    )


def student_config(spec: ModelSpec, **changes: Any) -> DistillationConfig:
    return DistillationConfig(**{"spec": spec, "network": small_network(), **changes})


def teacher_config(spec: ModelSpec, **changes: Any) -> DetectionConfig:
    return DetectionConfig(spec=painted_spec(spec), network=small_network(**changes))


def run_of(task: DetectionConfig, out: Path, **optimisation: Any) -> TrainConfig[Any]:
    """A run of a few float32 steps."""
    return TrainConfig(
        task=task,
        data=ToyTownDrives(),
        optimisation=OptimisationConfig(
            **{
                "num_steps": 4,
                "batch_size": 2,
                "precision": "float32",
                "schedule": OneCycleConfig(peak_learning_rate=1e-2),
                **optimisation,
            }
        ),
        run=RunConfig(out=out, num_workers=0, num_threads=1, log_every=1, validate_every=2, checkpoint_every=2),
    )
