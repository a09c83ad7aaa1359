from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.results import read_results, read_track_ids, write_results


def random_boxes(num: int) -> Boxes3D:
    random = np.random.default_rng(num)
    values = random.normal(size=(num, 9)).astype(np.float32)
    values[:, 3:6] = np.exp(values[:, 3:6])
    values[: num // 2, 7:] = np.nan
    return Boxes3D(values, random.random(num), random.integers(0, 10, num), NUSCENES_CLASSES)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "detections.json"
    results = {"a": random_boxes(7), "b": random_boxes(0), "c": random_boxes(1)}
    write_results(path, results, {"frame": "world", "model_sha256": "ab"})
    found, meta = read_results(path, NUSCENES_CLASSES)
    assert list(found) == ["a", "b", "c"]
    for token, boxes in results.items():
        np.testing.assert_array_equal(np.delete(found[token].values, 6, axis=1), np.delete(boxes.values, 6, axis=1))
        np.testing.assert_allclose(found[token].yaws, boxes.yaws, atol=1e-6)
        np.testing.assert_array_equal(found[token].scores, boxes.scores)
        np.testing.assert_array_equal(found[token].labels, boxes.labels)
    assert meta["model_sha256"] == "ab"
    assert meta["use_lidar"] is True


def test_the_format_is_nuscenes_own(tmp_path: Path) -> None:
    """The devkit's own class reads it, and understands sizes and rotation as we meant them."""
    pytest.importorskip("nuscenes")
    from nuscenes.eval.detection.data_classes import DetectionBox
    from pyquaternion import Quaternion

    values = np.array([[1, 2, 3, 4.5, 2.0, 1.5, 2.5, -1, 0.5]], np.float32)
    write_results(tmp_path / "r.json", {"t": Boxes3D(values, [0.5], [1], NUSCENES_CLASSES)}, {"frame": "world"})
    row = json.loads((tmp_path / "r.json").read_text())["results"]["t"][0]
    box = DetectionBox.deserialize(row)
    assert box.translation == (1, 2, 3)
    assert box.size == (2.0, 4.5, 1.5)
    assert Quaternion(box.rotation).yaw_pitch_roll[0] == pytest.approx(2.5)
    assert box.velocity == (-1, 0.5)
    assert (box.detection_name, box.detection_score) == ("truck", 0.5)


def test_a_tilted_rotation_is_read_by_its_heading(tmp_path: Path) -> None:
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_euler("ZYX", [0.7, 0.1, 0.05]).as_quat()
    row = {"translation": [0, 0, 0], "size": [1, 2, 3], "rotation": [w, x, y, z], "velocity": [0, 0]}
    row |= {"detection_name": "car", "detection_score": 1}
    (tmp_path / "r.json").write_text(json.dumps({"meta": {}, "results": {"t": [row]}}))
    found, _ = read_results(tmp_path / "r.json", NUSCENES_CLASSES)
    np.testing.assert_allclose(found["t"].values[0, 3:7], [2, 1, 3, 0.7], rtol=1e-6)


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("1.json", "2.json"):
        write_results(tmp_path / name, {"a": random_boxes(7)}, {"frame": "lidar"})
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    with pytest.raises(DatasetError, match="frame 'map'; expected 'world' or 'lidar'"):
        write_results(path, {}, {"frame": "map"})
    with pytest.raises(DatasetError, match="cannot be read"):
        read_results(path, NUSCENES_CLASSES)
    for text in (
        "",
        "{",
        "[]",
        "{}",
        '{"meta": {}}',
        '{"meta": {}, "results": {"t": [{}]}}',
        '{"meta": 3, "results": {}}',
    ):
        path.write_text(text)
        with pytest.raises(DatasetError, match="no nuScenes results JSON"):
            read_results(path, NUSCENES_CLASSES)
    boxes = random_boxes(2)
    boxes.values[1, 2] = np.nan
    write_results(path, {"a": boxes}, {"frame": "lidar"})
    with pytest.raises(DatasetError, match=r"no nuScenes results JSON .*not finite"):
        read_results(path, NUSCENES_CLASSES)
    write_results(path, {"a": random_boxes(7)}, {"frame": "lidar"})
    with pytest.raises(DatasetError, match=r"r.json: received class .*; expected car"):
        read_results(path, ("car",))


def test_track_ids_travel_with_the_boxes(tmp_path: Path) -> None:
    boxes = {"a": random_boxes(2), "b": random_boxes(1), "c": Boxes3D.empty(NUSCENES_CLASSES)}
    ids = {"a": ("car-7", ""), "b": ("car-7",), "c": ()}
    write_results(tmp_path / "r.json", boxes, {"frame": "lidar"}, track_ids=ids)
    assert read_track_ids(tmp_path / "r.json") == ids
    read, _ = read_results(tmp_path / "r.json", NUSCENES_CLASSES)
    assert [len(read[token]) for token in "abc"] == [2, 1, 0]
    write_results(tmp_path / "r.json", boxes, {"frame": "lidar"})
    assert read_track_ids(tmp_path / "r.json")["a"] == ("", "")


def test_class_names_of_the_file(tmp_path: Path) -> None:
    write_results(tmp_path / "r.json", {"a": random_boxes(2)}, {"frame": "lidar"})
    assert read_results(tmp_path / "r.json")[0]["a"].class_names == NUSCENES_CLASSES
    foreign = Boxes3D(random_boxes(2).values, np.ones(2), np.array([1, 0]), ("Van", "Car"))
    write_results(tmp_path / "r.json", {"a": foreign}, {"frame": "lidar"})
    read = read_results(tmp_path / "r.json")[0]["a"]
    assert read.class_names == ("Car", "Van")
    assert read.names == ["Car", "Van"]
    write_results(tmp_path / "r.json", {"a": Boxes3D.empty(("Van",))}, {"frame": "lidar"})
    assert len(read_results(tmp_path / "r.json")[0]["a"]) == 0
