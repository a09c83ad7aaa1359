"""Messages there and back, through rosbags' serialisation; and the same functions with rclpy's classes where it is."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import BagError, CloudFormatError
from lidarloop_core.geometry.boxes import Boxes3D, wrap_angle
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import messages
from lidarloop_core.io.bag import message_type, typestore
from lidarloop_core.pointcloud.decode import read_points

STAMP_NS = 1_700_000_000_123_456_789


def rclpy_type(name: str) -> Any:
    package, kind, cls = name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), cls)


@pytest.fixture(params=["rosbags", "rclpy"])
def types(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    if request.param == "rosbags":
        return message_type
    monkeypatch.setenv("ROS_PYTHON_CHECK_FIELDS", "1")
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    return rclpy_type


@pytest.fixture
def boxes() -> Boxes3D:
    random = np.random.default_rng(0)
    values = random.normal(size=(5, 9)).astype(np.float32)
    values[:, 3:6] = np.exp(values[:, 3:6])
    values[2, 7:] = np.nan
    return Boxes3D(values, random.random(5), [0, 3, 9, 5, 5], NUSCENES_CLASSES)


def over_the_wire(message: Any) -> Any:
    """Serialised and back, with whichever middleware the message belongs to."""
    if hasattr(message, "__msgtype__"):
        store = typestore()
        return store.deserialize_cdr(store.serialize_cdr(message, message.__msgtype__), message.__msgtype__)
    serialization = importlib.import_module("rclpy.serialization")
    return serialization.deserialize_message(serialization.serialize_message(message), type(message))


def test_cloud(types: Callable[[str], Any]) -> None:
    random = np.random.default_rng(0)
    xyz = random.normal(size=(3, 100)).astype(np.float32)
    ring = random.integers(0, 32, 100).astype(np.uint16)
    columns = dict(zip("xyz", xyz, strict=True)) | {"ring": ring}
    message = over_the_wire(messages.cloud_message(columns, STAMP_NS, "lidar_top", types))
    assert messages.stamp_ns(message.header) == STAMP_NS
    assert message.header.frame_id == "lidar_top"
    assert message.is_dense
    assert (message.height, message.width, message.row_step) == (1, 100, 100 * message.point_step)
    np.testing.assert_array_equal(read_points(message, ("x", "y", "z", "ring")).points, np.vstack([xyz, ring]).T)


def test_a_cloud_with_nan_is_not_dense(types: Callable[[str], Any]) -> None:
    column = np.array([1, np.nan], np.float32)
    assert not messages.cloud_message({"x": column, "y": column, "z": column}, 0, "f", types).is_dense


def test_detections(types: Callable[[str], Any], boxes: Boxes3D) -> None:
    ids = ("a", "", "c", "d", "e")
    message = over_the_wire(messages.detections_message(boxes, STAMP_NS, "lidar_top", types, ids))
    assert messages.stamp_ns(message.header) == STAMP_NS
    assert tuple(d.id for d in message.detections) == ids
    first = message.detections[0]
    assert first.results[0].hypothesis.class_id == "car"
    assert (first.bbox.size.x, first.bbox.size.y, first.bbox.size.z) == tuple(boxes.values[0, 3:6].tolist())
    found = messages.boxes_from_detections(message, NUSCENES_CLASSES)
    np.testing.assert_array_equal(found.values[:, :6], boxes.values[:, :6])
    np.testing.assert_allclose(found.yaws, boxes.yaws, atol=1e-6)
    np.testing.assert_array_equal(found.scores, boxes.scores)
    np.testing.assert_array_equal(found.labels, boxes.labels)
    assert np.isnan(found.velocities).all()


def test_boxes_cloud_carries_everything(types: Callable[[str], Any], boxes: Boxes3D) -> None:
    extra = {"num_lidar_pts": np.arange(5), "visibility": np.array([0, 0.5, np.nan, 1, 1])}
    message = over_the_wire(messages.boxes_cloud_message(boxes, extra, STAMP_NS, "lidar_top", types))
    found, columns = messages.boxes_from_cloud(message, NUSCENES_CLASSES)
    np.testing.assert_array_equal(found.values, boxes.values)
    np.testing.assert_array_equal(found.scores, boxes.scores)
    np.testing.assert_array_equal(found.labels, boxes.labels)
    assert list(columns) == ["num_lidar_pts", "visibility"]
    np.testing.assert_array_equal(columns["num_lidar_pts"], np.arange(5))


def test_no_boxes_are_messages_too(types: Callable[[str], Any]) -> None:
    none = Boxes3D.empty(NUSCENES_CLASSES)
    detections = over_the_wire(messages.detections_message(none, 0, "f", types))
    assert len(messages.boxes_from_detections(detections, NUSCENES_CLASSES)) == 0
    cloud = over_the_wire(messages.boxes_cloud_message(none, {}, 0, "f", types))
    assert len(messages.boxes_from_cloud(cloud, NUSCENES_CLASSES)[0]) == 0


def test_odometry_and_transforms(types: Callable[[str], Any]) -> None:
    pose = SE3.from_xyzw((0.1, -0.2, 0.3, 0.9), (1, 2, 3))
    odometry = over_the_wire(messages.odometry_message(pose, (4, 0, 0), (0, 0, 0.5), STAMP_NS, types))
    assert (odometry.header.frame_id, odometry.child_frame_id) == ("odom", "base_link")
    np.testing.assert_allclose(messages.pose_from_message(odometry.pose.pose).matrix, pose.matrix, atol=1e-12)
    assert (odometry.twist.twist.linear.x, odometry.twist.twist.angular.z) == (4, 0.5)
    tf = over_the_wire(messages.transforms_message([("odom", "base_link", pose)], STAMP_NS, types))
    (transform,) = tf.transforms
    assert (transform.header.frame_id, transform.child_frame_id) == ("odom", "base_link")
    np.testing.assert_allclose(messages.transform_from_message(transform.transform).matrix, pose.matrix, atol=1e-12)


def test_camera_messages(types: Callable[[str], Any]) -> None:
    intrinsics = np.array([[500.0, 0, 320], [0, 400, 240], [0, 0, 1]])
    info = over_the_wire(messages.camera_info_message(intrinsics, 640, 480, STAMP_NS, "cam_front_optical", types))
    np.testing.assert_array_equal(np.reshape(info.k, (3, 3)), intrinsics)
    np.testing.assert_array_equal(np.reshape(info.p, (3, 4))[:, :3], intrinsics)
    assert (info.width, info.height, list(info.d)) == (640, 480, [0.0] * 5)
    image = over_the_wire(messages.image_message(b"\xff\xd8jpeg", STAMP_NS, "cam_front_optical", types))
    assert (bytes(image.data), image.format) == (b"\xff\xd8jpeg", "jpeg")


def test_strings_are_json(types: Callable[[str], Any]) -> None:
    assert over_the_wire(messages.string_message({"a": [1, 2]}, types)).data == '{"a": [1, 2]}'


@given(st.floats(-10, 10), st.floats(-3, 3), st.integers(0, 2**62))
def test_poses_and_stamps_round_trip(x: float, yaw_rad: float, time_ns: int) -> None:
    pose = SE3.from_yaw(yaw_rad, (x, 0, 0))
    back = messages.pose_from_message(messages.pose_message(pose, message_type))
    np.testing.assert_allclose(back.translation, pose.translation)
    assert wrap_angle(np.array([back.yaw_rad - yaw_rad]))[0] == pytest.approx(0, abs=1e-9)
    if time_ns < 2**31 * 10**9:
        assert messages.stamp_ns(messages.header_message(time_ns, "f", message_type)) == time_ns


def test_the_best_hypothesis_counts(boxes: Boxes3D) -> None:
    message = messages.detections_message(boxes[:2], 0, "f", message_type)
    message.detections[0].results.insert(0, message.detections[1].results[0])
    message.detections[0].results[0].hypothesis.score = 0.0
    assert messages.boxes_from_detections(message, NUSCENES_CLASSES).names[0] == "car"


def test_refusals(boxes: Boxes3D) -> None:
    message = messages.detections_message(boxes, 0, "f", message_type)
    with pytest.raises(BagError, match="class 'trailer'; expected one of car"):
        messages.boxes_from_detections(message, ("car",))
    message.detections[0].results.clear()
    with pytest.raises(BagError, match="without a hypothesis"):
        messages.boxes_from_detections(message, NUSCENES_CLASSES)
    x = np.zeros(1, np.float32)
    with pytest.raises(CloudFormatError, match="no field 'length'"):
        messages.boxes_from_cloud(messages.cloud_message({"x": x, "y": x, "z": x}, 0, "f", message_type), ("car",))
