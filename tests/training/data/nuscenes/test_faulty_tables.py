"""Tables with numbers that cannot be, and names that lead elsewhere."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_core.sample import Sample
from lidarloop_training.data.nuscenes.reader import NuScenesSource
from lidarloop_training.data.nuscenes.writer import write_nuscenes
from tests.training.sources import MadeSource

if TYPE_CHECKING:
    from tests.training.street import StreetSource

VERSION = "v1.0-mini"


@pytest.fixture
def root(street: StreetSource, tmp_path: Path) -> Path:
    return write_nuscenes(street, tmp_path / "town", keyframe_every=5)


def change(root: Path, table: str, edit: Callable[[list[dict[str, Any]]], Any]) -> None:
    path = root / VERSION / f"{table}.json"
    records = json.loads(path.read_text())
    edit(records)
    path.write_text(json.dumps(records))


@pytest.mark.parametrize("rotation", [[0, 0, 0, 0], [float("nan"), 0, 0, 0], [1, 0, 0], ["a", 0, 0, 0]])
def test_a_sample_whose_pose_is_none_is_left_out_and_named(root: Path, rotation: list[Any]) -> None:
    tokens = [key.token for key in NuScenesSource(root).keys]
    data = json.loads((root / VERSION / "sample_data.json").read_text())
    pose = next(r["ego_pose_token"] for r in data if r["sample_token"] == tokens[1] and r["is_key_frame"])

    def edit(records: list[dict[str, Any]]) -> None:
        next(r for r in records if r["token"] == pose)["rotation"] = rotation

    change(root, "ego_pose", edit)
    with pytest.warns(UserWarning, match=f"1 samples are left out, the first {tokens[1]}: ego pose {pose}"):
        source = NuScenesSource(root)
    assert [key.token for key in source.keys] == [tokens[0], tokens[2]]
    assert source[1].keyframe.world_SE3_ego is not None


def test_samples_of_a_mounting_that_is_none_are_left_out(root: Path) -> None:
    change(root, "calibrated_sensor", lambda records: [r.update(rotation=[0, 0, 0, 0]) for r in records])
    with pytest.warns(UserWarning, match="3 samples are left out.*mounting"):
        assert len(NuScenesSource(root)) == 0


def test_a_count_of_null_is_unknown(root: Path) -> None:
    change(root, "sample_annotation", lambda records: [r.update(num_lidar_pts=None) for r in records])
    annotations = NuScenesSource(root).annotations(0)
    assert (annotations.num_lidar_pts == -1).all()


def test_a_box_without_heading_costs_its_sample_alone(root: Path) -> None:
    change(root, "sample_annotation", lambda records: records[0].update(rotation=[0, 0, 0, 0]))
    with pytest.warns(UserWarning, match="1 samples are left out.*no heading"):
        assert len(NuScenesSource(root)) == 2


def test_boxes_of_categories_that_nuscenes_lacks_are_counted_and_named(root: Path) -> None:
    whole = NuScenesSource(root)
    num_boxes = sum(len(whole.annotations(i).boxes) for i in range(len(whole)))
    records = json.loads((root / VERSION / "category.json").read_text())
    instances = json.loads((root / VERSION / "instance.json").read_text())
    cars = {r["token"] for r in records if r["name"] == "vehicle.car"}
    num_cars = sum(r["nbr_annotations"] for r in instances if r["category_token"] in cars)
    assert 0 < num_cars < num_boxes

    def rename(table: list[dict[str, Any]]) -> None:
        next(r for r in table if r["name"] == "vehicle.car")["name"] = "forklift truck"

    change(root, "category", rename)
    with pytest.warns(UserWarning, match=rf"{num_cars} boxes of categories that nuScenes does not have .*: forklift"):
        source = NuScenesSource(root)
    assert sum(len(source.annotations(i).boxes) for i in range(len(source))) == num_boxes - num_cars


def test_categories_that_the_detection_task_leaves_out_are_no_warning(root: Path) -> None:
    def rename(table: list[dict[str, Any]]) -> None:
        next(r for r in table if r["name"] == "vehicle.car")["name"] = "animal"

    change(root, "category", rename)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NuScenesSource(root)


@pytest.mark.parametrize("filename", ["../../../../etc/passwd", "/etc/passwd", "samples/../../secret", ""])
def test_files_outside_the_folder_are_refused(root: Path, filename: str) -> None:
    change(root, "sample_data", lambda records: [r.update(filename=filename) for r in records])
    with pytest.raises(DatasetError, match=r"sample_data\.json: names the file .*expected one below"):
        NuScenesSource(root)


def test_a_location_that_leads_elsewhere_is_refused(root: Path) -> None:
    change(root, "log", lambda records: [r.update(location="../../v1.0-mini/sample") for r in records])
    with pytest.raises(DatasetError, match=r"log\.json: names the file"):
        NuScenesSource(root)[0]


def test_samples_in_a_circle_are_refused(root: Path) -> None:
    change(root, "sample", lambda records: records[-1].update(next=records[0]["token"]))
    with pytest.raises(DatasetError, match="in a circle"):
        NuScenesSource(root)


@pytest.mark.parametrize("text", [b"[" * 100_000, b"\xff\xfe[]", b"[1, 2]", b"{}"])
def test_a_table_that_is_none_is_one_clear_line(root: Path, text: bytes) -> None:
    (root / VERSION / "sample.json").write_bytes(text)
    with pytest.raises(DatasetError):
        NuScenesSource(root)


def test_names_of_scenes_and_cameras_write_nothing_outside(street: StreetSource, tmp_path: Path) -> None:
    import dataclasses

    class Hostile(MadeSource):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Sample:
            sample = street[index]
            cameras = tuple(dataclasses.replace(c, name="../../../../evil") for c in sample.cameras)
            return dataclasses.replace(sample, scene="../../../outside", cameras=cameras)

    place = tmp_path / "a" / "b" / "c"
    place.mkdir(parents=True)
    root = write_nuscenes(Hostile(), place / "town", keyframe_every=1)
    assert {p.name for p in tmp_path.iterdir()} == {"a"}
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"b"}
    assert {p.name for p in place.iterdir()} == {"town"}
    read = NuScenesSource(root)
    assert len(read) == 3
    np.testing.assert_array_equal(read[0].keyframe.points, street[0].keyframe.points)
