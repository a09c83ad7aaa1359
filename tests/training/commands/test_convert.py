from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lidarloop_core.cli import main
from lidarloop_core.io import messages
from lidarloop_core.io.bag import BagReader, BagWriter, message_type
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.bag.writer import write_bag
from lidarloop_training.data.nuscenes.reader import NuScenesSource
from lidarloop_training.data.nuscenes.writer import write_nuscenes

if TYPE_CHECKING:
    from tests.training.street import StreetSource


def _convert(*arguments: object) -> int:
    return main(["convert", *map(str, arguments)])


def test_tables_to_bag_and_back(street: StreetSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_nuscenes(street, tmp_path / "tables", keyframe_every=5)
    assert _convert("nuscenes", tmp_path / "tables", tmp_path / "drive.mcap") == 0
    out = capsys.readouterr().out
    assert str(tmp_path / "drive.mcap") in out
    assert "next: lidarloop replay" in out
    bag = BagSource(tmp_path / "drive.mcap")
    assert len(bag) == 11  # every sweep up to the last keyframe
    assert [bag[i].annotations is not None for i in range(11)] == [i % 5 == 0 for i in range(11)]
    assert _convert("bag", tmp_path / "drive.mcap", tmp_path / "again") == 0
    again, first = NuScenesSource(tmp_path / "again"), NuScenesSource(tmp_path / "tables")
    assert len(again) == 3
    for i in range(3):
        np.testing.assert_array_equal(again[i].keyframe.points, first[i].keyframe.points)
        got, want = again[i].annotations.boxes, first[i].annotations.boxes
        np.testing.assert_allclose(got.values, want.values, atol=1e-4)


def test_one_scene_of_several(
    street: StreetSource, make_street: type[StreetSource], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    street_again = [dataclasses.replace(make_street()[i], scene="again") for i in range(len(street))]
    write_nuscenes([street, street_again], tmp_path / "tables", keyframe_every=5, cameras=False)
    scenes = [key.drive for key in NuScenesSource(tmp_path / "tables").keys]
    assert scenes == [street[0].scene] * 3 + ["again"] * 3
    assert _convert("nuscenes", tmp_path / "tables", tmp_path / "drive.mcap") == 1
    assert f"holds 2 drives; expected one of them, such as --scene {street[0].scene}" in capsys.readouterr().err
    assert not (tmp_path / "drive.mcap").exists()
    assert _convert("nuscenes", tmp_path / "tables", tmp_path / "drive.mcap", "--scene", "nowhere") == 1
    assert "nowhere" in capsys.readouterr().err
    assert _convert("nuscenes", tmp_path / "tables", tmp_path / "drive.mcap", "--scene", "again") == 0
    assert len(BagSource(tmp_path / "drive.mcap")) == 11


def test_toytown_with_masks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("embreex", reason="the toy town's ray caster is not installed")
    from pycocotools.coco import COCO

    options = ("--duration-s", 0.2, "--masks", "--num-workers")
    assert _convert("toytown", 3, tmp_path / "town.mcap", *options, 1) == 0
    assert _convert("toytown", 3, tmp_path / "town", "--keyframe-every", 1, *options, 0) == 0
    bag = BagSource(tmp_path / "town.mcap")
    tables = NuScenesSource(tmp_path / "town")
    assert len(bag) == len(tables) == 2
    for sample, path in ((bag[1], tmp_path / "town.masks.json"), (tables[1], tmp_path / "town" / "masks.json")):
        coco = COCO(str(path))
        images = [image for image in coco.dataset["images"] if image["sample_token"] == sample.token]
        assert sorted(image["camera"] for image in images) == sorted(camera.name for camera in sample.cameras)
        annotations = coco.loadAnns(coco.getAnnIds([image["id"] for image in images]))
        assert annotations
        assert all(coco.annToMask(a).sum() == a["area"] for a in annotations)
    for image in json.loads((tmp_path / "town" / "masks.json").read_text())["images"]:
        assert (tmp_path / "town" / image["file_name"]).is_file()
    np.testing.assert_array_equal(bag[1].keyframe.points, tables[1].keyframe.points)
    assert "next: lidarloop convert nuscenes" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("kitti-raw", "nowhere", "out.mcap"), "nowhere"),
        (("kitti-raw", ".", "tables"), "ego-motion"),
        (("toytown", "7", "out.mcap", "--num-workers", "-1"), "--num-workers"),
        (("toytown", "7", "out.mcap", "--keyframe-every", "1"), "--keyframe-every"),
        (("toytown", "7", "tables", "--skewed"), "no time for each point: choose a name ending in .mcap"),
        (("toytown", "7", "out.mcap", "--masks", "--no-cameras"), "--masks with --no-cameras"),
        (("bag", ".", "out.mcap", "--salvage"), "is no file"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[Any, ...],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _convert(*arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert expected in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("lyft", "somewhere", "out.mcap"), "lyft"),
        (("toytown", "seven", "out.mcap"), "seven"),
        (("bag", "some.mcap", "out.mcap", "--masks"), "--masks"),
        (("bag", "some.mcap", "out.mcap", "--num-workers", "2"), "--num-workers"),
        (("av2", ".", "out.mcap", "--scene", "a"), "--scene"),
        (("av2", ".", "out.mcap", "--duration-s", "2"), "--duration-s"),
        (("av2", ".", "out.mcap", "--points-topics", "/a"), "--points-topics"),
        (("kitti-raw", ".", "out.mcap", "--salvage"), "--salvage"),
        (("kitti-raw", ".", "out.mcap", "--keyframe-every", "2"), "--keyframe-every"),
        (("kitti-object", ".", "out.mcap", "--ego-motion", "kiss-icp"), "--ego-motion"),
    ],
)
def test_what_a_drive_lacks_cannot_be_asked_of_it(
    arguments: tuple[Any, ...],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as error:
        _convert(*arguments)
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert expected in line
    assert list(tmp_path.iterdir()) == []


def test_only_our_bags_are_overwritten(
    street: StreetSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, foreign = tmp_path / "ours.mcap", tmp_path / "foreign.mcap"
    write_bag(street, tmp_path / "source.mcap")
    for path in (ours, foreign):
        with BagWriter(path) as bag:
            bag.write("/names", 0, messages.string_message([], message_type))
    write_bag(street, ours, cameras=False)
    before = foreign.read_bytes()
    assert _convert("bag", tmp_path / "source.mcap", ours) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert _convert("bag", tmp_path / "source.mcap", foreign, "--overwrite") == 1
    assert "not written by lidarloop" in capsys.readouterr().err
    assert foreign.read_bytes() == before
    assert _convert("bag", tmp_path / "source.mcap", ours, "--overwrite") == 0
    with BagReader(ours) as bag:
        assert "/camera/cam_front/camera_info" in bag.topics
