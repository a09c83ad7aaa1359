"""What the detector, or the segmenter, publishes for each cloud."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Float64, Header, String
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from lidarloop_core.inference.segmenter import PointLabels
from lidarloop_core.io.messages import boxes_cloud_message, cloud_message, stamp_ns
from lidarloop_ros.detector.pipeline import CloudResult
from lidarloop_ros.messages.autoware_objects import objects_type
from lidarloop_ros.messages.conversions import message_type
from lidarloop_ros.messages.serialised import detections_bytes, markers_bytes, objects_bytes

STAGES = ("decode", "motion", "merge", "group", "infer", "postprocess", "publish", "total")
"""Stages timed for each cloud; "total" runs from its reception to the publication of what was found."""


class CloudOutputs(ABC):
    """The publishers that every model has. All are lifecycle-managed except that of the latched class names.

    Args:
        node: owns the publishers.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._stages = {
            stage: node.create_lifecycle_publisher(Float64, f"~/debug/latency_ms/{stage}", 10) for stage in STAGES
        }
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._class_names = node.create_publisher(String, "~/class_names", latched)

    @property
    @abstractmethod
    def checked(self) -> tuple[Any, ...]:
        """Publishers whose subscribers are checked."""

    @abstractmethod
    def publish(self, result: CloudResult, header: Header) -> None:
        """Publishes what was found, in all forms, with the cloud's header."""

    def publish_extras(self, result: CloudResult, header: Header, stage_ms: Mapping[str, float]) -> None:
        """Publishes what may come later, stage durations (milliseconds) among it; made only for subscribers."""
        for stage, duration_ms in stage_ms.items():
            if self._stages[stage].get_subscription_count():
                self._stages[stage].publish(Float64(data=duration_ms))

    @property
    def can_publish(self) -> bool:
        """Whether ROS is still running."""
        return bool(self._node.context.ok())

    def publish_class_names(self, class_names: tuple[str, ...]) -> None:
        """Publishes the names of the classes that labels stand for."""
        self._class_names.publish(String(data=json.dumps(class_names)))

    def destroy(self) -> None:
        for publisher in (*self.checked, *self._stages.values()):
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self._class_names)


class DetectionOutputs(CloudOutputs):
    """The publishers of a detector.

    Args:
        node: owns the publishers.
        publish_markers: whether ``~/markers`` is published.
        autoware_objects: whether ``~/objects`` is published.

    Raises:
        ConfigError: Autoware's messages are asked for, and not installed; no publisher has been made then.
    """

    def __init__(self, node: LifecycleNode, *, publish_markers: bool, autoware_objects: bool) -> None:
        # First, because it may be refused.
        self._objects = _publisher(node, objects_type(), "~/objects", depth=1) if autoware_objects else None
        self._detections = _publisher(node, Detection3DArray, "~/detections")
        self._boxes = _publisher(node, PointCloud2, "~/boxes")
        self._markers = _publisher(node, MarkerArray, "~/markers") if publish_markers else None
        super().__init__(node)

    @property
    def checked(self) -> tuple[Any, ...]:
        """Publishers whose subscribers are checked."""
        optional = [publisher for publisher in (self._objects, self._markers) if publisher is not None]
        return (self._detections, self._boxes, *optional)

    def publish(self, result: CloudResult, header: Header) -> None:
        """Publishes the detections in all forms, with the cloud's header."""
        boxes = result.boxes
        self._detections.publish(detections_bytes(boxes, stamp_ns(header), header.frame_id))
        if self._objects is not None:
            self._objects.publish(objects_bytes(boxes, stamp_ns(header), header.frame_id))
        self._boxes.publish(boxes_cloud_message(boxes, {}, stamp_ns(header), header.frame_id, message_type))

    def publish_extras(self, result: CloudResult, header: Header, stage_ms: Mapping[str, float]) -> None:
        """Publishes markers and stage durations (milliseconds), which may come later; made only for subscribers."""
        super().publish_extras(result, header, stage_ms)
        if self._markers is not None and self._markers.get_subscription_count():
            self._markers.publish(markers_bytes(result.boxes, stamp_ns(header), header.frame_id))


class SegmentationOutputs(CloudOutputs):
    """The publishers of a segmenter.

    ``~/points/labelled`` (sensor_msgs/PointCloud2) is the newest cloud as the network was given it: further LiDARs
    joined, points without a return or a finite position left out. It has the sweep's columns (float32), ``label``
    (uint8, an index into ``~/class_names``, 255 for a point without one) and ``score`` (float32, 0 for such a point).

    Args:
        node: owns the publishers.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._points = _publisher(node, PointCloud2, "~/points/labelled", depth=1)
        super().__init__(node)

    @property
    def checked(self) -> tuple[Any, ...]:
        """Publishers whose subscribers are checked."""
        return (self._points,)

    def publish(self, result: CloudResult, header: Header) -> None:
        """Publishes the labelled cloud, with the cloud's header."""
        found = result.found
        assert isinstance(found, PointLabels), "a detector labels no points"
        columns: dict[str, npt.NDArray[Any]] = {
            name: result.newest_points[:, place] for place, name in enumerate(result.columns)
        }
        columns |= {"label": found.labels, "score": found.scores}
        self._points.publish(cloud_message(columns, stamp_ns(header), header.frame_id, message_type))


def _publisher(node: LifecycleNode, message: type, topic: str, depth: int = 10) -> Any:
    options = QoSOverridingOptions.with_default_policies()
    return node.create_lifecycle_publisher(message, topic, QoSProfile(depth=depth), qos_overriding_options=options)
