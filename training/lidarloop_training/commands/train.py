"""`lidarloop train RECIPE`: a detector from labelled samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from lidarloop_training.data.views.label_share import split_labels
from lidarloop_training.recipes.pillar_drives import pillar_drives, pillar_fine_tune, pillar_pretrain
from lidarloop_training.recipes.pillar_toytown import pillar_smoke, pillar_toytown
from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.stages.trainer import fit, new_accelerator, open_data

if TYPE_CHECKING:
    Recipe = TrainConfig
else:
    Recipe = tyro.extras.subcommand_type_from_defaults(
        {
            "pillar-toytown": pillar_toytown(),
            "pillar-smoke": pillar_smoke(),
            "pillar-drives": pillar_drives(),
            "pillar-pretrain": pillar_pretrain(),
            "pillar-fine-tune": pillar_fine_tune(),
        },
        descriptions={
            "pillar-toytown": "The model that the repository carries.",
            "pillar-smoke": "A tiny network and a few steps: the way through, not a model.",
            "pillar-drives": "Labelled drives of your own: --data.path DIR.",
            "pillar-pretrain": "Drives with pseudo-labels: --data.path DIR --data.labels OUT.",
            "pillar-fine-tune": "A share of the labels: --data.path DIR --init-from RUN --labels.percent 5.",
        },
    )


def train(config: Annotated[tyro.conf.AvoidSubcommands[Recipe], tyro.conf.arg(name="")]) -> None:
    """Trains a detector and writes checkpoints; the same command takes an interrupted run up again.

    On several GPUs: torchrun --nproc-per-node N -m lidarloop_core.cli train RECIPE.

    Args:
        config: the recipe; every value of it can be overridden.
    """
    accelerator = new_accelerator()
    console = Console(quiet=not accelerator.is_main_process)
    with accelerator.main_process_first():
        training, validation = open_data(config.data, config.spec.num_sweeps, console)
    labelled, _ = split_labels(training, config.labels)
    folder = fit(config, labelled, validation, accelerator=accelerator, console=console)
    console.print(f"next: lidarloop export {folder} model.onnx", soft_wrap=True)
