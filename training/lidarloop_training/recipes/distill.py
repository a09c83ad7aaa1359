"""Students: detectors without cameras that learn from a teacher on painted points (S2M2-SSD)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from lidarloop_training.data.drive_folder import DriveFolder
from lidarloop_training.data.toytown.training_drives import ToyTownDrives
from lidarloop_training.recipes.painted import painted_drives
from lidarloop_training.recipes.pillar_toytown import pillar_smoke, pillar_toytown
from lidarloop_training.recipes.voxel_toytown import voxel_smoke, voxel_toytown
from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.tasks.detection.task import DetectionConfig
from lidarloop_training.tasks.distillation.task import DistillationConfig

DistillationRun = TrainConfig[DistillationConfig]


def distill_toytown() -> DistillationRun:
    """``voxel_toytown``, taught by ``painted_toytown``."""
    return distilled(voxel_toytown())


def distill_pillar_toytown() -> DistillationRun:
    """``pillar_toytown``, taught by ``painted_pillar_toytown``."""
    return distilled(pillar_toytown())


def distill_smoke() -> DistillationRun:
    """``voxel_smoke``, taught by ``painted_smoke``."""
    return distilled(voxel_smoke())


def distill_pillar_smoke() -> DistillationRun:
    """``pillar_smoke``, taught by ``painted_pillar_smoke``."""
    return distilled(pillar_smoke())


def distill_drives(path: Path = tyro.MISSING, paints: Path = tyro.MISSING) -> DistillationRun:
    """A student on a user's drives, taught by ``painted_drives``.

    Args:
        path: folder of the drives.
        paints: the folder that ``lidarloop paint`` printed.
    """
    run = painted_drives(path, paints)
    spec = dataclasses.replace(run.task.spec, name="distill-drives")
    named = dataclasses.replace(run, task=dataclasses.replace(run.task, spec=spec))
    return _student_of(named, Path("out/distill-drives"))


def distilled(run: TrainConfig[DetectionConfig]) -> DistillationRun:
    """A toy-town run of a detector as that of a student: the same network, data and steps, on painted drives."""
    assert isinstance(run.data, ToyTownDrives)
    spec = dataclasses.replace(run.task.spec, name=f"distill-{run.task.spec.name}")
    named = dataclasses.replace(
        run, task=dataclasses.replace(run.task, spec=spec), data=dataclasses.replace(run.data, painted=True)
    )
    return _student_of(named, run.run.out.with_name(f"distill-{run.run.out.name}"))


def _student_of(run: TrainConfig[DetectionConfig], out: Path) -> DistillationRun:
    task = DistillationConfig(**{each.name: getattr(run.task, each.name) for each in dataclasses.fields(run.task)})
    assert isinstance(run.data, DriveFolder) or run.data.painted
    return TrainConfig(
        task=task,
        data=run.data,
        optimisation=run.optimisation,
        run=dataclasses.replace(run.run, out=out),
        seed=run.seed,
    )
