"""What the self-labelling node publishes for each cloud."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, PointCloud2
from std_msgs.msg import Header, String
from vision_msgs.msg import Detection3DArray

from lidarloop_core.io.images import JPEG_QUALITY
from lidarloop_core.io.messages import boxes_cloud_message, detections_message, image_message, stamp_ns
from lidarloop_core.io.overlay import Layer, draw_overlay
from lidarloop_core.labelling.pseudo_labels import PseudoLabels
from lidarloop_core.sample import CameraImage, Sample
from lidarloop_ros.messages.conversions import message_type

_LABEL_COLOR = "#ffb000"
_OVERLAY_WIDTH_PX = 800


class LabelOutputs:
    """The publishers. All are lifecycle-managed except that of the latched class names.

    Args:
        node: owns the publishers.
        class_names: names of the classes that the labels stand for.
        cameras: names of the cameras.
        overlays: whether each camera's image with the labels drawn in is published.
    """

    def __init__(
        self, node: LifecycleNode, class_names: tuple[str, ...], cameras: Sequence[str], *, overlays: bool
    ) -> None:
        self._node = node
        self._labels = node.create_lifecycle_publisher(Detection3DArray, "~/labels", 10)
        self._boxes = node.create_lifecycle_publisher(PointCloud2, "~/boxes", 10)
        self._overlays = {
            name: node.create_lifecycle_publisher(CompressedImage, f"~/overlay/{name.lower()}/compressed", 2)
            for name in (cameras if overlays else ())
        }
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._class_names = node.create_publisher(String, "~/class_names", latched)
        self._class_names.publish(String(data=json.dumps(class_names)))

    @property
    def can_publish(self) -> bool:
        """Whether ROS is still running."""
        return bool(self._node.context.ok())

    def publish_labels(self, labels: PseudoLabels, header: Header) -> None:
        """Publishes the labels in both forms, with the cloud's header; ``~/boxes`` also holds quality and points."""
        time_ns = stamp_ns(header)
        extra = {"quality": labels.quality, "num_points": labels.num_points.astype(np.float32)}
        self._labels.publish(detections_message(labels.boxes, time_ns, header.frame_id, message_type))
        self._boxes.publish(boxes_cloud_message(labels.boxes, extra, time_ns, header.frame_id, message_type))

    def publish_overlays(self, sample: Sample, labels: PseudoLabels) -> None:
        """Publishes images with the labels drawn in; made only for subscribers."""
        layer = Layer("labels", labels.boxes, (_LABEL_COLOR,) * len(labels))
        for image in sample.cameras:
            publisher = self._overlays.get(image.name)
            if publisher is not None and publisher.get_subscription_count():
                publisher.publish(_overlay_message(image, sample, layer))

    def destroy(self) -> None:
        for publisher in (self._labels, self._boxes, *self._overlays.values()):
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self._class_names)


def _overlay_message(image: CameraImage, sample: Sample, layer: Layer) -> Any:
    buffer = io.BytesIO()
    draw_overlay(image, sample.keyframe, [layer], width_px=_OVERLAY_WIDTH_PX).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return image_message(buffer.getvalue(), image.stamp_ns, f"{image.name.lower()}_overlay", message_type)
