"""Pictures in bags, read when somebody looks at them."""

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
    """A picture in a bag.

    Attributes:
        read: gives the message.
    """

    read: Callable[[], Any]
    calibration: Calibration

    def __call__(self) -> npt.NDArray[np.uint8]:
        return MessagePicture(self.read(), self.calibration)()

    def encoded(self) -> EncodedImage:
        return MessagePicture(self.read(), self.calibration).encoded()
