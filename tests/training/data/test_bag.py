from __future__ import annotations

import pickle

import numpy as np
import pytest

from lidarloop_core.errors import BagError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import messages
from lidarloop_core.io.bag import BagReader, BagWriter, message_type
from lidarloop_training.data.bag import BagSource
from lidarloop_training.data.bag_writer import write_bag
from lidarloop_training.data.images import encode_jpeg

MS = 1_000_000


def test_round_trip(street, tmp_path):
    path = write_bag(street, tmp_path / "street.mcap")
    read = BagSource(path, num_sweeps=3)
    assert len(read) == len(street)
    for i, sample in enumerate(map(read.__getitem__, range(len(read)))):
        expected = street[i]
        assert sample.token == str(expected.stamp_ns)
        assert [s.stamp_ns for s in sample.sweeps] == [street[j].stamp_ns for j in range(i, max(i - 3, -1), -1)]
        assert sample.keyframe.columns == expected.keyframe.columns
        np.testing.assert_array_equal(sample.keyframe.points, expected.keyframe.points)
        for pose in ("world_SE3_ego", "ego_SE3_lidar"):
            got, want = getattr(sample.keyframe, pose), getattr(expected.keyframe, pose)
            np.testing.assert_allclose(got.matrix, want.matrix, atol=1e-9)
        np.testing.assert_array_equal(sample.annotations.boxes.values, expected.annotations.boxes.values)
        np.testing.assert_array_equal(sample.annotations.num_lidar_pts, expected.annotations.num_lidar_pts)
        np.testing.assert_array_equal(sample.annotations.visibility, expected.annotations.visibility)
        assert sample.annotations.instance_ids == expected.annotations.instance_ids
        assert sample.annotations.boxes.names == expected.annotations.boxes.names
        (image,), (want,) = sample.cameras, expected.cameras
        assert (image.name, image.width, image.height, image.stamp_ns) == ("CAM_FRONT", 96, 64, expected.stamp_ns)
        np.testing.assert_array_equal(image.load(), encode_jpeg(street.pixels(i))())
        np.testing.assert_array_equal(image.intrinsics, want.intrinsics)
        np.testing.assert_allclose(image.ego_SE3_camera.matrix, want.ego_SE3_camera.matrix, atol=1e-9)
        np.testing.assert_array_equal(sample.lane_map.centerlines[1], expected.lane_map.centerlines[1])
        assert sample.lane_map.lane_ids == expected.lane_map.lane_ids


def test_topics_and_order(street, tmp_path):
    with BagReader(write_bag(street, tmp_path / "street.mcap")) as bag:
        assert set(bag.topics) == {
            "/lidar/points", "/odom", "/tf", "/tf_static", "/lane_map", "/lidarloop/provenance",
            "/camera/cam_front/image/compressed", "/camera/cam_front/camera_info",
            "/ground_truth/detections", "/ground_truth/boxes", "/ground_truth/class_names",
        }  # fmt: skip
        order = [topic for topic, _, _ in bag.messages()]
        clouds = [m for _, _, m in bag.messages(["/lidar/points"])]
        assert bag.latched_topics >= {"/tf_static", "/lane_map", "/ground_truth/class_names", "/lidarloop/provenance"}
    assert order.index("/odom") < order.index("/lidar/points")
    assert order.index("/tf_static") < order.index("/lidar/points")
    assert {f.name: f.datatype for f in clouds[0].fields} == {"x": 7, "y": 7, "z": 7, "intensity": 7, "ring": 4}
    assert clouds[0].header.frame_id == "lidar_top"


def test_twist_is_the_motion_of_the_ego(make_street, tmp_path):
    street = make_street()
    with BagReader(write_bag(street, tmp_path / "street.mcap")) as bag:
        odometry = [m for _, _, m in bag.messages(["/odom"])]
    for i, message in enumerate(odometry[1:-1], start=1):
        pose, twist = street.world_SE3_ego(0.1 * i), message.twist.twist
        forward = pose.rotation.T @ [7.0, 0.0, 0.2]
        np.testing.assert_allclose([twist.linear.x, twist.linear.y, twist.linear.z], forward, atol=1e-6)
        assert np.linalg.norm([twist.angular.x, twist.angular.y, twist.angular.z]) == pytest.approx(0.2, abs=1e-6)


def test_same_bytes_with_any_number_of_workers(street, tmp_path):
    one = write_bag(street, tmp_path / "a" / "street.mcap")
    two = write_bag(street, tmp_path / "b" / "street.mcap", num_workers=2)
    assert one.read_bytes() == two.read_bytes()


def test_nothing_half_written_stays(street, tmp_path):
    class Broken:
        def __len__(self):
            return 5

        def __getitem__(self, index):
            if index == 3:
                raise OSError("disk gone")
            return street[index]

    with pytest.raises(OSError, match="disk gone"):
        write_bag(Broken(), tmp_path / "street.mcap")
    assert list(tmp_path.iterdir()) == []


