"""Results go to CVAT and come back, corrected or not."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.cli import main
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.results import read_results, read_track_ids, write_results
from lidarloop_core.sample import Sample
from lidarloop_training.data.bag.writer import write_bag
from lidarloop_training.data.writing.cvat import CORRECTED, _cuboids, pcd_bytes, read_cvat_export, write_cvat_task
from tests.training.sources import MadeSource

if TYPE_CHECKING:
    from tests.training.street import StreetSource


def detections(source: Any, frame: str) -> tuple[Any, ...]:
    """The ground truth of a drive as results, with tracks."""
    boxes, ids = {}, {}
    for i in range(len(source)):
        sample, keyframe = source[i], source[i].keyframe
        found = sample.annotations.boxes
        if frame == "world":
            found = found.transformed(keyframe.world_SE3_ego @ keyframe.ego_SE3_lidar)
        boxes[sample.token], ids[sample.token] = found, sample.annotations.instance_ids
    return boxes, ids


@pytest.fixture(params=["world", "lidar"])
def sent(request: pytest.FixtureRequest, street: StreetSource, tmp_path: Path) -> tuple[Any, ...]:
    """A results file, its boxes and ids, and the task made of it."""
    boxes, ids = detections(street, request.param)
    meta = {"frame": request.param, "model_sha256": "abc", "provenance": {"drive": "street"}}
    write_results(tmp_path / "results.json", boxes, meta, track_ids=ids)
    num_boxes = write_cvat_task(tmp_path / "results.json", street, tmp_path / "task")
    assert num_boxes == sum(map(len, boxes.values()))
    return boxes, ids, tmp_path / "task"


def export(task: Path, change: Callable[..., Any] = lambda document: None, *, as_zip: bool = True) -> Path:
    """What CVAT gives back: the annotations, changed, with its own prefix in the frames' names."""
    document = json.loads((task / "annotations" / "default.json").read_text())
    for item in document["items"]:
        item["id"] = f"pointcloud/{item['id']}"
    change(document)
    if not as_zip:
        (task / "default.json").write_text(json.dumps(document))
        return task / "default.json"
    with zipfile.ZipFile(task / "export.zip", "w") as archive:
        archive.writestr("annotations/default.json", json.dumps(document))
    return task / "export.zip"


@pytest.mark.parametrize("as_zip", [True, False])
def test_untouched_boxes_come_back_equal(sent: tuple[Any, ...], tmp_path: Path, as_zip: bool) -> None:
    boxes, ids, task = sent
    read_cvat_export(export(task, as_zip=as_zip), task / "task.json", tmp_path / "back.json")
    back, meta = read_results(tmp_path / "back.json", NUSCENES_CLASSES)
    assert back.keys() == boxes.keys()
    for token, want in boxes.items():
        # float32 at a hundred metres from the origin holds 8 µm.
        np.testing.assert_allclose(back[token].values, want.values, rtol=3e-7, atol=1e-5)
        assert back[token].names == want.names
        assert (back[token].scores == 1).all()
    assert read_track_ids(tmp_path / "back.json") == ids
    assert meta["model_sha256"] == "abc"
    assert meta["provenance"] == {"labels": CORRECTED, "tool": "CVAT", "corrected": {"drive": "street"}}


def test_corrections_arrive(sent: tuple[Any, ...], tmp_path: Path, street: StreetSource) -> None:
    boxes, ids, task = sent
    token = street[0].token

    def correct(document: dict[str, Any]) -> None:
        first = document["items"][0]["annotations"]
        first[0]["position"][0] += 0.5
        first[0]["label_id"] = NUSCENES_CLASSES.index("truck")
        del first[1]
        first.append(
            {
                "type": "cuboid_3d",
                "attributes": {"occluded": False, "track_id": 9, "keyframe": True},
                "label_id": NUSCENES_CLASSES.index("bus"),
                "position": [1.0, 2.0, 3.0],
                "rotation": [0.0, 0.0, 0.25],
                "scale": [12.0, 2.5, 4.0],
            }
        )
        first.append({**first[0], "attributes": {"outside": True, "track_id": 3}})  # the track has left the picture
        del document["items"][1]  # nothing is left in this frame

    read_cvat_export(export(task, correct), task / "task.json", tmp_path / "back.json")
    back, _ = read_results(tmp_path / "back.json", NUSCENES_CLASSES)
    want, got = boxes[token], back[token]
    assert got.names == ["truck", *want.names[2:], "bus"]
    np.testing.assert_allclose(got.values[0, 0] - want.values[0, 0], 0.5, atol=1e-5)
    np.testing.assert_allclose(got.values[-1, 3:7], [12, 2.5, 4, 0.25])
    assert np.isnan(got.velocities[-1]).all()
    assert read_track_ids(tmp_path / "back.json")[token] == (ids[token][0], *ids[token][2:], "cvat-9")
    assert len(back[street[1].token]) == 0


