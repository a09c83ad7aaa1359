"""Pictures in bags: sensor_msgs/CompressedImage and sensor_msgs/Image, read when somebody looks at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.io.images import EncodedImage, decode_raw

COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
RAW_TYPE = "sensor_msgs/msg/Image"


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
