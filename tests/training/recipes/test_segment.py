from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

import tyro

from lidarloop_training.commands import train
from lidarloop_training.commands.choice import for_classes
from lidarloop_training.data.drive_folder import DriveFolder
from lidarloop_training.data.nuscenes.lidarseg_classes import LABEL_NAMES
from lidarloop_training.recipes.segment_drives import LIDARSEG_CLASSES, segment_drives
from lidarloop_training.recipes.segment_toytown import POINT_CLASSES, segment_smoke, segment_toytown
from lidarloop_training.toytown.streets import point_classes


def test_the_classes_are_those_of_the_data() -> None:
    assert sorted(LIDARSEG_CLASSES) == sorted(LABEL_NAMES[1:])
    assert ("ignore", *POINT_CLASSES) == point_classes.POINT_CLASSES


def test_networks_fit_their_grids() -> None:
    for recipe in (segment_toytown(), segment_smoke(), segment_drives(Path("drives"))):
        network = recipe.task.task().build()
        assert sum(parameter.numel() for parameter in network.parameters()) < 2_000_000


def test_drives_of_another_kind_are_named_with_their_classes() -> None:
    arguments = [
        "segment-drives",
        "--data.path",
        "kitti",
        "--data.source",
        "semantic-kitti",
        "--classes",
        "car",
        "road",
    ]
    chosen = tyro.cli(tyro.conf.AvoidSubcommands[train.Recipe], args=arguments)
    config = for_classes(chosen.config, chosen.classes)
    assert config.data == DriveFolder(Path("kitti"), source="semantic-kitti")
    assert config.task.spec.class_names == ("car", "road")
    assert config.task.task().build().head.classify.out_features == 2
