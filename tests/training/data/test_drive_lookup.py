from __future__ import annotations

from pathlib import Path

import pytest

from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.bag.writer import write_bag
from lidarloop_training.data.drive_lookup import drive_arguments, drive_at, drive_named
from lidarloop_training.data.drive_spec import Bag, KittiObject, NuScenes, ToyTown
from lidarloop_training.data.nuscenes.writer import write_nuscenes
from tests.training.street import StreetSource


def test_options_that_differ_from_the_defaults_are_named() -> None:
    assert drive_arguments(ToyTown(7, duration_s=2.0)) == ["toytown", "7", "--duration-s", "2.0"]
    assert drive_arguments(ToyTown(7, point_labels=True)) == ["toytown", "7", "--point-labels"]
    assert drive_arguments(ToyTown(7, style="lookalikes")) == ["toytown", "7", "--style", "lookalikes"]
    bag = Bag(Path("drive.mcap"), points_topics=("/front", "/rear"), odometry_topic="/odom")
    assert drive_arguments(bag) == [
        *("bag", "drive.mcap", "--points-topics", "/front", "/rear", "--odometry-topic", "/odom"),
    ]


def test_a_seed_is_a_number() -> None:
    with pytest.raises(ConfigError, match="'seven'; expected a seed"):
        drive_named("toytown", "seven")


def test_what_lies_at_a_path_is_recognised(tmp_path: Path) -> None:
    bag = write_bag(StreetSource(num_frames=2), tmp_path / "drive.mcap", cameras=False)
    assert drive_at(bag) == Bag(bag)
    assert isinstance(drive_at(bag).open(num_sweeps=2), BagSource)
    (tmp_path / "kitti" / "training" / "velodyne").mkdir(parents=True)
    assert drive_at(tmp_path / "kitti") == KittiObject(tmp_path / "kitti")
    write_nuscenes(StreetSource(), tmp_path / "tables", cameras=False)
    assert drive_at(tmp_path / "tables") == NuScenes(tmp_path / "tables")
    with pytest.raises(DatasetError, match="does not exist; expected a bag"):
        drive_at(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DatasetError, match="--source"):
        drive_at(tmp_path / "notes.txt")
