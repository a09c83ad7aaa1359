from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_training.data.drive_lookup import drive_arguments, drive_named
from lidarloop_training.data.drive_spec import KINDS, NuScenes, StoredDrive
from lidarloop_training.data.nuscenes.writer import write_nuscenes
from tests.training.street import StreetSource


def test_every_kind_has_a_name_of_its_own_and_travels() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        drive = drive_named(kind.name, "7")
        assert type(drive) is kind
        assert pickle.loads(pickle.dumps(drive)) == drive
        assert drive_arguments(drive) == [kind.name, "7"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(kind, StoredDrive)])
def test_a_missing_drive_is_named(kind: type[Any], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"nowhere does not exist; expected the file or folder of a {kind.name}"):
        kind(tmp_path / "nowhere").open()


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
