from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.camera import in_image, project
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.bag.writer import write_bag
from lidarloop_training.data.kitti.classes import KITTI_CLASSES
from lidarloop_training.data.kitti.object import KittiObjectSource
from lidarloop_training.data.kitti.raw import KittiRawSource
from tests.training.sources import assert_names_labels_and_poses_need_no_cloud

# Velodyne x forward, y left, z up → camera x right, y down, z forward, 0.1 m below and 0.2 m ahead of it.
TR_VELO_TO_CAM = "0 -1 0 0 0 0 -1 -0.1 1 0 0 -0.2"
P2 = "700 0 600 42 0 700 180 0 0 0 1 0"


@pytest.fixture
def object_root(tmp_path: Path) -> Path:
    for folder in ("velodyne", "calib", "label_2"):
        (tmp_path / folder).mkdir()
    (tmp_path / "calib" / "000007.txt").write_text(
        f"P2: {P2}\nR0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: {TR_VELO_TO_CAM}\n"
    )
    points = np.array([[20.2, -3.0, -0.9, 0.5], [50.0, 0.0, 0.0, 1.0]], dtype=np.float32)
    points.tofile(tmp_path / "velodyne" / "000007.bin")
    (tmp_path / "label_2" / "000007.txt").write_text(
        "Car 0.00 0 0 0 0 1 1 1.5 1.8 4.0 3.0 1.65 20.0 -1.5707963\n"
        "Tram 0.00 0 0 0 0 1 1 3.0 2.0 9.0 0.0 2.0 30.0 0.0\n"
        "DontCare -1 -1 -10 0 0 1 1 -1 -1 -1 -1000 -1000 -1000 -10\n"
    )
    return tmp_path


def test_object_labels_by_hand(object_root: Path) -> None:
    (sample,) = [KittiObjectSource(object_root, own_classes=True)[0]]
    boxes = sample.annotations.boxes
    assert boxes.names == ["Car", "Tram"]
    assert boxes.class_names == KITTI_CLASSES
    # Camera (3, 1.65 - 0.75, 20) is Velodyne (20.2, -3, -1.0); it looks where the car heads.
    np.testing.assert_allclose(boxes.values[0, :7], [20.2, -3.0, -1.0, 4.0, 1.8, 1.5, 0.0], atol=1e-5)
    # rotation_y = 0 heads along the camera's x, which is the Velodyne's -y.
    np.testing.assert_allclose(boxes.values[1, :7], [30.2, 0.0, -0.6, 9.0, 2.0, 3.0, -np.pi / 2], atol=1e-5)
    assert sample.annotations.num_lidar_pts.tolist() == [1, 0]
    np.testing.assert_allclose(sample.keyframe.points[:, 3], [127.5, 255.0])
    assert sample.keyframe.world_SE3_ego is None


def test_object_classes_are_mapped(object_root: Path) -> None:
    own = KittiObjectSource(object_root, own_classes=True)[0].annotations
    annotations = KittiObjectSource(object_root)[0].annotations
    assert annotations.boxes.class_names == NUSCENES_CLASSES
    assert annotations.boxes.names == ["car"]  # nuScenes has no trams
    np.testing.assert_array_equal(annotations.boxes.values, own.boxes.values[:1])
    assert annotations.instance_ids == own.instance_ids[:1]
    assert annotations.num_lidar_pts.tolist() == [1]
    (object_root / "label_2" / "000007.txt").write_text("")
    assert len(KittiObjectSource(object_root)[0].annotations.boxes) == 0


def test_object_errors_name_the_file(object_root: Path) -> None:
    for line in ("Cat 0 0", "Car 0 0", "Car 0.00 0 0 0 0 1 1 1.5 1.8 4.0 3.0 1.65 far -1.57"):
        (object_root / "label_2" / "000007.txt").write_text(f"{line}\n")
        with pytest.raises(DatasetError, match=rf"000007\.txt, line 1.*{line[:5]}"):
            KittiObjectSource(object_root)[0]
    (object_root / "calib" / "000007.txt").write_text("P2: 1 2 3\n")
    with pytest.raises(DatasetError, match=r"calib.*000007\.txt.*P2"):
        KittiObjectSource(object_root)[0]
    (object_root / "velodyne" / "000007.bin").write_bytes(b"123")
    with pytest.raises(DatasetError, match="velodyne"):
        KittiObjectSource(object_root / "velodyne")


