"""Images in bags, read when they are loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.io.camera_messages import Calibration, MessagePicture
from lidarloop_core.io.images import EncodedImage

COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
RAW_TYPE = "sensor_msgs/msg/Image"


@dataclass(frozen=True)
class BagPicture:
    """An image in a bag; calling it reads, decodes and rectifies it.

    Attributes:
        read: gives the image message.
        calibration: pinhole matrix and distortion of its camera.
    """

    read: Callable[[], Any]
    calibration: Calibration

    def __call__(self) -> npt.NDArray[np.uint8]:
        return MessagePicture(self.read(), self.calibration)()

    def encoded(self) -> EncodedImage:
        return MessagePicture(self.read(), self.calibration).encoded()
