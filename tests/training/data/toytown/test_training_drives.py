from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

pytest.importorskip("embreex")

from lidarloop_training.data.toytown.training_drives import ToyTownDrives, open_drives, prepare
from lidarloop_training.toytown.style import TownStyle

STYLES: tuple[TownStyle, ...] = ("plain", "lookalikes")


def test_drives_are_made_once_and_read_back(tmp_path: Path) -> None:
    drives = ToyTownDrives(
        root=tmp_path, num_train_drives=1, num_validation_drives=1, duration_s=0.6, keyframe_every=5, num_processes=2
    )
    made: list[tuple[int, int]] = []
    prepare(drives, 3, lambda number, of: made.append((number, of)))
    assert made == [(1, 2), (2, 2)]
    source = open_drives(drives, drives.train_seeds, 3)
    assert [len(source[i].sweeps) for i in range(len(source))] == [1, 3]  # a drive begins without a past
    assert source[1].annotations is not None
    assert len(source[1].annotations.boxes) > 0
    assert source[1].keyframe.columns[-1] == "label"
    assert source[1].point_classes[0] == "ignore"
    assert (source[1].keyframe.points[:, -1] > 0).all()
    assert not source[1].sweeps[1].points[:, -1].any()

    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.bin")}
    prepare(drives, 3, lambda number, of: made.append((number, of)))
    assert len(made) == 2
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.bin")} == written


def test_folders_tell_drives_apart_that_differ(tmp_path: Path) -> None:
    names = {
        ToyTownDrives(root=tmp_path, duration_s=duration_s, keyframe_every=every, style=style).drive_folder(seed)
        for style in STYLES
        for duration_s in (2.0, 20.0)
        for every in (1, 5)
        for seed in (7, 8)
    }
    assert len(names) == 16


def test_drives_are_made_in_their_style(tmp_path: Path) -> None:
    drives = ToyTownDrives(
        root=tmp_path, num_train_drives=1, num_validation_drives=0, duration_s=0.2, num_processes=1, style="lookalikes"
    )
    prepare(drives, 1, lambda number, of: None)
    (key,) = open_drives(drives, drives.train_seeds, 1).keys
    assert key.drive == "toytown-lookalikes-1000"


def test_drives_with_pictures_lie_beside_those_without(tmp_path: Path) -> None:
    plain = ToyTownDrives(root=tmp_path, num_train_drives=1, num_validation_drives=0, duration_s=0.2, num_processes=1)
    seeing = dataclasses.replace(plain, cameras=True)
    assert plain.drive_folder(7) != seeing.drive_folder(7)
    prepare(seeing, 1, lambda number, of: None)
    sample = open_drives(seeing, seeing.train_seeds, 1)[0]
    assert {camera.name for camera in sample.cameras} >= {"CAM_FRONT", "CAM_BACK"}
    assert len(sample.cameras) == 6
    assert sample.cameras[0].load().shape == (225, 400, 3)
    assert not plain.drive_folder(1000).exists()
