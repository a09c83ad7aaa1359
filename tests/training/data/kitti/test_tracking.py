from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.io.overlay import wireframes
from lidarloop_core.sample import camera_SE3_lidar
from lidarloop_training.data.drive_lookup import drive_at
from lidarloop_training.data.drive_spec import KittiTracking
from lidarloop_training.data.kitti.tracking import KittiTrackingSource
from lidarloop_training.data.kitti.tracking_poses import ORB_SLAM3_SCALE
from tests.training.data.kitti.tracking_fixture import EARTH_M, SPEED_MPS, write_tracking
from tests.training.sources import assert_names_labels_and_poses_need_no_cloud


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tracking(tmp_path)
    return tmp_path


def test_frames_keep_their_numbers_and_come_by_sequence(root: Path) -> None:
    source = KittiTrackingSource(root)
    assert [key.token for key in source.keys] == ["0001-000010", "0001-000012", "0001-000014", "0002-000000"]
    assert [key.drive for key in source.keys] == ["kitti-tracking-0001"] * 3 + ["kitti-tracking-0002"]
    # Times of the file; 0.1 s a frame without.
    assert np.diff([key.stamp_ns for key in source.keys[:3]]).tolist() == [206_000_000, 206_000_000]
    assert drive_at(root) == KittiTracking(root)
    assert len(KittiTracking(root, sequence="0002").open()) == 1
    assert KittiTracking(root).one_of(("kitti-tracking-0001",)) == "--sequence 0001"
    assert len(pickle.loads(pickle.dumps(source))) == 4


def test_boxes_are_tracked_and_others_have_none(root: Path) -> None:
    annotations = KittiTrackingSource(root)[0].annotations
    assert annotations.boxes.class_names == NUSCENES_CLASSES
    assert annotations.boxes.names == ["car", "pedestrian"]  # Person is Person_sitting; DontCare has no box
    assert annotations.instance_ids == ("0001-3", "0001-4")
    np.testing.assert_allclose(annotations.boxes.values[0, :7], [20.2, -3.0, -1.0, 4.0, 1.8, 1.5, 0.0], atol=1e-5)
    assert annotations.num_lidar_pts.tolist() == [1, 0]
    own = KittiTrackingSource(root, own_classes=True)[0].annotations
    assert own.boxes.names == ["Car", "Person_sitting"]
    assert KittiTrackingSource(root)[3].annotations is None, "the second sequence is not labelled"


def test_velocities_are_over_the_ground(root: Path) -> None:
    """The car keeps its place before the ego, which drives on; a person who is labelled once has no velocity."""
    values = KittiTrackingSource(root)[1].annotations.boxes.values
    np.testing.assert_allclose(values[0, 7:9], [SPEED_MPS, 0.0], atol=1e-3)
    person = KittiTrackingSource(root)[0].annotations.boxes.values[1]
    assert np.isnan(person[7:9]).all(), "labelled once"


def test_oxts_leads_east_at_the_speed_driven(root: Path) -> None:
    source = KittiTrackingSource(root, num_sweeps=2)
    poses = [source.pose(i).world_SE3_ego for i in range(3)]
    np.testing.assert_allclose(poses[0].rotation, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(poses[2].translation - poses[0].translation, [2 * EARTH_M, 0, 0], atol=1e-6)
    assert [len(source[i].sweeps) for i in range(4)] == [1, 2, 2, 1]
    lines = (root / "oxts" / "0001.txt").read_text().splitlines()
    bare = {int(line.split()[0]): line.split(maxsplit=1)[1] for line in lines}
    unnumbered = "\n".join(bare.get(number, bare[10]) for number in range(15))
    published = root / "published"
    write_tracking(published)
    (published / "oxts" / "0001.txt").write_text(unnumbered + "\n")
    same = KittiTrackingSource(published)
    for i in range(3):
        np.testing.assert_array_equal(same.pose(i).world_SE3_ego.matrix, poses[i].matrix)


def test_orbslam3_is_shortened(root: Path) -> None:
    source = KittiTrackingSource(root, poses="orbslam3")
    np.testing.assert_allclose(source.pose(1).world_SE3_ego.translation, [2.06 / ORB_SLAM3_SCALE, 0, 0], atol=1e-9)
    assert source.pose(3).world_SE3_ego is None, "the second sequence has none"


def test_images_fit_points_ahead_without_the_ego_motion_of_their_delay(root: Path) -> None:
    sample = KittiTrackingSource(root)[1]
    (image,) = sample.cameras
    assert image.stamp_ns - sample.stamp_ns == 10_000_000
    still = image.ego_SE3_camera.inverse() @ sample.keyframe.ego_SE3_lidar
    np.testing.assert_allclose(camera_SE3_lidar(image, sample.keyframe).matrix, still.matrix, atol=1e-12)
    assert image.load().shape == (30, 40, 3)


def test_png_is_taken_before_jpeg(root: Path) -> None:
    Image.new("RGB", (50, 20)).save(root / "image_02" / "0001" / "000010.png")
    assert KittiTrackingSource(root)[0].cameras[0].width == 50


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("label_02/0001.txt", "10 3 Cat 0 0\n", r"0001\.txt, line 1.*Cat.*restore"),
        ("label_02/0001.txt", "x\n", r"0001\.txt, line 1"),
        ("oxts/0001.txt", "1 2 3\n", r"oxts/0001\.txt.*30 numbers"),
        ("oxts/0001.txt", "", r"oxts/0001\.txt"),
        ("timestamps/0001.txt", "10 1.0 nan\n12 1 1\n14 1 1\n", r"timestamps/0001\.txt.*not finite"),
        ("calib/0001.txt", "P2: 1 2\n", r"calib/0001\.txt.*P2"),
    ],
)
def test_damaged_files_are_named(root: Path, path: str, content: str, expected: str) -> None:
    (root / path).write_text(content)
    with pytest.raises(DatasetError, match=expected):
        KittiTrackingSource(root)[0]


def test_a_missing_sequence_names_those_there_are(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"velodyne/0009.*0001, 0002"):
        KittiTrackingSource(root, sequences=["0009"])
    with pytest.raises(DatasetError, match="velodyne/0000"):
        KittiTrackingSource(root / "label_02")


def test_names_labels_and_poses_need_no_cloud(root: Path) -> None:
    source = KittiTrackingSource(root)
    assert_names_labels_and_poses_need_no_cloud(source, "lidarloop_training.data.kitti.tracking.read_unit_intensities")


@pytest.mark.real
def test_real_oxts_equal_poses_computed_by_others(streets: Path) -> None:
    source = KittiTrackingSource(streets / "kitti_tracking", sequences=["0003"])
    published = np.loadtxt(streets / "kitti_tracking" / "poses_velo_oxts" / "0003.txt")[:, 1:].reshape(-1, 3, 4)
    first = source.pose(0).world_SE3_lidar.inverse()
    for i in range(len(source)):
        np.testing.assert_allclose((first @ source.pose(i).world_SE3_lidar).matrix[:3], published[i], atol=1e-6)


@pytest.mark.real
def test_real_labels_lie_in_the_front_cameras_view_alone(streets: Path) -> None:
    """What is beside or behind the vehicle has no box: no detection there may count as wrong."""
    source = KittiTrackingSource(streets / "kitti_tracking", sequences=["0003"])
    for i in range(0, len(source), 9):
        sample = source[i]
        (image,) = sample.cameras
        assert len(wireframes(image, sample.keyframe, sample.annotations.boxes)) == len(sample.annotations.boxes)
    assert (source[30].keyframe.points[:, 0] < -5).mean() > 0.2, "the cloud goes all around"
