"""`lidarloop distill RECIPE --teacher RUN`: a detector without cameras that learns from one with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import tyro

from lidarloop_training.commands.choice import Chosen, choice, for_classes
from lidarloop_training.commands.training_run import open_run
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
    run = open_run(config)
    labelled, _ = split_labels(run.training, run.config.labels)
    folder = stage.distill(
        run.config, teacher, labelled, run.validation, accelerator=run.accelerator, console=run.console
    )
    run.print_next("export", folder, "model.onnx")
