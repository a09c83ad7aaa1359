"""Distillation as a stage: a teacher from its run, a student's run beside it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console

from lidarloop_core.errors import ConfigError
from lidarloop_core.sample import SampleSource
from lidarloop_training.models.detector import CenterPoint
from lidarloop_training.stages.checkpoint import load_task, weights_sha256
from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.stages.trainer import fit
from lidarloop_training.tasks.detection.task import DetectionTask
from lidarloop_training.tasks.distillation.task import DistillationConfig, DistillationTask
from lidarloop_training.tasks.distillation.teacher import Teacher


def load_teacher(path: Path) -> Teacher:
    """The detector of a run's newest checkpoint, or of one checkpoint, as a teacher.

    Raises:
        ConfigError: there is no checkpoint, it is not readable, or it holds no detector.
    """
    task, network, folder = load_task(path)
    if not isinstance(task, DetectionTask) or not isinstance(network, CenterPoint):
        raise ConfigError(
            f"--teacher received {folder}, which is no detector's; expected a run of `lidarloop train`, e.g. of the "
            "recipe painted-toytown"
        )
    return Teacher(network, task.config, weights_sha256(folder))


def distill(
    config: TrainConfig[DistillationConfig],
    teacher: Teacher,
    training: SampleSource,
    validation: SampleSource,
    *,
    accelerator: Accelerator | None = None,
    console: Console | None = None,
    stop_after: int | None = None,
) -> Path:
    """Trains a student, from the newest checkpoint in ``config.run.out`` on if there is one.

    Args:
        config: the student's run.
        teacher: what it learns from; it stays as it is, and is in none of the run's checkpoints.
        training: labelled samples, the labels being true or pseudo-labels, whose points are painted.
        validation: samples of the same kind, for the loss alone; may be empty.
        accelerator: device and processes; made where None.
        console: where progress is printed; nowhere where None.
        stop_after: stop at this step, as an interruption would.

    Returns:
        The last checkpoint's folder.

    Raises:
        ConfigError: student and teacher cannot be compared, or as ``fit``.
        DatasetError: as ``fit``.
    """
    taught = replace(config, task=config.task.with_teacher(teacher))
    return fit(
        taught,
        training,
        validation,
        accelerator=accelerator,
        console=console,
        stop_after=stop_after,
        make_task=partial(DistillationTask, teacher=teacher),
    )
