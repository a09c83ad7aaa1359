"""Bytes written by hand: every field equals that of the message rclpy builds, wherever alignment falls."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.messages import detections_message, stamp_ns
from lidarloop_ros.messages.autoware_objects import label_of
from lidarloop_ros.messages.conversions import message_type
from lidarloop_ros.messages.serialised import detections_bytes, marker_color, markers_bytes, objects_bytes

STAMP = 1_700_000_000_123_456_789


def boxes_of(labels: list[int], names: tuple[str, ...]) -> Boxes3D:
    rng = np.random.default_rng(len(labels))
    values = rng.uniform(-50, 50, (len(labels), 9)).astype(np.float32)
    values[:, 3:6] = np.abs(values[:, 3:6])
    return Boxes3D(values, rng.random(len(labels)).astype(np.float32), np.array(labels, np.int64), names)


texts = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=9)


@settings(max_examples=60, deadline=None)
@given(st.data(), texts, st.lists(texts, min_size=1, max_size=4, unique=True))
def test_detections_of_any_names_and_ids(data: st.DataObject, frame_id: str, names: list[str]) -> None:
    labels = data.draw(st.lists(st.integers(0, len(names) - 1), max_size=9))
    ids = data.draw(st.lists(texts, min_size=len(labels), max_size=len(labels)))
    boxes = boxes_of(labels, tuple(names))
    written = deserialize_message(detections_bytes(boxes, STAMP, frame_id, ids), Detection3DArray)
    assert written == detections_message(boxes, STAMP, frame_id, message_type, ids)


@pytest.mark.parametrize("num_boxes", [0, 1, 7, 200])
def test_detections_without_ids(num_boxes: int) -> None:
    boxes = boxes_of([i % 3 for i in range(num_boxes)], ("car", "construction_vehicle", "bus"))
    written = deserialize_message(detections_bytes(boxes, STAMP, "lidar_top"), Detection3DArray)
    assert written == detections_message(boxes, STAMP, "lidar_top", message_type)


@pytest.fixture(scope="module")
def autoware() -> ModuleType:
    messages: ModuleType = pytest.importorskip(
        "autoware_perception_msgs.msg", reason="Autoware's messages are not installed"
    )
    return messages


def objects_message(boxes: Boxes3D, frame_id: str, autoware: ModuleType) -> Any:
    """DetectedObjects built field by field."""
    label, kind = autoware.ObjectClassification, autoware.DetectedObjectKinematics
    detections = detections_message(boxes, STAMP, frame_id, message_type)
    objects = []
    for detection, value in zip(detections.detections, boxes.values.astype(float), strict=True):
        (result,), found = detection.results, autoware.DetectedObject()
        number = label_of(result.hypothesis.class_id)
        found.existence_probability = result.hypothesis.score
        found.classification = [label(label=number, probability=1.0)]
        found.kinematics.pose_with_covariance.pose = detection.bbox.center
        has_front = number not in (label.CAR, label.TRUCK, label.BUS, label.TRAILER)
        found.kinematics.orientation_availability = kind.UNAVAILABLE if has_front else kind.SIGN_UNKNOWN
        if np.isfinite(value[7:]).all():
            along_axes = complex(*value[7:]) * np.exp(-1j * value[6])
            found.kinematics.has_twist = True
            found.kinematics.twist_with_covariance.twist.linear.x = along_axes.real
            found.kinematics.twist_with_covariance.twist.linear.y = along_axes.imag
        found.shape.type = autoware.Shape.BOUNDING_BOX
        found.shape.dimensions = detection.bbox.size
        objects.append(found)
    return autoware.DetectedObjects(header=detections.header, objects=objects)


class_names = st.lists(texts | st.sampled_from(NUSCENES_CLASSES), min_size=1, max_size=4, unique=True)


@settings(max_examples=60, deadline=None)
@given(st.data(), texts, class_names)
def test_objects_of_any_classes(autoware: ModuleType, data: st.DataObject, frame_id: str, names: list[str]) -> None:
    labels = data.draw(st.lists(st.integers(0, len(names) - 1), max_size=9))
    boxes = boxes_of(labels, tuple(names))
    boxes.values[data.draw(st.lists(st.booleans(), min_size=len(boxes), max_size=len(boxes))), 8] = np.nan
    cdr, expected = objects_bytes(boxes, STAMP, frame_id), objects_message(boxes, frame_id, autoware)
    assert len(cdr) == len(serialize_message(expected))
    written = deserialize_message(cdr, autoware.DetectedObjects)
    for found, wanted in zip(written.objects, expected.objects, strict=True):
        twist, wanted_twist = (o.kinematics.twist_with_covariance.twist for o in (found, wanted))
        np.testing.assert_allclose([twist.linear.x, twist.linear.y], [wanted_twist.linear.x, wanted_twist.linear.y])
        twist.linear = wanted_twist.linear
    assert written == expected


@settings(max_examples=40, deadline=None)
@given(texts, st.lists(st.integers(0, 2), max_size=9))
def test_markers(frame_id: str, labels: list[int]) -> None:
    boxes = boxes_of(labels, ("car", "bus", "barrier"))
    first, *others = deserialize_message(markers_bytes(boxes, STAMP, frame_id), MarkerArray).markers
    assert first == Marker(header=first.header, action=Marker.DELETEALL)
    cubes, arrows = others[: len(boxes)], others[len(boxes) :]
    detections = detections_message(boxes, STAMP, frame_id, message_type).detections
    assert len(cubes) == len(arrows) == len(boxes)
    for i, (cube, arrow, detection) in enumerate(zip(cubes, arrows, detections, strict=True)):
        expected = Marker(ns="boxes", id=i, type=Marker.CUBE, action=Marker.ADD, header=detection.header)
        expected.pose, expected.scale = detection.bbox.center, detection.bbox.size
        expected.lifetime.nanosec = 500_000_000
        color = marker_color(boxes.names[i])
        expected.color.r, expected.color.g, expected.color.b, expected.color.a = (float(np.float32(c)) for c in color)
        assert cube == expected
        expected.ns, expected.type = "headings", Marker.ARROW
        expected.scale.x = float(boxes.values[i, 3]) / 2 + 0.5
        expected.scale.y = expected.scale.z = 0.1
        assert abs(arrow.scale.x - expected.scale.x) < 1e-5
        arrow.scale.x = expected.scale.x
        assert arrow == expected
    for marker in (first, *others):
        assert (stamp_ns(marker.header), marker.header.frame_id) == (STAMP, frame_id)
