"""Size of the picture in an image message, from its header alone: what is unfit is found before anything is decoded."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from lidarloop_core.errors import ImageFormatError
from lidarloop_core.io.camera_messages import Calibration

MOST_MEGAPIXELS = 64.0
"""The largest cameras of a car have 8 megapixels."""


def picture_size(message: Any) -> tuple[int, int]:
    """Width and height of the picture in a sensor_msgs/Image or sensor_msgs/CompressedImage, pixels.

    Raises:
        ImageFormatError: the compressed bytes are no JPEG or PNG.
    """
    if hasattr(message, "encoding"):
        return int(message.width), int(message.height)
    try:
        with Image.open(io.BytesIO(bytes(message.data)), formats=("JPEG", "PNG")) as image:
            return image.width, image.height
    except Exception as error:  # damaged files make Pillow raise a dozen types, from SyntaxError to struct.error
        raise ImageFormatError(
            f"a picture of {len(message.data)} bytes cannot be read ({type(error).__name__}); expected JPEG or PNG: "
            "check the camera's driver"
        ) from None


def check_picture(message: Any, calibration: Calibration, most_megapixels: float = MOST_MEGAPIXELS) -> None:
    """Refuses a picture that cannot be used with a calibration.

    Args:
        message: sensor_msgs/Image or sensor_msgs/CompressedImage.
        calibration: of its camera.
        most_megapixels: size above which a picture is refused.

    Raises:
        ImageFormatError: no picture, one without pixels or with too many, or of another size than the calibration's.
    """
    width, height = picture_size(message)
    if width < 1 or height < 1 or width * height > most_megapixels * 1e6:
        raise ImageFormatError(
            f"a picture of {width} × {height} pixels; expected at least one, and at most {most_megapixels:g} "
            "megapixels: check the camera's driver, or raise max_picture_mpx"
        )
    if (width, height) != (calibration.width, calibration.height):
        raise ImageFormatError(
            f"pictures of {width} × {height}, but a camera_info for {calibration.width} × {calibration.height}; "
            "expected one size: calibrate the camera at the size it sends"
        )