def test_boxes_lie_on_the_clouds_that_are_shown(sent: tuple[Any, ...], street: StreetSource) -> None:
    """In CVAT's coordinates, too, each box lies on its point."""
    _, _, task = sent
    document = json.loads((task / "annotations" / "default.json").read_text())
    for i, item in enumerate(document["items"]):
        raw = (task / "upload" / "pointcloud" / item["point_cloud"]["path"]).read_bytes()
        points = np.frombuffer(raw[raw.index(b"DATA binary\n") + 12 :], np.float32).reshape(-1, 4)
        np.testing.assert_array_equal(points[:, 3], street[i].keyframe.points[:, 3])
        positions = [annotation["position"] for annotation in item["annotations"]]
        np.testing.assert_allclose(points[: len(positions), :3], positions, atol=3e-5)  # the drive's objects
    assert (task / "upload" / "related_images" / "000000_pcd" / "CAM_FRONT.jpg").is_file()


def test_tracks_and_labels_are_what_cvat_expects(sent: tuple[Any, ...]) -> None:
    _, _, task = sent
    document = json.loads((task / "annotations" / "default.json").read_text())
    numbers = {}
    for item in document["items"]:
        for annotation in item["annotations"]:
            attributes = annotation["attributes"]
            assert attributes["keyframe"] is True
            numbers.setdefault(attributes["object"], set()).add(attributes["track_id"])
    assert all(len(found) == 1 for found in numbers.values())
    assert len({number for found in numbers.values() for number in found}) == len(numbers)
    labels = json.loads((task / "labels.json").read_text())
    assert [label["name"] for label in labels] == list(NUSCENES_CLASSES)
    assert {attribute["name"] for attribute in labels[0]["attributes"]} == {"object", "velocity"}


def test_boxes_without_tracks(tmp_path: Path, street: StreetSource) -> None:
    boxes, _ = detections(street, "lidar")
    write_results(tmp_path / "results.json", boxes, {"frame": "lidar"})
    write_cvat_task(tmp_path / "results.json", street, tmp_path / "task")
    document = json.loads((tmp_path / "task" / "annotations" / "default.json").read_text())
    assert "track_id" not in document["items"][0]["annotations"][0]["attributes"]
    read_cvat_export(export(tmp_path / "task"), tmp_path / "task" / "task.json", tmp_path / "back.json")
    assert set(read_track_ids(tmp_path / "back.json")[street[0].token]) == {""}


