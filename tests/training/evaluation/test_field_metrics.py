"""KITTI's and Waymo's numbers from files and sources to the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.kitti.calibration import read_object_calibration
from lidarloop_training.data.kitti.object import KittiObjectSource
from lidarloop_training.data.waymo.reader import WaymoSource
from lidarloop_training.evaluation.field_metrics import check_metric, kitti_table, waymo_table
from lidarloop_training.evaluation.kitti_ground_truth import kitti_sample
from lidarloop_training.evaluation.samples import SampleRecord, read_samples
from lidarloop_training.evaluation.scoring import Detections
from tests.training.data.waymo import fixture as written
from tests.training.evaluation.synthetic_drive import detect, make_drive

NUSCENES_NAME = {"car": "car", "pedestrian": "pedestrian", "cyclist": "bicycle"}
UPRIGHT_SE3_CAMERA = SE3(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))


def write_kitti(root: Path, frames: Mapping[str, Sequence[str]], picture: bool = True) -> KittiObjectSource:
    """Frame name → label lines; a camera 0.1 m below and 0.2 m ahead of the Velodyne that looks ahead."""
    for folder in ("velodyne", "calib", "label_2", "image_2"):
        (root / folder).mkdir(parents=True)
    for name, lines in frames.items():
        np.zeros((1, 4), np.float32).tofile(root / "velodyne" / f"{name}.bin")
        (root / "calib" / f"{name}.txt").write_text(
            "P2: 700 0 600 0 0 700 180 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\n"
            "Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.1 1 0 0 -0.2\n"
        )
        (root / "label_2" / f"{name}.txt").write_text("\n".join(lines) + "\n")
        if picture:
            Image.new("RGB", (1200, 360)).save(root / "image_2" / f"{name}.png")
    return KittiObjectSource(root)


def label(
    x: float,
    z: float,
    kind: str = "Car",
    *,
    top: int = 150,
    bottom: int = 200,
    occlusion: int = 0,
    truncation: float = 0.0,
    rotation: float = 0.3,
) -> str:
    return f"{kind} {truncation} {occlusion} 0 100 {top} 180 {bottom} 1.5 1.6 3.9 {x} 1.65 {z} {rotation}"


def lidar_box(x: float, z: float, rotation: float = 0.3) -> list[float]:
    """The same box in the Velodyne's frame: camera (x, y, z) is Velodyne (z + 0.2, -x, -y - 0.1)."""
    return [z + 0.2, -x, -(1.65 - 0.75) - 0.1, 3.9, 1.6, 1.5, -rotation - np.pi / 2, 0, 0]


def detections_of(source: SampleSource, boxes: Mapping[str, Boxes3D]) -> Detections:
    return Detections(source, read_samples(source), boxes, "lidar")


def cars(rows: Sequence[Sequence[float]], score: float = 0.5) -> Boxes3D:
    return Boxes3D(np.reshape(rows, (-1, 9)), np.full(len(rows), score), np.zeros(len(rows)), NUSCENES_CLASSES)


PLACES = [(x, z) for z in (15, 22, 29, 36) for x in (-5, 0, 5)]


def test_kitti_from_files_to_table(tmp_path: Path) -> None:
    names = [f"{i:06d}" for i in range(5)]
    source = write_kitti(tmp_path, {name: [label(*place) for place in PLACES] for name in names})
    detections = {
        name: cars([lidar_box(*place) for place in PLACES], score=0.3 + 0.1 * i) for i, name in enumerate(names)
    }
    table = kitti_table(detections_of(source, detections))
    assert table.rows[1] == ("Car", "moderate", 60, pytest.approx(100), pytest.approx(100))
    # Detections at 29 and 36 m are lower than 40 pixels: they use up their objects and find none.
    assert table.rows[0] == ("Car", "easy", 60, pytest.approx(50), pytest.approx(50))
    assert "no picture" not in table.note
    # Raised by 0.3 m of 1.5 m: an IoU of 2/3.
    for boxes in detections.values():
        boxes.values[:, 2] += 0.3
    assert kitti_table(detections_of(source, detections)).rows[1][3:] == (0.0, pytest.approx(100))
    assert math.isnan(kitti_table(detections_of(source, detections)).rows[3][3])  # no pedestrians


def test_dont_care_has_no_place_and_hard_objects_are_ignored(tmp_path: Path) -> None:
    lines = [
        label(0, 15),
        label(5, 15, occlusion=3),
        label(-5, 15, "Van"),
        "DontCare -1 -1 -10 0 0 9 9 -1 -1 -1 -1000 -1000 -1000 -10",
    ]
    source = write_kitti(tmp_path, {"000000": lines})
    assert [row[2] for row in kitti_table(detections_of(source, {})).rows[:3]] == [1, 1, 1]


def test_detections_outside_the_picture_are_left_out(tmp_path: Path) -> None:
    source = write_kitti(tmp_path, {"000000": [label(0, 15)]})
    frame = SampleRecord.of(source[0], 0)
    found = kitti_sample(source.root, frame, cars([lidar_box(0, 15), lidar_box(0, -15), lidar_box(40, 15)]))
    assert len(found.detections) == 1
    # 1.5 m at about 14 m (the nearest edge) with 700 pixels of focal length.
    assert found.detection_height_px[0] == pytest.approx(1.5 * 700 / 13.5, rel=0.12)
    np.testing.assert_allclose(found.detections.values[0, :7], found.objects.values[0, :7], atol=1e-5)


