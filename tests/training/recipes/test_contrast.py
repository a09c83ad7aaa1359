"""Recipes of pre-training: of the networks that fine-tuning builds, and read from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import tyro  # noqa: E402

from lidarloop_training.commands import pretrain  # noqa: E402
from lidarloop_training.data.drive_folder import DriveFolder  # noqa: E402
from lidarloop_training.models.point_network import point_network  # noqa: E402
from lidarloop_training.recipes import contrast_drives as drives  # noqa: E402
from lidarloop_training.recipes import contrast_toytown as toytown  # noqa: E402
from lidarloop_training.recipes.pillar_drives import pillar_drives  # noqa: E402
from lidarloop_training.recipes.pillar_toytown import pillar_toytown  # noqa: E402
from lidarloop_training.recipes.segment_drives import segment_drives  # noqa: E402
from lidarloop_training.recipes.segment_toytown import segment_toytown  # noqa: E402
from lidarloop_training.recipes.voxel_nuscenes import voxel_nuscenes  # noqa: E402
from lidarloop_training.recipes.voxel_toytown import voxel_toytown  # noqa: E402
from lidarloop_training.stages.config import TrainConfig  # noqa: E402
from lidarloop_training.stages.saved_task import as_json, from_json, task_type  # noqa: E402

HERE = Path("drives")

PAIRS: dict[str, tuple[TrainConfig[Any], TrainConfig[Any]]] = {
    "pillars": (toytown.contrast_toytown(), pillar_toytown()),
    "voxels": (toytown.contrast_voxel_toytown(), voxel_toytown()),
    "U-Net": (toytown.contrast_segment_toytown(), segment_toytown()),
    "masked": (toytown.masked_bev_toytown(), pillar_toytown()),
    "pillar drives": (drives.contrast_drives(HERE), pillar_drives(HERE)),
    "voxel drives": (drives.contrast_voxel_nuscenes(HERE), voxel_nuscenes(HERE)),
    "U-Net drives": (drives.contrast_segment_drives(HERE), segment_drives(HERE)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_network_is_pre_trained_that_its_recipe_fine_tunes(name: str) -> None:
    pretraining, training = PAIRS[name]
    assert (pretraining.task.spec, pretraining.task.network) == (training.task.spec, training.task.network)
    body = point_network(pretraining.task.spec, pretraining.task.network).state_dict()
    whole = training.task.task().build().state_dict()
    assert {key: value.shape for key, value in body.items()}.items() <= {k: v.shape for k, v in whole.items()}.items()


@pytest.mark.parametrize("name", PAIRS)
def test_settings_are_read_again_from_a_checkpoint(name: str) -> None:
    task = PAIRS[name][0].task
    assert from_json(task_type(task.name), as_json(task)) == task


def chosen(*arguments: str) -> Any:
    return tyro.cli(tyro.conf.AvoidSubcommands[pretrain.Recipe], args=list(arguments)).config


def test_drives_encoder_and_modality_are_named_on_the_command_line() -> None:
    config = chosen(
        "contrast-drives", "--data.path", "waymo", "--data.source", "waymo", "--task.image.path", "r50.pth.tar",
        "--task.modality", "multi", "--task.image.levels", "4", "--task.loss.temperature", "0.2",
        "--task.loss.no-normalise", "--task.grouping.units.num-seeds", "512",
    )  # fmt: skip
    assert config.data == DriveFolder(Path("waymo"), source="waymo", cameras=True)
    assert (config.task.image.kind, config.task.image.path) == ("moco-v3", Path("r50.pth.tar"))
    assert (config.task.modality, config.task.image.levels) == ("multi", (4,))
    assert (config.task.loss.temperature, config.task.loss.normalise) == (0.2, False)
    assert config.task.grouping.units.num_seeds == 512


def test_a_2d_network_is_tapped_from_the_command_line() -> None:
    config = chosen(
        "contrast-toytown", "--task.image.kind", "onnx", "--task.image.path", "net.onnx", "--task.image.taps", "a", "b"
    )
    assert (config.task.image.kind, config.task.image.taps) == ("onnx", ("a", "b"))
    assert config.data.cameras


def test_the_smoke_recipes_hand_the_image_encoder_on() -> None:
    written = toytown.image_encoder_smoke().run.out / toytown.IMAGE_ENCODER_FILE
    for smoke in (toytown.contrast_smoke(), toytown.contrast_segment_smoke()):
        assert smoke.task.image.path == written
    assert toytown.contrast_toytown().task.image.path == toytown.image_encoder().run.out / toytown.IMAGE_ENCODER_FILE
