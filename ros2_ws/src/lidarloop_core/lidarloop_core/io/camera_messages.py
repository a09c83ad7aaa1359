"""Cameras in ROS: names in topics, calibration in sensor_msgs/CameraInfo, pictures raw or compressed.

Messages of rclpy and of rosbags are accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ImageFormatError
from lidarloop_core.geometry.rectify import distortion_coefficients, rectify
from lidarloop_core.io.images import EncodedImage, decode_raw, encode_jpeg

_DISTORTION_MODELS = ("", "plumb_bob", "rational_polynomial")


def camera_info_topic(image_topic: str) -> str:
    """The topic of the CameraInfo beside an image topic, as image_transport names it."""
    return f"{_namespace(image_topic)}/camera_info"


def camera_name(image_topic: str) -> str:
    """The namespace of the image topic in capitals, e.g. ``CAM_FRONT`` of ``/camera/cam_front/image/compressed``."""
    return _namespace(image_topic).rpartition("/")[2].upper()


def _namespace(image_topic: str) -> str:
    return image_topic.removesuffix("/compressed").rpartition("/")[0]


@dataclass(frozen=True)
class Calibration:
    """Intrinsic calibration of a camera.

    Attributes:
        intrinsics: (3, 3) pinhole matrix in pixels, of the rectified picture.
        width, height: size of the picture, pixels.
        coefficients: (8,) lens distortion of the published picture; all zero if it is rectified already.
    """

    intrinsics: npt.NDArray[np.float64]
    width: int
    height: int
    coefficients: npt.NDArray[np.float64]


def calibration_from_message(info: Any, image_topic: str) -> Calibration:
    """The calibration of the pictures on a topic.

    A topic whose last part has ``rect`` in it carries pictures that image_proc has rectified: their matrix is P. Any
    other carries them as taken: K, with the distortion D.

    Raises:
        ImageFormatError: no focal length, numbers that are not finite, or a lens model other than
            ``plumb_bob`` and ``rational_polynomial``.
    """
    is_rectified = "rect" in image_topic.removesuffix("/compressed").rpartition("/")[2]
    matrix = np.array(info.p, np.float64).reshape(3, 4)[:, :3] if is_rectified else np.array(info.k, np.float64)
    matrix = matrix.reshape(3, 3)
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0 or info.width <= 0 or info.height <= 0:
        raise ImageFormatError(
            f"the camera_info of {image_topic} holds focal lengths {matrix[0, 0]:g}, {matrix[1, 1]:g} for "
            f"{info.width} × {info.height} pixels; expected positive numbers: calibrate the camera"
        )
    if is_rectified:
        return Calibration(matrix, info.width, info.height, np.zeros(8))
    if info.distortion_model not in _DISTORTION_MODELS:
        raise ImageFormatError(
            f"the camera_info of {image_topic} has distortion model '{info.distortion_model}'; expected plumb_bob or "
            "rational_polynomial: rectify the pictures with image_proc and take image_rect"
        )
    coefficients = distortion_coefficients(info.d, f"the camera_info of {image_topic}")
    return Calibration(matrix, info.width, info.height, coefficients)


@dataclass(frozen=True)
class MessagePicture:
    """The rectified picture of an image message, decoded when asked for: a ``CameraImage.load``.

    Attributes:
        message: sensor_msgs/Image or sensor_msgs/CompressedImage.
        calibration: calibration of its camera.
    """

    message: Any
    calibration: Calibration

    def __call__(self) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB; raises ImageFormatError or DatasetError if the message cannot be decoded."""
        compressed = self._compressed()
        pixels = decode_raw(self.message) if compressed is None else compressed()
        return rectify(pixels, self.calibration.intrinsics, self.calibration.coefficients)

    def encoded(self) -> EncodedImage:
        """The bytes that the camera sent, if they are a rectified picture; else a fresh JPEG."""
        compressed = self._compressed()
        if compressed is None or self.calibration.coefficients.any():
            return encode_jpeg(self())
        return compressed

    def _compressed(self) -> EncodedImage | None:
        if hasattr(self.message, "encoding"):
            return None
        return EncodedImage(bytes(self.message.data), "png" if "png" in self.message.format else "jpeg")
