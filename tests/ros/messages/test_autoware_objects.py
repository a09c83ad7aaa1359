"""Detections as Autoware takes them: classes, headings and velocities by closed forms, then over DDS from the node."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import Detection3DArray

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.messages import boxes_from_cloud, stamp_ns
from lidarloop_ros.messages import autoware_objects
from lidarloop_ros.messages.autoware_objects import FIELDS, LABELS, label_of, objects_type
from lidarloop_ros.messages.serialised import objects_bytes
from lidarloop_ros.replay.node_process import NodeError
from tests.ros.conftest import Robot
from tests.ros.networks import CLASS_NAMES

T0 = 1_700_000_000_000_000_000
OBJECTS = "/lidar_detector/objects"


@pytest.fixture(scope="module")
def autoware() -> ModuleType:
    messages: ModuleType = pytest.importorskip(
        "autoware_perception_msgs.msg", reason="Autoware's messages are not installed"
    )
    return messages


def objects_of(boxes: Boxes3D, autoware: ModuleType) -> list[Any]:
    message = deserialize_message(objects_bytes(boxes, T0, "lidar_top"), autoware.DetectedObjects)
    return list(message.objects)


def box(*, yaw: float = 0.0, velocity: tuple[float, float] = (0.0, 0.0), name: str = "car") -> Boxes3D:
    values = np.array([[10.0, -4.0, 0.5, 4.5, 1.9, 1.6, yaw, *velocity]])
    return Boxes3D(values, np.array([0.75]), np.array([0]), (name,))


def test_classes_are_autowares() -> None:
    expected = {
        "car": "car",
        "truck": "truck",
        "bus": "bus",
        "trailer": "trailer",
        "construction_vehicle": "truck",
        "pedestrian": "pedestrian",
        "motorcycle": "motorcycle",
        "bicycle": "bicycle",
        "traffic_cone": "unknown",
        "barrier": "unknown",
    }
    assert {name: LABELS[label_of(name)] for name in NUSCENES_CLASSES} == expected
    assert [label_of(name) for name in ("hazard", "person", "", "CAR")] == [LABELS.index("hazard"), 0, 0, 0]


def test_numbers_are_those_of_the_messages(autoware: ModuleType) -> None:
    constants = {name: getattr(autoware.ObjectClassification, name.upper(), None) for name in LABELS}
    named = {name: number for name, number in constants.items() if number is not None}
    assert {"unknown", "car", "truck", "bus", "trailer", "motorcycle", "bicycle", "pedestrian"} <= set(named)
    assert named == {name: LABELS.index(name) for name in named}
    kinematics = autoware.DetectedObjectKinematics
    assert autoware_objects.ORIENTATION_UNAVAILABLE == kinematics.UNAVAILABLE
    assert autoware_objects.ORIENTATION_SIGN_UNKNOWN == kinematics.SIGN_UNKNOWN
    assert autoware_objects.BOUNDING_BOX == autoware.Shape.BOUNDING_BOX


@pytest.mark.parametrize("name", NUSCENES_CLASSES)
def test_only_of_cars_and_the_like_front_and_back_may_be_swapped(autoware: ModuleType, name: str) -> None:
    (found,) = objects_of(box(name=name), autoware)
    (classification,) = found.classification
    assert (classification.label, classification.probability) == (label_of(name), 1.0)
    kinematics = autoware.DetectedObjectKinematics
    is_car_like = name in ("car", "truck", "bus", "trailer", "construction_vehicle")
    expected = kinematics.SIGN_UNKNOWN if is_car_like else kinematics.UNAVAILABLE
    assert found.kinematics.orientation_availability == expected


@pytest.mark.parametrize("yaw", [0.0, 0.5, np.pi / 2, 3.0, -np.pi / 2, -3.0])
def test_place_size_heading_and_twist(autoware: ModuleType, yaw: float) -> None:
    # 3 m/s ahead and 1 m/s to its own left.
    velocity = 3 * np.array([np.cos(yaw), np.sin(yaw)]) + 1 * np.array([-np.sin(yaw), np.cos(yaw)])
    (found,) = objects_of(box(yaw=yaw, velocity=tuple(velocity)), autoware)
    assert found.existence_probability == 0.75
    kinematics, shape = found.kinematics, found.shape
    position, rotation = kinematics.pose_with_covariance.pose.position, kinematics.pose_with_covariance.pose.orientation
    assert (position.x, position.y, position.z) == (10.0, -4.0, 0.5)
    assert (rotation.x, rotation.y) == (0.0, 0.0)
    assert 2 * np.arctan2(rotation.z, rotation.w) == pytest.approx(yaw, abs=1e-6)
    twist = kinematics.twist_with_covariance.twist
    assert kinematics.has_twist
    assert (twist.linear.x, twist.linear.y) == pytest.approx((3.0, 1.0), abs=1e-6)
    assert (twist.linear.z, twist.angular.x, twist.angular.y, twist.angular.z) == (0.0, 0.0, 0.0, 0.0)
    assert not kinematics.has_position_covariance
    assert not kinematics.has_twist_covariance
    assert shape.type == autoware.Shape.BOUNDING_BOX
    assert (shape.dimensions.x, shape.dimensions.y, shape.dimensions.z) == pytest.approx((4.5, 1.9, 1.6), abs=1e-6)
    assert list(shape.footprint.points) == []


@pytest.mark.parametrize("velocity", [(np.nan, np.nan), (3.0, np.nan), (np.nan, 3.0), (np.inf, 0.0)])
def test_an_unknown_velocity_is_no_twist(autoware: ModuleType, velocity: tuple[float, float]) -> None:
    (found,) = objects_of(box(yaw=0.5, velocity=velocity), autoware)
    assert not found.kinematics.has_twist
    assert found.kinematics.twist_with_covariance == type(found.kinematics.twist_with_covariance)()


def test_the_node_publishes_them_beside_the_detections(
    autoware: ModuleType, any_robot: Robot, make_model: Callable[..., Path]
) -> None:
    robot = any_robot
    robot.reconfigure(model=str(make_model()), autoware_objects=True, class_remap="barrier: hazard")
    heard: list[Any] = []
    robot.node.create_subscription(autoware.DetectedObjects, OBJECTS, heard.append, 10)
    robot.wait_for(lambda: robot.node.count_publishers(OBJECTS) == 1, "a publisher of objects")
    (publisher,) = robot.node.get_publishers_info_by_topic(OBJECTS)
    assert publisher.topic_type == "autoware_perception_msgs/msg/DetectedObjects"
    assert publisher.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert publisher.qos_profile.durability == DurabilityPolicy.VOLATILE

    stamps = itertools.count(T0)

    def published(points: list[list[float]]) -> tuple[Detection3DArray, PointCloud2, Any]:
        stamp = next(stamps)
        robot.send(robot.cloud(points, stamp))
        lists = (robot.detections, robot.box_clouds, heard)
        robot.wait_for(lambda: all(found and stamp_ns(found[-1].header) == stamp for found in lists), "all three forms")
        return robot.detections[-1], robot.box_clouds[-1], heard[-1]

    def is_heard() -> bool:
        robot.ask(robot.cloud([], next(stamps)))
        return bool(heard)

    robot.wait_for(is_heard, "objects")  # what is published before the node knows of a subscription goes past it

    # Points mod 3 is the class, points / 8 the score, the intensity the velocity in y; the yaw is 0.5.
    points = [[10.5, 0.5, 0, 4]] * 3 + [[20.5, 0.5, 0, 0]] * 4 + [[30.5, 0.5, 0, 8]] * 5
    detections, box_cloud, message = published(points)
    boxes, _ = boxes_from_cloud(box_cloud, (*CLASS_NAMES, "hazard"))
    assert message.header == detections.header
    assert len(message.objects) == len(detections.detections) == len(boxes) == 3
    labels = {"car": 1, "pedestrian": 7, "hazard": 9}
    for found, detection, velocity in zip(message.objects, detections.detections, boxes.velocities, strict=True):
        hypothesis = detection.results[0].hypothesis
        assert found.existence_probability == hypothesis.score
        assert found.classification[0].label == labels[hypothesis.class_id]
        assert found.kinematics.pose_with_covariance.pose == detection.bbox.center
        assert found.shape.dimensions == detection.bbox.size
        twist = found.kinematics.twist_with_covariance.twist.linear
        along = complex(*velocity) * np.exp(-0.5j)
        np.testing.assert_allclose([twist.x, twist.y], [along.real, along.imag], atol=1e-6)
    assert {found.classification[0].label for found in message.objects} == set(labels.values())

    detections, _, message = published([])
    assert (message.header, message.objects) == (detections.header, [])

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    unfit = robot.node.create_subscription(autoware.DetectedObjects, OBJECTS, lambda _: None, latched)
    robot.status_where(lambda s: f"receives nothing of {OBJECTS}: durability" in s.message, "a WARN")
    robot.node.destroy_subscription(unfit)

    robot.reconfigure(model=str(make_model()))
    robot.wait_for(lambda: robot.node.count_publishers(OBJECTS) == 0, "end of the publisher of objects")


OTHER_MESSAGE = """
class DetectedObjects:
    @staticmethod
    def get_fields_and_field_types():
        return {"header": "std_msgs/Header", "boxes": "sequence<std_msgs/String>"}
