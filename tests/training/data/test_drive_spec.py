from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.bag.writer import write_bag
from lidarloop_training.data.drive_spec import (
    KINDS,
    Bag,
    KittiObject,
    NuScenes,
    StoredDrive,
    ToyTown,
    drive_arguments,
    drive_at,
    drive_named,
)
from lidarloop_training.data.nuscenes.writer import write_nuscenes
from tests.training.street import StreetSource


def test_every_kind_has_a_name_of_its_own_and_travels() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        drive = drive_named(kind.name, "7")
        assert type(drive) is kind
        assert pickle.loads(pickle.dumps(drive)) == drive
        assert drive_arguments(drive) == [kind.name, "7"]


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


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(kind, StoredDrive)])
def test_a_missing_drive_is_named(kind: type[Any], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"nowhere does not exist; expected the file or folder of a {kind.name}"):
        kind(tmp_path / "nowhere").open()


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


def test_every_sweep_of_a_drive_occurs_in_a_sample(tmp_path: Path) -> None:
    street = StreetSource()
    drive = NuScenes(write_nuscenes(street, tmp_path / "tables", keyframe_every=5, cameras=False))
    assert [len(drive.open()[i].sweeps) for i in range(3)] == [1, 1, 1]
    source = drive.open_all_sweeps(cameras=False)
    stamps = {sweep.stamp_ns for i in range(len(source)) for sweep in source[i].sweeps}
    assert stamps == {street[i].stamp_ns for i in range(11)}  # up to the last keyframe


def test_lane_map_false_leaves_the_map_out(tmp_path: Path) -> None:
    drive = NuScenes(write_nuscenes(StreetSource(), tmp_path / "tables", cameras=False))
    assert drive.open()[0].lane_map is not None
    assert drive.open(lane_map=False)[0].lane_map is None