def test_by_command(tmp_path: Path, street: StreetSource, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_bag(street, tmp_path / "drive.mcap")
    boxes, _ = detections(street, "world")
    by_stamp = {str(street[i].stamp_ns): boxes[street[i].token] for i in range(len(street))}
    by_stamp[str(street[0].stamp_ns)] = Boxes3D(
        boxes[street[0].token].values,
        np.linspace(0.1, 0.9, len(boxes[street[0].token])),
        boxes[street[0].token].labels,
        NUSCENES_CLASSES,
    )
    write_results(tmp_path / "results.json", by_stamp, {"frame": "world"})
    send = ["corrections", "send", "bag", str(bag), "--results", str(tmp_path / "results.json")]
    send += ["--out", str(tmp_path / "task")]
    assert main([*send, "--min-score", "0.5"]) == 0
    num_strong = int((by_stamp[str(street[0].stamp_ns)].scores >= 0.5).sum())
    num_others = sum(len(b) for b in list(by_stamp.values())[1:])
    assert f"({num_strong + num_others} boxes to look at)" in capsys.readouterr().out
    receive = ["corrections", "receive", str(export(tmp_path / "task")), "--out", str(tmp_path / "back.json")]
    assert main(receive) == 0
    assert CORRECTED in capsys.readouterr().out
    assert main(receive) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main(send) == 1
    assert "CVAT task already" in capsys.readouterr().err


def test_mistakes(tmp_path: Path, street: StreetSource, sent: tuple[Any, ...]) -> None:
    _, _, task = sent
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"no\.json.*Datumaro 3D"):
        read_cvat_export(tmp_path / "no.json", task / "task.json", tmp_path / "back.json")
    with pytest.raises(DatasetError, match=r"none\.json.*beside the task\.json"):
        read_cvat_export(export(task), tmp_path / "none.json", tmp_path / "back.json")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("README", "")
    with pytest.raises(DatasetError, match=r"empty\.zip: holds 0 files"):
        read_cvat_export(tmp_path / "empty.zip", task / "task.json", tmp_path / "back.json")
    foreign = export(task, lambda document: document["items"][0].update(id="pointcloud/123456"))
    with pytest.raises(DatasetError, match="frame '123456'"):
        read_cvat_export(foreign, task / "task.json", tmp_path / "back.json")
    write_results(tmp_path / "other.json", {"x": Boxes3D.empty(NUSCENES_CLASSES)}, {"frame": "lidar"})
    with pytest.raises(DatasetError, match="none of its 1 frames"):
        write_cvat_task(tmp_path / "other.json", street, tmp_path / "task-2")


def test_pcd_header() -> None:
    raw = pcd_bytes(np.arange(6, dtype=np.float32).reshape(2, 3))
    header, _, data = raw.partition(b"DATA binary\n")
    assert b"FIELDS x y z\n" in header
    assert b"POINTS 2\n" in header
    np.testing.assert_array_equal(np.frombuffer(data, np.float32), np.arange(6))


def test_a_camera_whose_name_leads_elsewhere_is_written_inside_the_task(street: StreetSource, tmp_path: Path) -> None:
    boxes, ids = detections(street, "lidar")
    write_results(tmp_path / "results.json", boxes, {"frame": "lidar"}, track_ids=ids)

    class Hostile(MadeSource):
        def __len__(self) -> int:
            return len(street)

        def __getitem__(self, index: int) -> Sample:
            sample = street[index]
            cameras = tuple(dataclasses.replace(c, name="../../../../evil") for c in sample.cameras)
            return dataclasses.replace(sample, cameras=cameras)

    write_cvat_task(tmp_path / "results.json", Hostile(), tmp_path / "a" / "b" / "task")
    assert not list(tmp_path.rglob("evil*"))
    pictures = list((tmp_path / "a" / "b" / "task" / "upload" / "related_images").rglob("*.png"))
    pictures += (tmp_path / "a" / "b" / "task" / "upload" / "related_images").rglob("*.jpg")
    assert len(pictures) == len(street)


@pytest.mark.parametrize("text", [b"[" * 200_000, b"{}", b"null", b"\xff"])
@pytest.mark.parametrize("packed", [True, False])
def test_an_export_that_is_none_is_one_clear_line(sent: tuple[Any, ...], text: bytes, packed: bool) -> None:
    _, _, task = sent
    path = task / ("export.zip" if packed else "default.json")
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("annotations/default.json", text)
    else:
        path.write_bytes(text)
    with pytest.raises(DatasetError, match=r"expected|export it"):
        read_cvat_export(path, task / "task.json", task / "back.json")


@pytest.mark.parametrize("yaw", [float("inf"), float("nan"), 1e300])
def test_a_cuboid_that_is_not_finite_is_one_clear_line(sent: tuple[Any, ...], tmp_path: Path, yaw: float) -> None:
    item = {
        "id": "frames/none",
        "annotations": [
            {"type": "cuboid_3d", "label_id": 0, "position": [0, 0, 0], "scale": [1, 1, 1], "rotation": [0, 0, yaw]}
        ],
    }
    with pytest.raises(ValueError, match="is not finite"):
        _cuboids(item["annotations"], ("car",))