"""


@pytest.mark.fault("autoware")
@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (None, "autoware_perception_msgs cannot be imported"),
        (OTHER_MESSAGE, "has the fields (std_msgs/Header header, sequence<std_msgs/String> boxes)"),
    ],
    ids=["missing", "other fields"],
)
def test_without_its_messages_the_node_is_not_configured(
    start_robot: Callable[..., Robot],
    make_model: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    messages: str | None,
    said: str,
) -> None:
    # It hides the real package, if there is one, from the node.
    package = tmp_path / "autoware_perception_msgs"
    package.mkdir()
    (package / "__init__.py").touch()
    if messages is not None:
        (package / "msg.py").write_text(messages)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH")))))
    robot = start_robot()
    with pytest.raises(NodeError, match="refused to configure"):
        robot.bring_up(model=str(make_model()), autoware_objects=True)
    status = robot.status_where(lambda s: s.level == DiagnosticStatus.ERROR, "an ERROR")
    assert said in status.message
    assert "Remedy" in status.message
    assert ("apt install ros-" in status.message) == (messages is None)
    assert "Traceback" not in status.message
    assert robot.detector.state().label == "unconfigured"
    robot.bring_up(model=str(make_model()), autoware_objects=False)
    _, boxes = robot.ask(robot.cloud([[10.5, 0.5, 0, 4]] * 3, T0))
    assert len(boxes) == 1


def package_of(fields: dict[str, dict[str, str]]) -> SimpleNamespace:
    """A module of messages that have these fields."""
    return SimpleNamespace(
        **{name: SimpleNamespace(get_fields_and_field_types=lambda own=own: own) for name, own in fields.items()}
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"Shape": {"type": "uint8"}},
            "autoware_perception_msgs/Shape has the fields (uint8 type); expected (uint8 type,",
        ),
        ({"ObjectClassification": {"probability": "float", "label": "uint8"}}, "(float probability, uint8 label)"),
        ({"DetectedObjects": {}}, "DetectedObjects has the fields (); expected (std_msgs/Header header,"),
    ],
)
def test_a_package_with_other_fields_is_refused(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, dict[str, str]], said: str
) -> None:
    monkeypatch.setitem(sys.modules, "autoware_perception_msgs.msg", package_of(FIELDS))
    objects_type()
    monkeypatch.setitem(sys.modules, "autoware_perception_msgs.msg", package_of(FIELDS | changes))
    with pytest.raises(ConfigError, match="autoware_objects: false") as caught:
        objects_type()
    assert said in str(caught.value)


def test_a_package_from_before_these_messages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "autoware_perception_msgs.msg", SimpleNamespace())
    with pytest.raises(ConfigError, match=r"DetectedObjects has the fields \(\).*from 1\.1 to 1\.11"):
        objects_type()


def test_the_installed_package_is_taken(autoware: ModuleType) -> None:
    assert objects_type() is autoware.DetectedObjects
