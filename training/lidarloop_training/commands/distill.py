"""`lidarloop distill RECIPE --teacher RUN`: a detector without cameras that learns from one with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import tyro
from rich.console import Console

from lidarloop_core.shell import command_line
from lidarloop_training.commands.choice import Chosen, choice, for_classes, for_lidar
from lidarloop_training.data.views.label_share import split_labels
from lidarloop_training.recipes.distill import (
    distill_drives,
    distill_pillar_smoke,
    distill_pillar_toytown,
    distill_smoke,
    distill_toytown,
)
from lidarloop_training.stages import distill as stage
from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.stages.trainer import new_accelerator
from lidarloop_training.stages.training_data import open_data
from lidarloop_training.tasks.distillation.task import DistillationConfig

C = TypeVar("C")


@dataclass(frozen=True)
class ChosenStudent(Chosen[C], Generic[C]):
    """A recipe, and the teacher.

    Attributes:
        teacher: run or checkpoint of a detector on painted points, e.g. of `lidarloop train painted-toytown`.
    """

    teacher: Path = tyro.MISSING


if TYPE_CHECKING:
    Recipe = ChosenStudent[TrainConfig[DistillationConfig]]
else:
    Recipe = choice(
        {
            "distill-toytown": (distill_toytown(), "On voxels, taught by painted-toytown."),
            "distill-pillar-toytown": (distill_pillar_toytown(), "On pillars, taught by painted-pillar-toytown."),
            "distill-smoke": (distill_smoke(), "A tiny network and a few steps, taught by painted-smoke."),
            "distill-pillar-smoke": (distill_pillar_smoke(), "The same on pillars, taught by painted-pillar-smoke."),
            "distill-drives": (
                distill_drives(),
                "Drives of your own, with labels or pseudo-labels, painted: --data.path DIR --data.paints PAINTS.",
            ),
        },
        ChosenStudent,
    )


def distill(recipe: Annotated[tyro.conf.AvoidSubcommands[Recipe], tyro.conf.arg(name="")]) -> None:
    """Trains a student that needs no camera, by its labels and by a teacher; the same command resumes it.

    On several GPUs: torchrun --nproc-per-node N -m lidarloop_core.cli distill RECIPE --teacher RUN.

    Args:
        recipe: the recipe; each of its values can be overridden.
    """
    config = for_classes(recipe.config, recipe.classes)
    teacher = stage.load_teacher(recipe.teacher)
    teacher.check_student(config.task)
    accelerator = new_accelerator()
    console = Console(quiet=not accelerator.is_main_process)
    with accelerator.main_process_first():
        training, validation = open_data(config.data, config.task.spec.num_sweeps, console)
    config = for_lidar(config, training, console)
    labelled, _ = split_labels(training, config.labels)
    folder = stage.distill(config, teacher, labelled, validation, accelerator=accelerator, console=console)
    following = command_line("lidarloop", "export", folder, "model.onnx")
    console.print(f"next: {following}", soft_wrap=True, markup=False)
