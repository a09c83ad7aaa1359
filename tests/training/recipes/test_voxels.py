"""Recipes of detectors on voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tyro  # noqa: E402

from lidarloop_core.model.group import group_cloud  # noqa: E402
from lidarloop_training.commands import train  # noqa: E402
from lidarloop_training.models.detector import center_point, map_stride  # noqa: E402
from lidarloop_training.recipes.pillar_toytown import pillar_toytown  # noqa: E402
from lidarloop_training.recipes.voxel_nuscenes import voxel_nuscenes, voxel_nuscenes_0075  # noqa: E402
from lidarloop_training.recipes.voxel_toytown import voxel_toytown  # noqa: E402
from lidarloop_training.stages.config import TrainConfig  # noqa: E402
from lidarloop_training.tasks.detection.task import DetectionConfig  # noqa: E402

HERE = Path("drives")
RECIPES = [voxel_toytown(), voxel_nuscenes(HERE), voxel_nuscenes_0075(HERE)]


def cell_m(recipe: TrainConfig[DetectionConfig]) -> float:
    """Edge of a cell of the head's maps."""
    return map_stride(recipe.task.spec, recipe.task.network) * recipe.task.spec.grid.cell_size_m[0]


def test_the_toy_towns_models_differ_in_their_network_alone() -> None:
    voxels, pillars = voxel_toytown(), pillar_toytown()
    assert cell_m(voxels) == pytest.approx(cell_m(pillars)) == pytest.approx(0.8)
    assert (voxels.data, voxels.task.augment) == (pillars.data, pillars.task.augment)
    assert voxels.optimisation.num_steps == pillars.optimisation.num_steps


def test_sizes_are_those_of_the_papers() -> None:
    assert [cell_m(recipe) for recipe in RECIPES[1:]] == pytest.approx([0.8, 0.6])
    assert [recipe.task.spec.grid.shape for recipe in RECIPES[1:]] == [(1024, 1024, 40), (1440, 1440, 40)]
    assert [sum(p.numel() for p in center_point(r.task.spec, r.task.network).parameters()) for r in RECIPES] == [
        pytest.approx(expected, rel=0.2) for expected in (0.9e6, 7.8e6, 7.8e6)
    ]


@pytest.mark.parametrize("recipe", RECIPES[1:], ids=lambda recipe: recipe.task.spec.name)
@pytest.mark.real
def test_ten_real_sweeps_fit(recipe: TrainConfig[DetectionConfig], real_data: Path) -> None:
    path = next((real_data / "nuscenes_10sweep").glob("*.bin"))
    cloud = np.fromfile(path, "<f2").reshape(-1, 5).astype(np.float32)
    found = group_cloud(cloud, recipe.task.spec)
    assert found.overfull == ()
    assert found.num_cells > 80_000


@pytest.mark.parametrize("name", ["voxel-nuscenes", "voxel-nuscenes-0075"])
def test_the_drives_are_named_on_the_command_line(name: str) -> None:
    arguments = [name, "--data.path", "pool", "--task.network.voxel-blocks", "1", "1", "1", "1"]
    config = tyro.cli(tyro.conf.AvoidSubcommands[train.Recipe], args=arguments).config
    assert config.data.path == Path("pool")
    assert config.task.network.voxel_blocks == (1, 1, 1, 1)