def test_raw_recording_in_the_official_layout(tmp_path: Path) -> None:
    drive = tmp_path / "2011_09_26" / "2011_09_26_drive_0001_sync"
    for sensor, times in (("velodyne_points", "13:02:25.951199337"), ("image_02", "13:02:25.964389445")):
        (drive / sensor / "data").mkdir(parents=True)
        second_time = times.replace(":25.", ":26.")
        (drive / sensor / "timestamps.txt").write_text(f"2011-09-26 {times}\n2011-09-26 {second_time}\n")
    np.array([[1, 2, 3, 1.0]], dtype=np.float32).tofile(drive / "velodyne_points" / "data" / "0000000001.bin")
    Image.new("RGB", (40, 30)).save(drive / "image_02" / "data" / "0000000001.png")
    (drive.parent / "calib_velo_to_cam.txt").write_text(
        "calib_time: 15-Mar-2012 11:37:16\nR: 0 -1 0 0 0 -1 1 0 0\nT: 0 -0.1 -0.2\n"
    )
    (drive.parent / "calib_cam_to_cam.txt").write_text(f"R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: {P2}\n")
    (sample,) = [KittiRawSource(drive)[0]]  # the first cloud is missing, as in some real recordings
    assert sample.stamp_ns == 1_317_042_146_951_199_337
    (image,) = sample.cameras
    assert (image.stamp_ns, image.width, image.height) == (1_317_042_146_964_389_445, 40, 30)
    # The left colour camera sits 42 / 700 m to the left of the reference camera.
    np.testing.assert_allclose(image.ego_SE3_camera.translation, [0.2, 0.06, 1.73 - 0.1], atol=1e-9)
    assert image.load().shape == (30, 40, 3)


def test_raw_errors_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="velodyne_points"):
        KittiRawSource(tmp_path)
    (tmp_path / "velodyne_points").mkdir()
    np.zeros((1, 4), np.float32).tofile(tmp_path / "velodyne_points" / "0.bin")
    (tmp_path / "image_02").mkdir()
    Image.new("RGB", (4, 3)).save(tmp_path / "image_02" / "0.png")
    with pytest.raises(DatasetError, match=r"calib_cam_to_cam\.txt"):
        KittiRawSource(tmp_path)
    assert KittiRawSource(tmp_path, cameras=False)[0].cameras == ()
    (tmp_path / "velodyne_points" / "timestamps.txt").write_text("")
    with pytest.raises(DatasetError, match=r"timestamps\.txt"):
        KittiRawSource(tmp_path, cameras=False)


@pytest.mark.real
def test_real_labels_lie_on_their_points(real_data: Path) -> None:
    folders = ("kitti_object_labelled", "kitti_object_with_images")
    sources = [KittiObjectSource(real_data / folder, own_classes=True) for folder in folders]
    assert [len(source) for source in sources] == [16, 3]
    counts = np.concatenate([s[i].annotations.num_lidar_pts for s in sources for i in range(len(s))])
    assert len(counts) > 80
    assert (counts > 0).mean() >= 0.96


@pytest.mark.real
def test_real_points_lie_on_the_picture(real_data: Path) -> None:
    """Labelled boxes' points project into the labels' own 2D boxes: calibration, frames and yaw agree."""
    source = KittiObjectSource(real_data / "kitti_object_with_images", own_classes=True)
    for index, name in enumerate(("000000", "000001", "000002")):
        sample = source[index]
        (image,) = sample.cameras
        camera_SE3_lidar = image.ego_SE3_camera.inverse() @ sample.keyframe.ego_SE3_lidar
        lines = (source.root / "label_2" / f"{name}.txt").read_text().splitlines()
        rectangles = [np.array(line.split()[4:8], float) for line in lines if not line.startswith("DontCare")]
        centers = camera_SE3_lidar.transform(sample.annotations.boxes.centers.astype(np.float64))
        pixels, depth = project(centers, image.intrinsics)
        assert in_image(pixels, depth, image.width, image.height, min_depth_m=1.0).all()
        for pixel, (left, top, right, bottom) in zip(pixels, rectangles, strict=True):
            assert left <= pixel[0] <= right
            assert top <= pixel[1] <= bottom


