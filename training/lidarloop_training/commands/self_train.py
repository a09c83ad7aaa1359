"""`lidarloop self-train RECIPE`: pre-training on pseudo-labels, fine-tuning on few labels, rounds of self-training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import tyro

from lidarloop_training.commands.choice import Chosen, choice, for_classes
from lidarloop_training.commands.training_run import open_run
from lidarloop_training.data.drive_lookup import drive_named
from lidarloop_training.data.views.concat import ConcatSource
from lidarloop_training.data.views.label_share import Split, split_labels
from lidarloop_training.recipes.pillar_drives import pillar_self_train
from lidarloop_training.recipes.pillar_toytown import self_train_smoke
from lidarloop_training.stages.config import SelfTrainConfig
from lidarloop_training.stages.self_train import learn

if TYPE_CHECKING:
    Recipe = Chosen[SelfTrainConfig]
else:
    Recipe = choice(
        {
            "pillar-self-train": (
                pillar_self_train(),
                "Drives of your own: --fine-tune.data.path DIR --pseudo-labels OUT.",
            ),
            "smoke": (
                self_train_smoke(),
                "A tiny network and a few steps on the toy town: the way through, not a model.",
            ),
        }
    )


def self_train(recipe: Annotated[tyro.conf.AvoidSubcommands[Recipe], tyro.conf.arg(name="")]) -> None:
    """Trains a detector with few labels, stage by stage; the same command resumes an interrupted run.

    Args:
        recipe: the recipe; each of its values can be overridden.
    """
    config = recipe.config
    run = open_run(for_classes(config.fine_tune, recipe.classes))
    config, drives = replace(config, fine_tune=run.config), run.training
    labelled, rest = split_labels(drives, run.config.labels) if config.human_labels else Split.unlabelled(drives)
    more = [
        drive_named(config.unlabelled_source, str(path)).open(
            num_sweeps=run.config.task.spec.num_sweeps, cameras=run.config.task.spec.cameras is not None, lane_map=False
        )
        for path in config.unlabelled
    ]
    run.console.print(f"{len(labelled)} samples with labels, {len(rest) + sum(map(len, more))} without")
    unlabelled = ConcatSource([rest, *more])
    folder = learn(config, labelled, unlabelled, run.validation, accelerator=run.accelerator, console=run.console)
    run.print_next("export", folder, "model.onnx")
