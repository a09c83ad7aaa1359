"""`lidarloop pretrain RECIPE`: a better start than random weights, from drives without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.progress import Progress

from lidarloop_core.errors import ConfigError
from lidarloop_training.commands.choice import Chosen, choice
from lidarloop_training.commands.training_run import TrainingRun, open_run
from lidarloop_training.data.views.concat import ConcatSource
from lidarloop_training.data.views.label_share import LabelShare
from lidarloop_training.models.image.encoder import write_encoder
from lidarloop_training.recipes.contrast_drives import (
    contrast_drives,
    contrast_segment_drives,
    contrast_voxel_nuscenes,
    image_encoder_drives,
)
from lidarloop_training.recipes.contrast_toytown import (
    IMAGE_ENCODER_FILE,
    contrast_segment_smoke,
    contrast_segment_toytown,
    contrast_smoke,
    contrast_toytown,
    contrast_voxel_toytown,
    image_encoder,
    image_encoder_smoke,
    masked_bev_toytown,
)
from lidarloop_training.stages.checkpoint import load_task
from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.stages.trainer import fit
from lidarloop_training.tasks.pretext.config import ContrastConfig
from lidarloop_training.tasks.pretext.pictures.task import PictureConfig, PictureNetwork
from lidarloop_training.tasks.pretext.task import ContrastTask, SegmenterContrastConfig

if TYPE_CHECKING:
    Recipe = Chosen[TrainConfig[Any]]
else:
    Recipe = choice(
        {
            "image-encoder": (image_encoder(), "A small image encoder on the toy town's pictures: first of all."),
            "contrast-toytown": (contrast_toytown(), "Pillars learn from pictures, on the toy town."),
            "contrast-voxel-toytown": (contrast_voxel_toytown(), "The same on voxels."),
            "contrast-segment-toytown": (contrast_segment_toytown(), "The same for a sparse U-Net."),
            "masked-bev-toytown": (masked_bev_toytown(), "Masked reconstruction, without pictures (BEV-MAE)."),
            "image-encoder-drives": (image_encoder_drives(), "An image encoder on your drives: --data.path DIR."),
            "contrast-drives": (
                contrast_drives(),
                "Pillars, MoCo v3's ResNet-50: --data.path DIR --task.image.path FILE.",
            ),
            "contrast-voxel-nuscenes": (contrast_voxel_nuscenes(), "The same on nuScenes' voxels."),
            "contrast-segment-drives": (contrast_segment_drives(), "The same for a sparse U-Net."),
            "image-encoder-smoke": (image_encoder_smoke(), "A tiny image encoder and a few steps."),
            "contrast-smoke": (contrast_smoke(), "A tiny network and a few steps: the way through, not a model."),
            "contrast-segment-smoke": (contrast_segment_smoke(), "The same for a U-Net."),
        }
    )


def pretrain(recipe: Annotated[tyro.conf.AvoidSubcommands[Recipe], tyro.conf.arg(name="")]) -> None:
    """Pre-trains a network without labels and writes checkpoints; the same command resumes an interrupted run.

    On several GPUs: torchrun --nproc-per-node N -m lidarloop_core.cli pretrain RECIPE.

    Args:
        recipe: the recipe; each of its values can be overridden.

    Raises:
        ConfigError: a share of labels was asked for.
    """
    config = recipe.config
    if config.labels != LabelShare():
        raise ConfigError(
            f"--labels received {config.labels}; expected none: pre-training learns from all samples, without labels. "
            "Give it to `lidarloop train`"
        )
    run = open_run(config)
    _prepare_features(run)
    folder = fit(run.config, run.training, run.validation, accelerator=run.accelerator, console=run.console)
    if run.accelerator.is_main_process:
        run.print_next(*_next_command(run.config, folder))


def _prepare_features(run: TrainingRun) -> None:
    """Runs the image encoder, if the task has one, on every picture that it has not seen, where it is fastest."""
    if not isinstance(run.config.task, ContrastConfig):
        return
    task = ContrastTask(run.config.task, run.accelerator.device)
    if task.features is None:
        return
    source = ConcatSource([run.training, run.validation])
    with run.accelerator.main_process_first(), Progress(console=run.console, transient=True) as progress:
        bar = progress.add_task(f"image features in {task.features.folder}", total=len(source))
        task.prepare(source, lambda done, of: progress.update(bar, completed=done, total=of))


def _next_command(config: TrainConfig[Any], folder: Path) -> tuple[object, ...]:
    """Words of what is to be done with a run; of an image encoder the file is written that the next command takes."""
    if isinstance(config.task, PictureConfig):
        network = load_task(folder).network
        assert isinstance(network, PictureNetwork)
        file = config.run.out / IMAGE_ENCODER_FILE
        write_encoder(network.encoder, file)
        return "pretrain", "contrast-toytown", "--task.image.path", file
    is_segmenter = isinstance(config.task, SegmenterContrastConfig)
    recipe, parts = ("segment-toytown", "decoder") if is_segmenter else ("pillar-toytown", "backbone")
    start = ("--init-from", folder, "--init-parts", "encoder", parts)
    return "train", recipe, *start, "--labels.percent", "5"
