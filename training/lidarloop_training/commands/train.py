"""`lidarloop train RECIPE`: a network from labelled samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import tyro

from lidarloop_training.commands.choice import Chosen, choice, for_classes, for_paints
from lidarloop_training.commands.training_run import open_run
from lidarloop_training.data.views.label_share import split_labels
from lidarloop_training.recipes.fusion import camera_toytown, fusion_drives, fusion_smoke, fusion_toytown
from lidarloop_training.recipes.painted import (
    painted_drives,
    painted_pillar_smoke,
    painted_pillar_toytown,
    painted_smoke,
    painted_toytown,
)
from lidarloop_training.recipes.pillar_drives import pillar_drives, pillar_fine_tune, pillar_pretrain
from lidarloop_training.recipes.pillar_toytown import pillar_smoke, pillar_toytown
from lidarloop_training.recipes.segment_drives import segment_drives
from lidarloop_training.recipes.segment_toytown import segment_smoke, segment_toytown
from lidarloop_training.recipes.voxel_nuscenes import voxel_nuscenes, voxel_nuscenes_0075
from lidarloop_training.recipes.voxel_toytown import voxel_smoke, voxel_toytown
from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.stages.trainer import fit

if TYPE_CHECKING:
    Recipe = Chosen[TrainConfig[Any]]
else:
    Recipe = choice(
        {
            "pillar-toytown": (pillar_toytown(), "The model that the repository carries."),
            "pillar-smoke": (pillar_smoke(), "A tiny network and a few steps: the way through, not a model."),
            "voxel-toytown": (voxel_toytown(), "Sparse convolutions, on the same drives; see models/voxel-toytown.md."),
            "voxel-smoke": (voxel_smoke(), "The same for a model on voxels."),
            "segment-toytown": (segment_toytown(), "A class for each point, by a sparse U-Net."),
            "segment-smoke": (segment_smoke(), "The same with a tiny network and a few steps."),
            "segment-drives": (segment_drives(), "Drives of your own with labelled points: --data.path DIR."),
            "voxel-nuscenes": (voxel_nuscenes(), "Labelled drives, nuScenes' size, 0.1 m: --data.path DIR."),
            "voxel-nuscenes-0075": (voxel_nuscenes_0075(), "CenterPoint's own size, 0.075 m: --data.path DIR."),
            "pillar-drives": (pillar_drives(), "Labelled drives of your own: --data.path DIR."),
            "pillar-pretrain": (pillar_pretrain(), "Drives with pseudo-labels: --data.path DIR --data.labels OUT."),
            "painted-toytown": (painted_toytown(), "A teacher: voxel-toytown on points painted by 2D masks."),
            "painted-pillar-toytown": (painted_pillar_toytown(), "The same on pillars."),
            "painted-smoke": (painted_smoke(), "The same on voxels with a tiny network and a few steps."),
            "painted-pillar-smoke": (painted_pillar_smoke(), "The same on pillars."),
            "painted-drives": (
                painted_drives(),
                "Labelled drives of your own, painted: --data.path DIR --data.paints PAINTS.",
            ),
            "fusion-toytown": (fusion_toytown(), "voxel-toytown with six cameras beside the points."),
            "camera-toytown": (camera_toytown(), "The same on the cameras alone."),
            "fusion-smoke": (fusion_smoke(), "Points and cameras with a tiny network and a few steps."),
            "fusion-drives": (fusion_drives(), "Labelled drives of your own with pictures: --data.path DIR."),
            "pillar-fine-tune": (
                pillar_fine_tune(),
                "A share of the labels: --data.path DIR --init-from RUN --labels.percent 5.",
            ),
        }
    )


def train(recipe: Annotated[tyro.conf.AvoidSubcommands[Recipe], tyro.conf.arg(name="")]) -> None:
    """Trains a network and writes checkpoints; the same command resumes an interrupted run.

    On several GPUs: torchrun --nproc-per-node N -m lidarloop_core.cli train RECIPE.

    Args:
        recipe: the recipe; each of its values can be overridden.
    """
    run = open_run(for_paints(for_classes(recipe.config, recipe.classes)))
    labelled, _ = split_labels(run.training, run.config.labels)
    folder = fit(run.config, labelled, run.validation, accelerator=run.accelerator, console=run.console)
    run.print_next("export", folder, "model.onnx")
