"""Recipes with cameras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch")

import tyro  # noqa: E402

from lidarloop_training.commands import train  # noqa: E402
from lidarloop_training.data.toytown.training_drives import ToyTownDrives  # noqa: E402
from lidarloop_training.recipes.fusion import (  # noqa: E402
    camera_toytown,
    fusion_drives,
    fusion_smoke,
    fusion_toytown,
)
from lidarloop_training.recipes.voxel_toytown import voxel_toytown  # noqa: E402
from lidarloop_training.stages.checkpoint import load_task, parts_of  # noqa: E402
from lidarloop_training.stages.saved_task import as_json, from_json, task_type  # noqa: E402
from lidarloop_training.stages.start import start_from  # noqa: E402
from lidarloop_training.stages.trainer import fit  # noqa: E402
from tests.training.conftest import BoxScenes  # noqa: E402
from tests.training.tasks.fusion.scenes import SPEC, PicturedScenes, fusion_config  # noqa: E402

if TYPE_CHECKING:
    from lidarloop_training.models.detector import NetworkConfig
    from lidarloop_training.stages.config import TrainConfig

RECIPES = [fusion_toytown(), camera_toytown(), fusion_smoke(), fusion_drives(Path("drives"))]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.task.spec.name)
def test_settings_come_back_equal_and_the_network_is_built(recipe: TrainConfig) -> None:
    assert from_json(task_type(recipe.task.name), as_json(recipe.task)) == recipe.task
    assert recipe.data.cameras
    assert parts_of(recipe.task.task().build())[-4:] == ("camera", "fusion", "backbone", "head")


def test_the_toy_town_s_models_differ_from_the_lidar_s_in_their_cameras_alone() -> None:
    fused, alone, lidar = fusion_toytown(), camera_toytown(), voxel_toytown()
    assert (fused.task.network, fused.task.augment) == (lidar.task.network, lidar.task.augment)
    assert fused.task.spec.point_inputs == lidar.task.spec.point_inputs
    assert isinstance(fused.data, ToyTownDrives)
    assert fused.data == alone.data
    assert (fused.task.spec.takes_points, alone.task.spec.takes_points) == (True, False)
    assert len({str(run.run.out) for run in (fused, alone, lidar)}) == 3


def test_values_of_the_cameras_are_options() -> None:
    words = ["fusion-toytown", "--task.camera.width", "8", "--task.spec.cameras.names", "A", "B", "--seed", "3"]
    config = tyro.cli(tyro.conf.AvoidSubcommands[train.Recipe], args=words).config
    assert (config.task.camera.width, config.task.spec.cameras.names, config.seed) == (8, ("A", "B"), 3)


def test_it_starts_from_the_parts_of_a_lidar_run(
    network_config: NetworkConfig, train_config: TrainConfig, tmp_path: Path
) -> None:
    import dataclasses

    from lidarloop_training.data.views.concat import ConcatSource
    from lidarloop_training.tasks.detection.task import DetectionConfig

    lidar = DetectionConfig(spec=dataclasses.replace(SPEC, cameras=None), network=network_config)
    one_step = dataclasses.replace(train_config.optimisation, num_steps=1)
    scenes = PicturedScenes(BoxScenes(num_samples=2))
    run = fit(dataclasses.replace(train_config, task=lidar, optimisation=one_step), scenes, ConcatSource([]))
    config = fusion_config(network_config, camera_dropout=0.1)
    network = config.task().build()
    start_from(run, ("encoder", "backbone", "head"), network, config)
    theirs = load_task(run).network.state_dict()
    ours = network.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())

    # And it trains, in the command's own loop, and finds boxes in a sample.
    from lidarloop_training.stages.infer import SampleDetector, TorchBackend

    started = dataclasses.replace(
        train_config,
        task=config,
        optimisation=one_step,
        run=dataclasses.replace(train_config.run, out=tmp_path / "fused"),
        init_from=run,
        init_parts=("encoder", "backbone", "head"),
    )
    fused = fit(started, scenes, scenes)
    task, trained, _ = load_task(fused)
    assert len(SampleDetector(TorchBackend(task.export_view(trained)), score_threshold=0.0)(scenes[0])) > 0
