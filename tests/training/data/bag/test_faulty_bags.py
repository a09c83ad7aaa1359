"""Bags as vehicles record them on a bad day: what is wrong is left out and said, or refused in one clear line."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from lidarloop_core.errors import BagError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import messages
from lidarloop_core.io.bag import BagReader, BagWriter, message_type, typestore
from lidarloop_core.io.images import encode_jpeg
from lidarloop_training.data.bag import layout
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.bag.writer import write_bag

MS = 1_000_000
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def cloud(stamp_ns: int, frame: str = "lidar", **columns: np.ndarray) -> Any:
    xyz = {name: np.arange(1, 6, dtype=np.float32) for name in "xyz"}
    return messages.cloud_message({**xyz, **columns}, stamp_ns, frame, message_type)


def odometry(stamp_ns: int, x_m: float, child: str = "lidar") -> Any:
    pose = SE3.from_yaw(0.0, (x_m, 0, 0))
    return messages.odometry_message(pose, (0, 0, 0), (0, 0, 0), stamp_ns, message_type, child_frame_id=child)


def transforms(*edges: tuple[str, str, SE3], stamp_ns: int = START) -> Any:
    return messages.transforms_message(edges, stamp_ns, message_type)


def picture(stamp_ns: int, width: int = 8, height: int = 6) -> Any:
    return messages.image_message(
        encode_jpeg(np.zeros((height, width, 3), np.uint8)).data, stamp_ns, "front", message_type
    )


def info(stamp_ns: int, focal: float = 10.0, width: int = 8, height: int = 6, frame: str = "front") -> Any:
    return messages.camera_info_message(np.diag([focal, focal, 1.0]), width, height, stamp_ns, frame, message_type)


def test_clouds_without_a_stamp_are_refused_and_read_by_reception(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for i in range(8):
            bag.write("/points", START + 100 * MS * i, cloud(0))
    with pytest.raises(BagError, match=r"7 of 8 clouds on /points .*--stamps reception"):
        BagSource(tmp_path / "drive.mcap")
    source = BagSource(tmp_path / "drive.mcap", stamps="reception")
    assert [source[i].stamp_ns for i in range(8)] == [START + 100 * MS * i for i in range(8)]


def test_single_stamps_that_repeat_are_counted(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for i in (0, 1, 1, 2, 3):
            bag.write("/points", START + 100 * MS * i, cloud(START + 100 * MS * i))
    with pytest.warns(UserWarning, match=r"1 messages of /points with the stamp of another left out"):
        assert len(BagSource(tmp_path / "drive.mcap")) == 4


def test_stamps_of_another_epoch_are_refused(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for i, stamp_ns in enumerate((0, START, START + 100 * MS)):
            bag.write("/points", START + 100 * MS * i, cloud(stamp_ns))
    with pytest.raises(BagError, match=r"stamped 0\.000 s and then .* hours apart.*--stamps reception"):
        BagSource(tmp_path / "drive.mcap")
    assert len(BagSource(tmp_path / "drive.mcap", stamps="reception")) == 3


def test_poses_that_are_none_are_counted_and_the_others_used(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for i in range(6):
            message = odometry(START + 100 * MS * i, 1.0 * i)
            if i in (2, 4):
                message.pose.pose.orientation.w = 0.0 if i == 2 else np.nan
            bag.write("/odom", START + 100 * MS * i, message)
            bag.write("/points", START + 100 * MS * i, cloud(START + 100 * MS * i))
    with pytest.warns(UserWarning, match=r"2 poses of /odom left out, the first: SE3 received the quaternion"):
        source = BagSource(tmp_path / "drive.mcap")
    pose = source[2].keyframe.world_SE3_ego
    assert pose is not None
    np.testing.assert_allclose(pose.translation, [2.0, 0, 0], atol=1e-6)


def test_transforms_that_are_none_are_counted(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "drive.mcap") as bag:
        message = transforms(("base", "lidar", SE3.identity()), ("base", "radar", SE3.identity()))
        message.transforms[1].transform.rotation.w = 0.0
        bag.write("/tf_static", START, message)
        bag.write("/points", START, cloud(START))
    with pytest.warns(UserWarning, match=r"1 transforms base→radar left out"):
        assert len(BagSource(tmp_path / "drive.mcap")) == 1


def _with_empty_topics(path: Path) -> None:
    store = typestore()
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, kind in (("/odom", "nav_msgs/msg/Odometry"), ("/lidar/points", "sensor_msgs/msg/PointCloud2")):
            writer.add_connection(topic, kind, typestore=store)
        points = writer.add_connection("/points", "sensor_msgs/msg/PointCloud2", typestore=store)
        tf = writer.add_connection("/tf", "tf2_msgs/msg/TFMessage", typestore=store)
        for i in range(3):
            stamp_ns = START + 100 * MS * i
            edge = transforms(("odom", "lidar", SE3.from_yaw(0.0, (i, 0, 0))), stamp_ns=stamp_ns)
            writer.write(tf, stamp_ns, store.serialize_cdr(edge, "tf2_msgs/msg/TFMessage"))
            writer.write(points, stamp_ns, store.serialize_cdr(cloud(stamp_ns), "sensor_msgs/msg/PointCloud2"))


def test_topics_without_messages_are_passed_over(tmp_path: Path) -> None:
    _with_empty_topics(tmp_path / "drive")
    source = BagSource(tmp_path / "drive")
    assert source.points_topics == ("/points",)
    pose = source[2].keyframe.world_SE3_ego
    assert pose is not None
    np.testing.assert_allclose(pose.translation, [2.0, 0, 0], atol=1e-9)
    with pytest.raises(BagError, match="no message on /odom; name another topic for odometry_topic"):
        BagSource(tmp_path / "drive", odometry_topic="/odom")
    assert BagSource(tmp_path / "drive", odometry_topic="none")[2].keyframe.world_SE3_ego is None
    assert BagSource(tmp_path / "drive", odometry_topic="/tf")[2].keyframe.world_SE3_ego is not None


@pytest.mark.parametrize("option", ["points_topics", "odometry_topic"])
def test_a_topic_of_another_type_is_named_with_both_types(tmp_path: Path, option: str) -> None:
    with BagWriter(tmp_path / "drive.mcap") as bag:
        bag.write("/points", START, cloud(START))
        bag.write("/words", START, messages.string_message("x", message_type))
    named: dict[str, Any] = {option: ["/words"] if option == "points_topics" else "/words"}
    with pytest.raises(BagError, match=rf"/words is of type std_msgs/msg/String; {option} expected"):
        BagSource(tmp_path / "drive.mcap", **named)


def test_poses_of_another_clock_are_told_by_their_times(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for i in range(3):
            bag.write("/odom", START + 100 * MS * i, odometry(100 * MS * i, i))
            bag.write("/points", START + 100 * MS * i, cloud(START + 100 * MS * i))
    with pytest.raises(
        BagError, match=r"clouds are stamped 1700000000\.000…1700000000\.200 s, the 3 poses 0\.000…0\.200"
    ):
        BagSource(tmp_path / "drive.mcap")


def test_odometry_in_the_lidars_own_frame_needs_no_transform(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for i in range(3):
            bag.write("/odom", START + 100 * MS * i, odometry(START + 100 * MS * i, i))
            bag.write("/points", START + 100 * MS * i, cloud(START + 100 * MS * i))
    assert BagSource(tmp_path / "drive.mcap")[1].keyframe.world_SE3_ego is not None


def test_mountings_on_tf_alone_are_taken_as_static(tmp_path: Path) -> None:
    mounting = SE3.from_yaw(0.3, (1.0, 0, 1.8))
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for i in range(4):
            stamp_ns = START + 100 * MS * i
            pose = SE3.from_yaw(0.0, (2.0 * i, 0, 0))
            edges = (("odom", "base_link", pose), ("base_link", "lidar", mounting))
            bag.write("/tf", stamp_ns, transforms(*edges, stamp_ns=stamp_ns))
            bag.write("/points", stamp_ns, cloud(stamp_ns))
    with pytest.warns(UserWarning, match="base_link→lidar on /tf never change and are taken as static"):
        source = BagSource(tmp_path / "drive.mcap")
    keyframe = source[3].keyframe
    np.testing.assert_allclose(keyframe.ego_SE3_lidar.matrix, mounting.matrix, atol=1e-9)
    assert keyframe.world_SE3_ego is not None
    np.testing.assert_allclose(keyframe.world_SE3_ego.translation, [6.0, 0, 0], atol=1e-9)


def _camera_drive(path: Path, **first_info: Any) -> None:
    """Two clouds with pictures; the second camera has no mounting."""
    with BagWriter(path) as bag:
        bag.write("/tf_static", START, transforms(("lidar", "front", SE3.identity())))
        for i in range(2):
            stamp_ns = START + 100 * MS * i
            bag.write("/points", stamp_ns, cloud(stamp_ns))
            for name, frame in (("left", "front"), ("loose", "nowhere")):
                bag.write(f"/{name}/camera_info", stamp_ns, info(stamp_ns, frame=frame, **first_info))
                bag.write(f"/{name}/image/compressed", stamp_ns, picture(stamp_ns))


def test_a_camera_without_a_mounting_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    _camera_drive(tmp_path / "drive.mcap")
    with pytest.warns(UserWarning, match="from lidar to nowhere.*/loose/image/compressed is left out"):
        source = BagSource(tmp_path / "drive.mcap")
    assert [camera.name for camera in source[1].cameras] == ["LEFT"]


def test_a_calibration_of_another_size_than_the_pictures_is_left_out(tmp_path: Path) -> None:
    _camera_drive(tmp_path / "drive.mcap", width=16, height=12)
    with pytest.warns(UserWarning, match="/left/image/compressed has pictures of 8 × 6 .* for 16 × 12"):
        source = BagSource(tmp_path / "drive.mcap")
    assert source[0].cameras == ()


def _changing_drive(path: Path) -> None:
    """At the third cloud the camera sends smaller pictures from another place, and the LiDAR has been lifted."""
    with BagWriter(path) as bag:
        for i in range(4):
            stamp_ns, late = START + 100 * MS * i, i >= 2
            if i in (0, 2):
                height_m = 2.0 if late else 1.5
                edges = (
                    ("base_link", "lidar", SE3.from_yaw(0.0, (0, 0, height_m))),
                    ("base_link", "front", SE3.from_yaw(0.0, (height_m, 0, 0))),
                )
                bag.write("/tf_static", stamp_ns, transforms(*edges))
            size = {"width": 4, "height": 2} if late else {}
            bag.write("/cam/camera_info", stamp_ns, info(stamp_ns, 7.0 if late else 10.0, **size))
            bag.write("/cam/image/compressed", stamp_ns, picture(stamp_ns, **size))
            bag.write("/odom", stamp_ns, odometry(stamp_ns, i, "base_link"))
            bag.write("/points", stamp_ns, cloud(stamp_ns))


def test_calibrations_hold_from_their_stamp_in_a_bag_and_in_what_is_made_of_it(tmp_path: Path) -> None:
    _changing_drive(tmp_path / "drive.mcap")
    source = BagSource(tmp_path / "drive.mcap")
    written = BagSource(write_bag(source, tmp_path / "copy.mcap"))
    for drive in (source, written):
        cameras = [drive[i].cameras[0] for i in range(4)]
        assert [c.intrinsics[0, 0] for c in cameras] == [10, 10, 7, 7]
        assert [(c.width, c.height) for c in cameras] == [(8, 6), (8, 6), (4, 2), (4, 2)]
        assert [c.load().shape[:2] for c in cameras] == [(6, 8), (6, 8), (2, 4), (2, 4)]
        assert [round(float(c.ego_SE3_camera.translation[0]), 6) for c in cameras] == [1.5, 1.5, 2.0, 2.0]
        assert [round(float(drive[i].keyframe.ego_SE3_lidar.translation[2]), 6) for i in range(4)] == [1.5, 1.5, 2, 2]
        assert [round(float(drive.pose(i).ego_SE3_lidar.translation[2]), 6) for i in range(4)] == [1.5, 1.5, 2, 2]


@pytest.mark.parametrize("field", ["reflectivity", "i"])
def test_intensity_by_another_name_is_kept(tmp_path: Path, field: str) -> None:
    values = np.arange(5, dtype=np.uint16)
    with BagWriter(tmp_path / "drive.mcap") as bag:
        bag.write("/points", START, cloud(START, **{field: values}))
    with pytest.warns(UserWarning, match=f"{field} is read as intensity"):
        source = BagSource(tmp_path / "drive.mcap")
    with BagReader(write_bag(source, tmp_path / "copy.mcap")) as bag:
        ((_, _, message),) = bag.messages(["/lidar/points"])
    assert [f.name for f in message.fields] == ["x", "y", "z", "intensity"]
    np.testing.assert_array_equal(source[0].keyframe.points[:, 3], values)


def test_fields_that_nothing_reads_are_named_once_with_what_becomes_of_them(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for i in range(3):
            stamp_ns = START + 100 * MS * i
            t = np.arange(5, dtype=np.uint32)
            bag.write("/points", stamp_ns, cloud(stamp_ns, t=t, reflectivity=t, ambient=t, range=t))
    with pytest.warns(UserWarning, match="/points: ") as caught:
        write_bag(BagSource(tmp_path / "drive.mcap"), tmp_path / "copy.mcap")
    (remark,) = (str(w.message) for w in caught if "/points: " in str(w.message))
    assert remark.endswith(
        "/points: reflectivity is read as intensity, t is left out: if the driver did not deskew the clouds, read them "
        "with --deskew, ambient, range is left out: no step uses it"
    )


def test_names_of_unread_fields_are_bounded(tmp_path: Path) -> None:
    fields = {f"field{i}" + "x" * 500: np.zeros(5, np.uint8) for i in range(200)}
    with BagWriter(tmp_path / "drive.mcap") as bag:
        bag.write("/points", START, cloud(START, **fields))
    with pytest.warns(UserWarning, match="and 188 more is left out") as caught:
        BagSource(tmp_path / "drive.mcap")
    assert all(len(str(w.message)) < 1000 for w in caught)


@pytest.mark.parametrize(("unit", "per_s", "dtype"), [("ns", 1e9, np.uint32), ("µs", 1e6, np.float32), ("s", 1, "f4")])
def test_times_of_points_are_seconds_whatever_their_unit(tmp_path: Path, unit: str, per_s: float, dtype: Any) -> None:
    dt_s = np.linspace(0.0, 0.1, 5)
    with BagWriter(tmp_path / "drive.mcap") as bag:
        bag.write("/points", START, cloud(START, dt=(dt_s * per_s).astype(dtype)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = BagSource(tmp_path / "drive.mcap")
    assert [f"dt is read as {unit}" in str(w.message) for w in caught] == ([] if unit == "s" else [True])
    np.testing.assert_allclose(source[0].keyframe.points[:, 3], dt_s, atol=1e-6)


def test_messages_that_are_too_short_are_counted(tmp_path: Path) -> None:
    store = typestore()
    with Writer(tmp_path / "drive", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        points = writer.add_connection("/points", "sensor_msgs/msg/PointCloud2", typestore=store)
        for i in range(3):
            stamp_ns = START + 100 * MS * i
            whole = bytes(store.serialize_cdr(cloud(stamp_ns), "sensor_msgs/msg/PointCloud2"))
            writer.write(points, stamp_ns, whole[:5] if i == 1 else whole)
    with pytest.warns(UserWarning, match=r"1 messages of /points that are too short left out, the first: 5 bytes"):
        assert len(BagSource(tmp_path / "drive")) == 2


@pytest.mark.parametrize("names", [5, "car", {"car": 1}, ["car", None], [["car"]]])
def test_class_names_of_another_form_are_refused(tmp_path: Path, names: object) -> None:
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for i in range(3):
            bag.write("/points", START + 100 * MS * i, cloud(START + 100 * MS * i))
        bag.write(layout.GROUND_TRUTH_CLASS_NAMES, START, messages.string_message(names, message_type))
    with pytest.raises(BagError, match=r"/ground_truth/class_names holds .*; expected a list of names"):
        BagSource(tmp_path / "drive.mcap")


@pytest.mark.parametrize(
    "topic",
    ["/tf", "/tf_static", "/lane_map", "/ground_truth/class_names", "/ground_truth/detections", "/ground_truth/boxes"],
)
def test_a_layout_s_topic_of_another_type_is_left_out_with_a_warning(tmp_path: Path, topic: str) -> None:
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for i in range(3):
            bag.write("/points", START + 100 * MS * i, cloud(START + 100 * MS * i))
            bag.write(topic, START + 100 * MS * i, odometry(START + 100 * MS * i, 1.0))
    with pytest.warns(UserWarning, match=rf"{topic} is of type nav_msgs/msg/Odometry, expected .*: it is left out"):
        source = BagSource(tmp_path / "drive.mcap", odometry_topic="none")
    assert len(source) == 3
    assert source[1].annotations is None
    assert source[1].lane_map is None


def test_a_camera_info_of_another_type_is_none(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for i in range(3):
            stamp_ns = START + 100 * MS * i
            bag.write("/points", stamp_ns, cloud(stamp_ns))
            bag.write("/front/image/compressed", stamp_ns, picture(stamp_ns))
            bag.write("/front/camera_info", stamp_ns, odometry(stamp_ns, 1.0))
    with pytest.warns(UserWarning, match="has no camera_info beside it and is left out"):
        assert not BagSource(tmp_path / "drive.mcap", odometry_topic="none")[0].cameras


def test_a_topic_of_two_types_is_refused(tmp_path: Path) -> None:
    with Writer(tmp_path / "drive", version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        for message in (cloud(START), transforms(), odometry(START, 1.0)):
            topic = "/points" if message.__msgtype__ == "sensor_msgs/msg/PointCloud2" else "/tf"
            connection = bag.add_connection(topic, message.__msgtype__, typestore=typestore())
            bag.write(connection, START, typestore().serialize_cdr(message, message.__msgtype__))
    with pytest.raises(BagError, match=r"/tf carries messages of types .* and .*; expected one type"):
        BagSource(tmp_path / "drive", odometry_topic="/tf")
