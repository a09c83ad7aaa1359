"""Against sequences that these tests write as published: scan by scan, bit by bit, poses by matrices of their own."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.pointcloud.sweeps import merge_sweeps
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.bag.writer import write_bag
from lidarloop_training.data.kitti.classes import KITTI_CLASSES, KITTI_TO_NUSCENES, KITTI_TO_WAYMO
from lidarloop_training.data.kitti.semantic import SemanticKittiSource
from lidarloop_training.data.kitti.semantic_classes import (
    LABEL_NAMES,
    RAW_TO_LABEL,
    SEMANTIC_KITTI_TO_NUSCENES,
    SEMANTIC_KITTI_TO_WAYMO,
)
from lidarloop_training.data.waymo.classes import WAYMO_CLASSES
from tests.training.sources import assert_names_labels_and_poses_need_no_cloud

# Velodyne x forward, y left, z up → camera x right, y down, z forward, 0.08 m below and 0.27 m ahead of it.
TR = "0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27"
P2 = "700 0 600 42 0 700 180 0 0 0 1 0"
POLE = np.array([20.0, 3.0, -1.0])  # in the first Velodyne frame

POINTS = [(5.0, 1.0, -1.7, 0.25), (20.0, 3.0, -1.0, 1.0), (8.0, -2.0, -0.5, 0.0)]
RAW = [40, 80, (7 << 16) | 252]  # road, pole, moving car number 7


def _write_sequence(folder: Path, num_scans: int = 3, *, labelled: bool = True) -> None:
    (folder / "velodyne").mkdir(parents=True)
    if labelled:
        (folder / "labels").mkdir()
    for i in range(num_scans):
        scan = b"".join(struct.pack("<4f", *point) for point in POINTS)
        (folder / "velodyne" / f"{i:06d}.bin").write_bytes(scan)
        if labelled:
            (folder / "labels" / f"{i:06d}.label").write_bytes(struct.pack("<3I", *RAW))
    (folder / "calib.txt").write_text("".join(f"P{i}: {P2}\n" for i in range(4)) + f"Tr: {TR}\n")
    (folder / "times.txt").write_text("".join(f"{0.1036 * i:e}\n" for i in range(num_scans)))
    # The camera drives along its z axis, 1.5 m a scan, and climbs (its y points down).
    poses = [f"1 0 0 0 0 1 0 {-0.1 * i} 0 0 1 {1.5 * i}\n" for i in range(num_scans)]
    (folder / "poses.txt").write_text("".join(poses))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    _write_sequence(tmp_path / "dataset" / "sequences" / "00")
    _write_sequence(tmp_path / "dataset" / "sequences" / "08", 2)
    return tmp_path / "dataset"


def test_scans_and_labels(root: Path) -> None:
    source = SemanticKittiSource(root)
    assert [source[i].token for i in range(len(source))] == [
        "00-000000",
        "00-000001",
        "00-000002",
        "08-000000",
        "08-000001",
    ]
    sample = source[1]
    assert sample.scene == "semantic-kitti-00"
    assert sample.stamp_ns - source[0].stamp_ns == 103_600_000
    assert sample.keyframe.columns == ("x", "y", "z", "intensity", "label", "instance")
    points = sample.keyframe.points
    assert points.dtype == np.float32
    np.testing.assert_allclose(points[:, :3], np.array(POINTS)[:, :3])
    np.testing.assert_allclose(points[:, 3], [63.75, 255.0, 0.0])
    assert [LABEL_NAMES[int(label)] for label in points[:, 4]] == ["road", "pole", "car"]
    assert points[:, 5].tolist() == [0, 0, 7]
    assert sample.annotations is None
    assert sample.point_classes == LABEL_NAMES


def test_poses_are_those_of_the_ego(root: Path) -> None:
    source = SemanticKittiSource(root, num_sweeps=3)
    np.testing.assert_allclose(source[0].keyframe.world_SE3_ego.matrix, np.eye(4), atol=1e-9)
    # 1.5 m forward and 0.1 m up a scan, whatever way the camera's axes point.
    np.testing.assert_allclose(source[2].keyframe.world_SE3_ego.translation, [3.0, 0.0, 0.2], atol=1e-6)
    assert [len(source[i].sweeps) for i in range(5)] == [1, 2, 3, 1, 2]
    merged = merge_sweeps(source[2].sweeps, ("x", "y", "z", "label", "dt"))
    # What scan 0 saw at the pole's place is 3 m nearer and 0.2 m lower in scan 2's frame.
    np.testing.assert_allclose(merged[7, :3], POLE - [3.0, 0.0, 0.2], atol=1e-5)
    assert merged[:, 3].tolist() == [9, 18, 1] * 3
    np.testing.assert_allclose(merged[6:, 4], 0.2072, atol=1e-6)


def test_one_sequence_some_and_none(root: Path, tmp_path: Path) -> None:
    assert len(SemanticKittiSource(root / "sequences" / "08")) == 2
    assert len(SemanticKittiSource(root / "sequences", sequences=["08"])) == 2
    with pytest.raises(DatasetError, match=r"no sequence 21.*00, 08"):
        SemanticKittiSource(root, sequences=["21"])
    with pytest.raises(DatasetError, match="sequences/00"):
        SemanticKittiSource(tmp_path / "nowhere")


def test_test_sequences_have_no_labels(tmp_path: Path) -> None:
    _write_sequence(tmp_path / "11", labelled=False)
    (tmp_path / "11" / "poses.txt").unlink()
    sample = SemanticKittiSource(tmp_path / "11", num_sweeps=2)[1]
    assert sample.keyframe.columns == ("x", "y", "z", "intensity")
    assert sample.keyframe.world_SE3_ego is None
    assert len(sample.sweeps) == 1


def test_pictures(root: Path) -> None:
    folder = root / "sequences" / "00" / "image_2"
    folder.mkdir()
    Image.new("RGB", (1200, 360), (9, 8, 7)).save(folder / "000001.png")
    source = SemanticKittiSource(root)
    (image,) = source[1].cameras
    assert source[0].cameras == ()
    assert (image.name, image.width, image.height) == ("CAM_FRONT", 1200, 360)
    # P2's last column puts image_2 42/700 m to the left of the reference camera.
    np.testing.assert_allclose(image.ego_SE3_camera.translation, [0.27, 0.06, 1.73 - 0.08], atol=1e-6)
    assert SemanticKittiSource(root, cameras=False)[1].cameras == ()


def test_labels_survive_the_bag(root: Path, tmp_path: Path) -> None:
    source = SemanticKittiSource(root, sequences=["00"])
    read = BagSource(write_bag(source, tmp_path / "drive.mcap"))
    for i in range(3):
        assert set(read[i].keyframe.columns) == set(source[i].keyframe.columns)
        for name in source[i].keyframe.columns:
            got, want = (s.points[:, s.columns.index(name)] for s in (read[i].keyframe, source[i].keyframe))
            np.testing.assert_array_equal(got, want)


def test_errors_name_the_file(root: Path) -> None:
    folder = root / "sequences" / "00"
    source = pickle.loads(pickle.dumps(SemanticKittiSource(root)))
    (folder / "labels" / "000000.label").write_bytes(b"\0" * 8)
    with pytest.raises(DatasetError, match=r"000000\.label: received 8 bytes; expected 12"):
        source[0]
    (folder / "labels" / "000001.label").write_bytes(struct.pack("<3I", 40, 12345, 40))
    with pytest.raises(DatasetError, match=r"000001\.label: received label ids \[12345\]"):
        source[1]
    (folder / "labels" / "000002.label").unlink()
    with pytest.raises(DatasetError, match=r"000002\.label: cannot be read"):
        source[2]
    (folder / "velodyne" / "000002.bin").write_bytes(b"\0" * 17)
    with pytest.raises(DatasetError, match=r"000002\.bin: received 17 bytes"):
        source[2]


@pytest.mark.parametrize("name", ["poses.txt", "times.txt"])
def test_short_tables_are_named(tmp_path: Path, name: str) -> None:
    _write_sequence(tmp_path / "05")
    path = tmp_path / "05" / name
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DatasetError, match=rf"{name}: does not fit 3 scans"):
        SemanticKittiSource(tmp_path / "05")


def test_class_maps() -> None:
    assert len(LABEL_NAMES) == 20
    assert set(RAW_TO_LABEL.values()) == set(range(20))
    moving = {252: 10, 253: 31, 254: 30, 255: 32, 256: 16, 257: 13, 258: 18, 259: 20}
    assert all(RAW_TO_LABEL[raw] == RAW_TO_LABEL[standing] for raw, standing in moving.items())
    for mapping, names, classes in (
        (SEMANTIC_KITTI_TO_NUSCENES, LABEL_NAMES, NUSCENES_CLASSES),
        (SEMANTIC_KITTI_TO_WAYMO, LABEL_NAMES, WAYMO_CLASSES),
        (KITTI_TO_NUSCENES, KITTI_CLASSES, NUSCENES_CLASSES),
        (KITTI_TO_WAYMO, KITTI_CLASSES, WAYMO_CLASSES),
    ):
        assert set(mapping) <= set(names)
        assert set(mapping.values()) <= set(classes)


def test_names_and_poses_need_no_cloud(root: Path) -> None:
    source = SemanticKittiSource(root, cameras=False)
    assert_names_labels_and_poses_need_no_cloud(source, "lidarloop_training.data.kitti.semantic.read_unit_intensities")