def test_classes_that_kitti_does_not_score_are_left_out(tmp_path: Path) -> None:
    source = write_kitti(tmp_path, {"000000": [label(0, 15)]})
    rows = [lidar_box(0, 15)] * 3
    boxes = Boxes3D(
        np.array(rows), [0.5] * 3, [NUSCENES_CLASSES.index(n) for n in ("bus", "bicycle", "car")], NUSCENES_CLASSES
    )
    assert kitti_sample(source.root, SampleRecord.of(source[0], 0), boxes).detections.names == ["Cyclist", "Car"]


def test_an_assumed_size_of_the_picture_is_noted(tmp_path: Path) -> None:
    source = write_kitti(tmp_path, {"000000": [label(0, 15)]}, picture=False)
    assert "1 frames have no picture" in kitti_table(detections_of(source, {})).note


def test_kitti_refuses_other_ground_truth(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"not the KITTI object benchmark.*label_2"):
        check_metric("kitti", make_drive(2))
    check_metric("waymo", make_drive(2))
    check_metric("kitti", write_kitti(tmp_path, {"000000": [label(0, 15)]}))


@pytest.mark.parametrize(("content", "message"), [("Cat 0 0\n", "Cat"), ("Car 0 zero\n", "Car 0 zero")])
def test_malformed_labels_name_the_file(tmp_path: Path, content: str, message: str) -> None:
    source = write_kitti(tmp_path, {"000000": [label(0, 15)]})
    frame = SampleRecord.of(source[0], 0)
    (tmp_path / "label_2" / "000000.txt").write_text(content)
    with pytest.raises(DatasetError, match=rf"000000\.txt.*({message})"):
        kitti_sample(source.root, frame, cars([]))
    (tmp_path / "label_2" / "000000.txt").unlink()
    with pytest.raises(DatasetError, match=r"label_2/000000\.txt: cannot be read"):
        kitti_sample(source.root, frame, cars([]))


@pytest.mark.real
def test_real_labels_lie_where_the_reader_puts_them(real_data: Path) -> None:
    """The metric's own reading of the labels against the reader's boxes, brought into the camera's frame."""
    source = KittiObjectSource(real_data / "kitti_object_with_images")
    num_objects = 0
    for i in range(len(source)):
        sample = source[i]
        boxes = sample.annotations.boxes
        names = tuple(NUSCENES_NAME.get(name.lower(), name) for name in boxes.class_names)
        detections = Boxes3D(boxes.values, np.full(len(boxes), 0.5), boxes.labels, names)
        found = kitti_sample(source.root, SampleRecord.of(sample, i), detections)
        calibration = read_object_calibration(source.root / "calib" / f"{sample.token}.txt")
        scored = [i for i, name in enumerate(found.objects.names) if name in ("Car", "Pedestrian", "Cyclist")]
        assert len(found.detections) == len(scored)  # all are seen by the camera
        np.testing.assert_allclose(found.detections.values[:, :6], found.objects.values[scored, :6], atol=2e-3)
        turn = found.detections.values[:, 6] - found.objects.values[scored, 6]
        np.testing.assert_allclose(np.cos(turn), 1, atol=1e-4)
        # The projected box is about as high as the annotated one.
        np.testing.assert_allclose(found.detection_height_px, found.object_height_px[scored], rtol=0.15, atol=4)
        assert calibration.reference_SE3_lidar is not None
        num_objects += len(scored)
    assert num_objects > 0


# --- Waymo ------------------------------------------------------------------------------------------------------------


def test_waymo_perfect_detections() -> None:
    source = make_drive(6)
    table = waymo_table(Detections(source, read_samples(source), detect(source, "world", noise_m=0.0), "world"))
    rows = {(row[0], row[1]): row for row in table.rows}
    assert rows["vehicle", "L2"][3:] == (pytest.approx(1), pytest.approx(1, abs=1e-5))
    assert rows["pedestrian", "L1"][2] <= rows["pedestrian", "L2"][2]
    assert math.isnan(rows["cyclist", "L1"][3])
    assert rows["mean", "L2"][3] == pytest.approx(1)
    empty = waymo_table(Detections(source, read_samples(source), {}, "world"))
    assert empty.rows[0][3] == 0


def test_waymo_takes_the_levels_from_the_labellers(tmp_path: Path) -> None:
    """Of four objects the walker is labelled hard, the far car has 4 points and the rider none."""
    root = tmp_path / "training"
    written.write_segment(root, written.Options(num_frames=1, second_returns=False))
    source = WaymoSource(root, cameras=False)
    boxes = source[0].annotations.boxes
    table = waymo_table(detections_of(source, {source[0].token: boxes}))
    counts, aps = ({(row[0], row[1]): row[i] for row in table.rows} for i in (2, 3))
    assert [counts["vehicle", level] for level in ("L1", "L2")] == [1, 2]
    assert [counts["pedestrian", level] for level in ("L1", "L2")] == [0, 1]
    assert counts["cyclist", "L2"] == 0
    assert aps["mean", "L2"] == pytest.approx(1)