def test_unlabelled_source_without_motion(make_street, tmp_path):
    path = write_bag(make_street(labelled=False, has_motion=False), tmp_path / "plain.mcap", cameras=False)
    sample = BagSource(path, num_sweeps=3)[4]
    assert len(sample.sweeps) == 1
    assert sample.keyframe.world_SE3_ego is None
    assert sample.annotations is None
    assert sample.cameras == ()


def test_older_sweeps_of_samples_are_written_once(street, tmp_path):
    dense = BagSource(write_bag(street, tmp_path / "street.mcap"), num_sweeps=4)

    class EveryFifth:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return dense[5 * index]

    read = BagSource(write_bag(EveryFifth(), tmp_path / "some.mcap"))
    assert [read[i].stamp_ns for i in range(len(read))] == [street[i].stamp_ns for i in (0, 2, 3, 4, 5, 7, 8, 9, 10)]
    assert [read[i].annotations is not None for i in range(len(read))] == [i in (0, 4, 8) for i in range(9)]


def test_pickles_without_its_open_file(street, tmp_path):
    source = BagSource(write_bag(street, tmp_path / "street.mcap"))
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again[7].keyframe.points, source[7].keyframe.points)


def _cloud(stamp_ns: int, frame: str = "velodyne", num_points: int = 5) -> object:
    columns = {name: np.arange(num_points, dtype=np.float32) for name in "xyz"}
    return messages.cloud_message(columns, stamp_ns, frame, message_type)


def test_foreign_bag_with_clouds_alone(tmp_path):
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for i in range(4):
            bag.write("/velodyne_points", 1000 + 100 * MS * i + 37, _cloud(1000 + 100 * MS * i))
    source = BagSource(tmp_path / "drive.mcap", num_sweeps=3)
    assert [source[i].token for i in range(len(source))] == [str(1000 + 100 * MS * i) for i in range(4)]
    sample = source[2]
    assert sample.scene == "drive"
    assert sample.keyframe.columns == ("x", "y", "z")
    np.testing.assert_array_equal(sample.keyframe.ego_SE3_lidar.matrix, np.eye(4))
    with pytest.raises(IndexError):
        source[4]


def test_foreign_frames_are_resolved_and_poses_interpolated(tmp_path):
    ego_SE3_mast, mast_SE3_lidar = SE3.from_yaw(0.5, (1, 0, 1)), SE3.from_yaw(-0.2, (0, 0, 0.7))
    with BagWriter(tmp_path / "drive.mcap") as bag:
        statics = [("vehicle", "mast", ego_SE3_mast), ("mast", "velodyne", mast_SE3_lidar)]
        bag.write("/tf_static", 0, messages.transforms_message(statics, 0, message_type))
        for i in range(3):
            message = messages.odometry_message(
                SE3.from_yaw(0.0, (i, 0, 0)), (1, 0, 0), (0, 0, 0), 200 * MS * i, message_type, child_frame_id="vehicle"
            )
            bag.write("/localisation/odometry", 200 * MS * i, message)
        for stamp_ns in (-0, 150 * MS, 300 * MS, 500 * MS):
            bag.write("/points", stamp_ns, _cloud(stamp_ns))
    with pytest.warns(UserWarning, match="1 clouds without a pose"):
        source = BagSource(tmp_path / "drive.mcap")
    assert len(source) == 3
    keyframe = source[1].keyframe
    np.testing.assert_allclose(keyframe.ego_SE3_lidar.matrix, (ego_SE3_mast @ mast_SE3_lidar).matrix, atol=1e-12)
    np.testing.assert_allclose(keyframe.world_SE3_ego.translation, [0.75, 0, 0], atol=1e-12)


def test_errors_name_what_is_there(tmp_path):
    with BagWriter(tmp_path / "two.mcap") as bag:
        bag.write("/left", 0, _cloud(0))
        bag.write("/right", 0, _cloud(0))
    with pytest.raises(BagError, match=r"2 topics.*/left.*/right"):
        BagSource(tmp_path / "two.mcap")
    assert len(BagSource(tmp_path / "two.mcap", points_topic="/left")) == 1
    with pytest.raises(BagError, match="/middle"):
        BagSource(tmp_path / "two.mcap", points_topic="/middle")
    with BagWriter(tmp_path / "none.mcap") as bag:
        bag.write("/names", 0, messages.string_message([], message_type))
    with pytest.raises(BagError, match=r"0 topics.*/names"):
        BagSource(tmp_path / "none.mcap")
    with BagWriter(tmp_path / "loose.mcap") as bag:
        pose = messages.odometry_message(SE3.identity(), (0, 0, 0), (0, 0, 0), 0, message_type)
        bag.write("/odom", 0, pose)
        bag.write("/points", 0, _cloud(0))
    with pytest.raises(BagError, match="base_link to velodyne"):
        BagSource(tmp_path / "loose.mcap")
