"""Cameras in ROS: names in topics, calibration in sensor_msgs/CameraInfo, pictures raw or compressed.

Messages of rclpy and of rosbags are accepted.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

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
        topic: topic of the pictures, for errors.
    """

    intrinsics: npt.NDArray[np.float64]
    width: int
    height: int
    coefficients: npt.NDArray[np.float64]
    topic: str = ""

    def require_size(self, width: int, height: int) -> None:
        """Holds a picture against the calibration: of another size its pixels are other rays.

        Raises:
            ImageFormatError: the picture has another size, pixels.
        """
        if (width, height) != (self.width, self.height):
            raise ImageFormatError(
                f"{self.topic or 'the camera'} has pictures of {width} × {height} pixels, but its camera_info is for "
                f"{self.width} × {self.height}; expected one size: calibrate the camera at the size it sends, or let "
                "its driver set binning and region of interest"
            )


def calibration_from_message(info: Any, image_topic: str) -> Calibration:
    """The calibration of the pictures on a topic.

    A topic whose last part has ``rect`` in it carries pictures that image_proc has rectified: their matrix is P. Any
    other carries them as taken: K, with the distortion D. Size and matrices in the message are those of the sensor at
    full resolution; region of interest and binning lead to the pictures' own, as image_geometry computes them.

    Raises:
        ImageFormatError: no focal length, numbers that are not finite, a region outside the sensor, or a lens model
            other than ``plumb_bob`` and ``rational_polynomial``.
    """
    is_rectified = "rect" in image_topic.removesuffix("/compressed").rpartition("/")[2]
    matrix = np.array(info.p, np.float64).reshape(3, 4)[:, :3] if is_rectified else np.array(info.k, np.float64)
    matrix, width, height = _as_published(info, matrix.reshape(3, 3), image_topic)
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0 or width <= 0 or height <= 0:
        raise ImageFormatError(
            f"the camera_info of {image_topic} holds focal lengths {matrix[0, 0]:g}, {matrix[1, 1]:g} for "
            f"{width} × {height} pixels; expected positive numbers: calibrate the camera"
        )
    if is_rectified:
        return Calibration(matrix, width, height, np.zeros(8), image_topic)
    if info.distortion_model not in _DISTORTION_MODELS:
        raise ImageFormatError(
            f"the camera_info of {image_topic} has distortion model '{info.distortion_model}'; expected plumb_bob or "
            "rational_polynomial: rectify the pictures with image_proc and take image_rect"
        )
    coefficients = distortion_coefficients(info.d, f"the camera_info of {image_topic}")
    return Calibration(matrix, width, height, coefficients, image_topic)


def _as_published(
    info: Any, matrix: npt.NDArray[np.float64], image_topic: str
) -> tuple[npt.NDArray[np.float64], int, int]:
    """Matrix, width and height of the pictures that are published: the region of interest, then binned."""
    roi, binning = info.roi, (max(int(info.binning_x), 1), max(int(info.binning_y), 1))
    width, height = int(roi.width) or int(info.width), int(roi.height) or int(info.height)
    if roi.x_offset + width > info.width or roi.y_offset + height > info.height:
        raise ImageFormatError(
            f"the camera_info of {image_topic} has a region of {width} × {height} pixels at {roi.x_offset}, "
            f"{roi.y_offset} on a sensor of {info.width} × {info.height}; expected it within: check the camera's driver"
        )
    published = matrix.copy()
    published[0, 2] -= roi.x_offset
    published[1, 2] -= roi.y_offset
    published[:2] /= np.array(binning, np.float64)[:, None]
    return published, width // binning[0], height // binning[1]


def picture_size(message: Any) -> tuple[int, int]:
    """Width and height in pixels of an image message; of a compressed one from the picture's own header.

    Raises:
        ImageFormatError: the picture's header cannot be read.
    """
    if hasattr(message, "encoding"):
        return int(message.width), int(message.height)
    try:
        with Image.open(io.BytesIO(bytes(message.data)), formats=("JPEG", "PNG")) as picture:
            return picture.width, picture.height
    except Exception as error:  # damaged headers make Pillow raise a dozen types
        raise ImageFormatError(
            f"received a compressed picture that is none ({type(error).__name__}); expected JPEG or PNG"
        ) from None


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
        """(H, W, 3) uint8 RGB.

        Raises:
            ImageFormatError, DatasetError: the message cannot be decoded, or its size is not the calibration's.
        """
        compressed = self._compressed()
        pixels = decode_raw(self.message) if compressed is None else compressed()
        self.calibration.require_size(pixels.shape[1], pixels.shape[0])
        return rectify(pixels, self.calibration.intrinsics, self.calibration.coefficients)

    def encoded(self) -> EncodedImage:
        """The bytes that the camera sent, if they are a rectified picture; else a fresh JPEG. Raises as a call does."""
        compressed = self._compressed()
        if compressed is None or self.calibration.coefficients.any():
            return encode_jpeg(self())
        self.calibration.require_size(*picture_size(self.message))
        return compressed

    def _compressed(self) -> EncodedImage | None:
        if hasattr(self.message, "encoding"):
            return None
        return EncodedImage(bytes(self.message.data), "png" if "png" in self.message.format else "jpeg")
