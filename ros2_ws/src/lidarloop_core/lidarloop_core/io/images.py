"""Pictures that stay encoded until they are used: the ``CameraImage.load`` of sources.

A writer calls ``encoded(image)`` and copies the bytes of a picture that is a file already, so that conversion does not
compress it again.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from lidarloop_core.errors import DatasetError, ImageFormatError
from lidarloop_core.sample import CameraImage

JPEG_QUALITY = 90

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
class EncodedImage:
    """A compressed picture in memory; calling it decodes it.

    Attributes:
        data: the file's bytes.
        format: ``"jpeg"`` or ``"png"``, as in sensor_msgs/CompressedImage.
    """

    data: bytes
    format: str

    def __call__(self) -> npt.NDArray[np.uint8]:
        return decode(self.data, f"{self.format} of {len(self.data)} bytes")

    def encoded(self) -> EncodedImage:
        return self


@runtime_checkable
class Encodable(Protocol):
    """A ``CameraImage.load`` that knows its picture's compressed form."""

    def encoded(self) -> EncodedImage: ...


@dataclass(frozen=True)
class ImageFile:
    """A picture on disk; calling it reads and decodes it.

    Raises:
        DatasetError: at a call or ``encoded``, if the file cannot be read; at a call, also if it is no picture.
    """

    path: Path

    def __call__(self) -> npt.NDArray[np.uint8]:
        return decode(self._bytes(), str(self.path))

    def encoded(self) -> EncodedImage:
        """The file's bytes.

        Raises:
            DatasetError: the file cannot be read.
        """
        format = "png" if self.path.suffix.lower() == ".png" else "jpeg"
        return EncodedImage(self._bytes(), format)

    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the file's header.

        Raises:
            DatasetError: the file is no readable picture.
        """
        try:
            with Image.open(self.path) as image:
                return image.width, image.height
        except OSError as error:
            raise DatasetError(f"{self.path}: no readable picture ({error}); expected a JPEG or PNG file") from None

    def _bytes(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise DatasetError(f"{self.path}: cannot be read ({error.strerror}); restore the file") from None


def decode(data: bytes, what: str) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB picture of a JPEG or PNG file's bytes.

    Args:
        data: the file's bytes.
        what: its name in the error.

    Raises:
        DatasetError: the bytes are no readable picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise DatasetError(f"{what}: no readable picture ({error}); expected a JPEG or PNG file") from None


def encode_jpeg(pixels: npt.NDArray[np.uint8]) -> EncodedImage:
    """A (H, W, 3) RGB picture as JPEG of quality ``JPEG_QUALITY``: equal pixels give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(buffer, "JPEG", quality=JPEG_QUALITY)
    return EncodedImage(buffer.getvalue(), "jpeg")


def encoded(image: CameraImage) -> EncodedImage:
    """The picture's own file bytes if it has them, else a fresh JPEG."""
    return image.load.encoded() if isinstance(image.load, Encodable) else encode_jpeg(image.load())


def decode_raw(message: Any) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a sensor_msgs/Image.

    Raises:
        ImageFormatError: an encoding other than ``RAW_ENCODINGS``, or fewer bytes than height × step.
    """
    if message.encoding not in _ENCODINGS:
        raise ImageFormatError(
            f"received a picture of encoding {message.encoding}; expected one of {', '.join(RAW_ENCODINGS)}: "
            "take the camera's colour or its compressed topic"
        )
    num_channels, channels = _ENCODINGS[message.encoding]
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(message.data, np.uint8)
    if step < width * num_channels or len(data) < height * step:
        raise ImageFormatError(
            f"received a {message.encoding} picture of {width} × {height} with step {step} and {len(data)} bytes; "
            f"expected a step of {width * num_channels} or more and height × step bytes: check the camera's driver"
        )
    rows = data[: height * step].reshape(height, step)[:, : width * num_channels]
    return rows.reshape(height, width, num_channels)[:, :, channels]
