"""Cameras of the self-labelling node: pictures joined to clouds by time, calibration as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import message_filters
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from lidarloop_core.errors import ConfigError, LidarloopError
from lidarloop_core.io.camera_messages import (
    Calibration,
    calibration_from_message,
    camera_info_topic,
    camera_name,
)
from lidarloop_core.io.messages import stamp_ns

# Clouds and pictures kept until their partner comes: a second of a 10 Hz LiDAR and of a camera at 30 Hz.
_QUEUE_SIZE = 30

OnPicture = Callable[[int, str, Any], None]
"""(stamp_ns of the cloud, camera, message)."""


@dataclass
class _Camera:
    topic: str
    calibration: Calibration | None = None
    problem: str = "no camera_info"


class CameraInputs:
    """Each camera is joined to the clouds on its own (approximate time), so that a dead one does not stop the others.

    Args:
        node: makes the subscriptions.
        clouds: the filter that gives out clouds.
        image_topics: of sensor_msgs/CompressedImage where they end in ``/compressed``, else of sensor_msgs/Image;
            a sensor_msgs/CameraInfo topic lies beside each.
        slop_s: largest difference between the stamps of a cloud and its picture.
        on_picture: called by the executor's thread.

    Raises:
        ConfigError: two topics of one camera.
    """

    def __init__(
        self,
        node: Node,
        clouds: message_filters.Subscriber,
        image_topics: Sequence[str],
        *,
        slop_s: float,
        on_picture: OnPicture,
    ) -> None:
        self._node = node
        self._on_picture = on_picture
        self._cameras = {camera_name(topic): _Camera(topic) for topic in image_topics}
        if len(self._cameras) < len(image_topics):
            raise ConfigError(
                f"image_topics received {', '.join(image_topics)}; expected one topic of each camera, "
                "which are told apart by the part before the last: /camera/<name>/image"
            )
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.inputs: list[Subscription] = []
        self._synchronizers = []
        for name, camera in self._cameras.items():
            kind = CompressedImage if camera.topic.endswith("/compressed") else Image
            pictures = message_filters.Subscriber(node, kind, camera.topic, qos_profile=qos)
            synchronizer = message_filters.ApproximateTimeSynchronizer([clouds, pictures], _QUEUE_SIZE, slop_s)
            synchronizer.registerCallback(self._receive, name)
            self._synchronizers.append(synchronizer)
            info = node.create_subscription(
                CameraInfo,
                camera_info_topic(camera.topic),
                partial(self._calibrate, camera),
                qos,
            )
            self.inputs += [pictures.sub, info]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._cameras)

    def calibrations(self) -> dict[str, Calibration | None]:
        """The latest calibration of every camera; None where there is none that can be used."""
        return {name: camera.calibration for name, camera in self._cameras.items()}

    def problems(self) -> list[str]:
        """A line for each camera whose pictures cannot be used."""
        return [f"{name}: {camera.problem}" for name, camera in self._cameras.items() if camera.problem]

    def destroy(self) -> None:
        for subscription in self.inputs:
            self._node.destroy_subscription(subscription)

    def _calibrate(self, camera: _Camera, message: CameraInfo) -> None:
        try:
            camera.calibration, camera.problem = calibration_from_message(message, camera.topic), ""
        except LidarloopError as error:
            camera.calibration, camera.problem = None, str(error)
            self._node.get_logger().warning(camera.problem, throttle_duration_sec=5.0)

    def _receive(self, cloud: PointCloud2, picture: Any, name: str) -> None:
        self._on_picture(stamp_ns(cloud.header), name, picture)
