"""Pictures in bags: sensor_msgs/CompressedImage and sensor_msgs/Image, read when somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import BagError
from lidarloop_core.io.images import EncodedImage

COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
RAW_TYPE = "sensor_msgs/msg/Image"

# Encoding → number of bytes per pixel, and which of them are red, green and blue.
_ENCODINGS = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}
RAW_ENCODINGS = tuple(_ENCODINGS)


@dataclass(frozen=True)
class CompressedPicture:
    """A JPEG or PNG in a bag.

    Attributes:
        read: gives the message.
    """

    read: Callable[[], Any]

    def __call__(self) -> npt.NDArray[np.uint8]:
        return self.encoded()()

    def encoded(self) -> EncodedImage:
        message = self.read()
        return EncodedImage(bytes(message.data), "png" if "png" in message.format else "jpeg")


@dataclass(frozen=True)
class RawPicture:
    """An uncompressed picture in a bag.

    Attributes:
        read: gives the message.
    """

    read: Callable[[], Any]

    def __call__(self) -> npt.NDArray[np.uint8]:
        return decode_raw(self.read())


def decode_raw(message: Any) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a sensor_msgs/Image.

    Raises:
        BagError: an encoding other than ``RAW_ENCODINGS``, or fewer bytes than height × step.
    """
    if message.encoding not in _ENCODINGS:
        raise BagError(
            f"received a picture of encoding {message.encoding}; expected one of {', '.join(RAW_ENCODINGS)}: "
            "record the camera's colour or its compressed topic"
        )
    num_channels, channels = _ENCODINGS[message.encoding]
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(message.data, np.uint8)
    if step < width * num_channels or len(data) < height * step:
        raise BagError(
            f"received a {message.encoding} picture of {width} × {height} with step {step} and {len(data)} bytes; "
            f"expected a step of {width * num_channels} or more and height × step bytes: check the camera's driver"
        )
    rows = data[: height * step].reshape(height, step)[:, : width * num_channels]
    return rows.reshape(height, width, num_channels)[:, :, channels]