@pytest.mark.real
def test_real_recording_goes_through_a_bag(real_data: Path, tmp_path: Path) -> None:
    source = KittiRawSource(real_data / "kitti_raw_sequence")
    read = BagSource(write_bag(source, tmp_path / "kitti.mcap"), num_sweeps=3)
    assert len(read) == len(source) == 12
    for i in range(12):
        got, want = read[i], source[i]
        np.testing.assert_array_equal(got.keyframe.points, want.keyframe.points)
        assert got.keyframe.columns == ("x", "y", "z", "intensity")
        assert 200 < got.keyframe.points[:, 3].max() <= 255
        np.testing.assert_allclose(got.keyframe.ego_SE3_lidar.matrix, want.keyframe.ego_SE3_lidar.matrix, atol=1e-12)
        np.testing.assert_allclose(
            got.cameras[0].ego_SE3_camera.matrix, want.cameras[0].ego_SE3_camera.matrix, atol=1e-6
        )
        assert got.annotations is None
    # The PNG itself is in the bag.
    np.testing.assert_array_equal(read[5].cameras[0].load(), source[5].cameras[0].load())


def test_names_labels_and_poses_of_the_benchmark_need_no_cloud(object_root: Path) -> None:
    source = KittiObjectSource(object_root)
    assert_names_labels_and_poses_need_no_cloud(source, "lidarloop_training.data.kitti.object.read_unit_intensities")
    counts = source.annotations(0).num_lidar_pts
    assert len(counts) > 0
    assert (counts == -1).all()  # KITTI publishes none: the cloud would have to be read
    assert (source[0].annotations.num_lidar_pts >= 0).all()


@pytest.mark.real
def test_names_and_poses_of_a_recording_need_no_cloud(real_data: Path) -> None:
    source = KittiRawSource(real_data / "kitti_raw_sequence", cameras=False)
    assert_names_labels_and_poses_need_no_cloud(source, "lidarloop_training.data.kitti.raw.read_unit_intensities")


def test_a_cloud_whose_numbers_are_of_another_format_is_named(object_root: Path) -> None:
    path = object_root / "velodyne" / "000007.bin"
    random = np.random.default_rng(0)
    points = random.uniform((-50, -50, -2, 0), (50, 50, 3, 255), (500, 4)).astype(np.float32)
    points.tofile(path)
    with pytest.raises(DatasetError, match=r"000007\.bin.*intensities from .* to 25\d.*KITTI.*0–1"):
        KittiObjectSource(object_root)[0]
    random.integers(0, 2**31, (500, 4)).astype("<i4").tofile(path)
    with pytest.raises(DatasetError, match=r"000007\.bin"):
        KittiObjectSource(object_root)[0]


def test_one_wild_point_does_not_cost_the_cloud(object_root: Path) -> None:
    random = np.random.default_rng(0)
    points = random.uniform((-50, -50, -2, 0), (50, 50, 3, 1), (500, 4)).astype(np.float32)
    points[0, 3], points[1, 0] = 1e30, np.nan
    points.tofile(object_root / "velodyne" / "000007.bin")
    read = KittiObjectSource(object_root)[0].keyframe.points
    assert read[0, 3] == 255.0
    np.testing.assert_allclose(read[2:, 3], points[2:, 3] * 255, rtol=1e-6)


@pytest.mark.parametrize("matrix", ["0 0 0 0 0 0 0 0 0 0 0 0", "1 1 1 0 1 1 1 0 1 1 1 0", "nan 0 0 0 0 1 0 0 0 0 1 0"])
def test_a_calibration_that_is_no_rotation_names_its_file(object_root: Path, matrix: str) -> None:
    text = f"P2: {P2}\nR0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: {matrix}\n"
    (object_root / "calib" / "000007.txt").write_text(text)
    with pytest.raises(DatasetError, match=r"calib.*000007\.txt.*restore"):
        KittiObjectSource(object_root)[0]
    (object_root / "calib" / "000007.txt").write_bytes(b"P2: \xff\xfe\n" + text.encode("utf-16"))
    with pytest.raises(DatasetError, match=r"calib.*000007\.txt"):
        KittiObjectSource(object_root)[0]


def test_a_matrix_with_a_number_too_few_is_one_line(object_root: Path) -> None:
    long = " ".join(["700.123456"] * 11)
    (object_root / "calib" / "000007.txt").write_text(f"P2: {long}\n")
    with pytest.raises(DatasetError, match=r"received 11 numbers of P2; expected 12") as error:
        KittiObjectSource(object_root)[0]
    assert "\\n" not in str(error.value)
