"""Cameras of the self-labelling node: images joined to clouds by time, and the latest calibration of each camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import message_filters
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lidarloop_core.errors import ConfigError, LidarloopError
from lidarloop_core.io.camera_messages import (
    Calibration,
    calibration_from_message,
    camera_info_topic,
    camera_name,
)
from lidarloop_core.io.messages import stamp_ns
from lidarloop_core.labelling.picture_times import PictureTimes
from lidarloop_ros.inputs.time_join import OnPart


@dataclass
class _Camera:
    topic: str
    times: PictureTimes[Any]
    calibration: Calibration | None = None
    problem: str = "no camera_info"


class CameraInputs:
    """Images and calibration of several cameras.

    Args:
        node: makes the subscriptions.
        clouds: the filter that hands on the clouds.
        image_topics: a topic for each camera: sensor_msgs/CompressedImage where it ends in ``/compressed``, else
            sensor_msgs/Image; a sensor_msgs/CameraInfo topic lies beside each.
        slop_s: largest difference, in seconds, between an image's stamp and the cloud's plus the camera's own offset,
            which is learnt; see ``PictureTimes``.
        on_image: called with each image that belongs to a cloud.

    Raises:
        ConfigError: two topics belong to one camera.
    """

    def __init__(
        self,
        node: Node,
        clouds: message_filters.Subscriber,
        image_topics: Sequence[str],
        *,
        slop_s: float,
        on_image: OnPart,
    ) -> None:
        self._node = node
        self._cameras = {camera_name(topic): _Camera(topic, PictureTimes(slop_s)) for topic in image_topics}
        if len(self._cameras) < len(image_topics):
            raise ConfigError(
                f"image_topics received {', '.join(image_topics)}; expected one topic for each camera. The part before "
                "the last is the camera's name: /camera/<name>/image"
            )
        self._slop_s = slop_s
        self._on_image = on_image
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        clouds.registerCallback(self._on_cloud)
        self._images: list[Subscription] = [
            node.create_subscription(
                CompressedImage if camera.topic.endswith("/compressed") else Image,
                camera.topic,
                partial(self._on_message, name),
                qos,
            )
            for name, camera in self._cameras.items()
        ]
        self._infos: list[Subscription] = [
            node.create_subscription(CameraInfo, camera_info_topic(camera.topic), partial(self._calibrate, camera), qos)
            for camera in self._cameras.values()
        ]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the cameras, in the order of the topics."""
        return tuple(self._cameras)

    @property
    def inputs(self) -> list[Subscription]:
        """All subscriptions; their publishers are checked."""
        return [*self._images, *self._infos]

    def calibrations(self) -> dict[str, Calibration | None]:
        """Camera → its latest calibration; None without a usable one."""
        return {name: camera.calibration for name, camera in self._cameras.items()}

    def problems(self) -> list[str]:
        """One line for each camera without a usable calibration."""
        return [f"{name}: {camera.problem}" for name, camera in self._cameras.items() if camera.problem]

    def missing(self) -> dict[str, str]:
        """Camera → why the last cloud has no image of it; without cameras that gave one."""
        return {
            name: f"the nearest is {abs(off_ns) * 1e-6:.0f} ms off, camera_slop_s {self._slop_s:g}"
            for name, camera in self._cameras.items()
            for off_ns in [camera.times.off_ns]
            if off_ns is not None
        }

    def destroy(self) -> None:
        for subscription in self.inputs:
            self._node.destroy_subscription(subscription)

    def _on_cloud(self, cloud: Any) -> None:
        for name, camera in self._cameras.items():
            self._hand_on(name, camera.times.add_cloud(stamp_ns(cloud.header)))

    def _on_message(self, name: str, image: Any) -> None:
        self._hand_on(name, self._cameras[name].times.add_picture(stamp_ns(image.header), image))

    def _hand_on(self, name: str, pairs: list[tuple[int, Any]]) -> None:
        for cloud_stamp_ns, image in pairs:
            self._on_image(cloud_stamp_ns, name, image)

    def _calibrate(self, camera: _Camera, message: CameraInfo) -> None:
        try:
            camera.calibration, camera.problem = calibration_from_message(message, camera.topic), ""
        except LidarloopError as error:
            camera.calibration, camera.problem = None, str(error)
            self._node.get_logger().warning(camera.problem, throttle_duration_sec=5.0)
