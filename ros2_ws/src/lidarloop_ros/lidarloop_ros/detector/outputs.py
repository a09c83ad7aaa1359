"""What the detector publishes for each cloud."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Float64, Header, String
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.messages import boxes_cloud_message, stamp_ns
from lidarloop_ros.messages.autoware_objects import objects_type
from lidarloop_ros.messages.conversions import message_type
from lidarloop_ros.messages.serialised import detections_bytes, markers_bytes, objects_bytes

STAGES = ("decode", "motion", "merge", "group", "infer", "postprocess", "publish", "total")
"""Stages timed for each cloud; "total" runs from its reception to the publication of its detections."""


class DetectionOutputs:
    """The publishers. All are lifecycle-managed except that of the latched class names.

    Args:
        node: owns the publishers.
        publish_markers: whether ``~/markers`` is published.
        autoware_objects: whether ``~/objects`` is published.

    Raises:
        ConfigError: Autoware's messages are asked for, and not installed; no publisher has been made then.
    """

    def __init__(self, node: LifecycleNode, *, publish_markers: bool, autoware_objects: bool) -> None:
        def publisher(message: type, topic: str, depth: int = 10) -> Any:
            options = QoSOverridingOptions.with_default_policies()
            return node.create_lifecycle_publisher(
                message, topic, QoSProfile(depth=depth), qos_overriding_options=options
            )

        self._node = node
        # First, because it may be refused.
        self._objects = publisher(objects_type(), "~/objects", depth=1) if autoware_objects else None
        self._detections = publisher(Detection3DArray, "~/detections")
        self._boxes = publisher(PointCloud2, "~/boxes")
        self._markers = publisher(MarkerArray, "~/markers") if publish_markers else None
        self._stages = {
            stage: node.create_lifecycle_publisher(Float64, f"~/debug/latency_ms/{stage}", 10) for stage in STAGES
        }
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._class_names = node.create_publisher(String, "~/class_names", latched)

    @property
    def checked(self) -> tuple[Any, ...]:
        """Publishers whose subscribers are checked."""
        optional = [publisher for publisher in (self._objects, self._markers) if publisher is not None]
        return (self._detections, self._boxes, *optional)

    @property
    def can_publish(self) -> bool:
        """Whether ROS is still running."""
        return bool(self._node.context.ok())

    def publish_class_names(self, class_names: tuple[str, ...]) -> None:
        """Publishes the names of the classes that the labels in ~/boxes stand for."""
        self._class_names.publish(String(data=json.dumps(class_names)))

    def publish_detections(self, boxes: Boxes3D, header: Header) -> None:
        """Publishes the detections in all forms, with the cloud's header."""
        self._detections.publish(detections_bytes(boxes, stamp_ns(header), header.frame_id))
        if self._objects is not None:
            self._objects.publish(objects_bytes(boxes, stamp_ns(header), header.frame_id))
        self._boxes.publish(boxes_cloud_message(boxes, {}, stamp_ns(header), header.frame_id, message_type))

    def publish_extras(self, boxes: Boxes3D, header: Header, stage_ms: Mapping[str, float]) -> None:
        """Publishes markers and stage durations (milliseconds), which may come later; made only for subscribers."""
        for stage, duration_ms in stage_ms.items():
            if self._stages[stage].get_subscription_count():
                self._stages[stage].publish(Float64(data=duration_ms))
        if self._markers is not None and self._markers.get_subscription_count():
            self._markers.publish(markers_bytes(boxes, stamp_ns(header), header.frame_id))

    def destroy(self) -> None:
        for publisher in (*self.checked, *self._stages.values()):
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self._class_names)
