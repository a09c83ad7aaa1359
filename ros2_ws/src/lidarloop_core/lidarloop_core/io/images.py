"""Pictures that stay encoded until they are used: the ``CameraImage.load`` of sources.

A writer calls ``encoded(image)`` and copies the bytes of a picture that is a file already, so that conversion does not
compress it again.

JPEG is decoded by simplejpeg (libjpeg-turbo's own interface) where it is installed, for it takes less time than Pillow
(docs/data.md); the extra ``fast-jpeg`` brings it. What is a picture, and the error if it is none, Pillow decides alone.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from lidarloop_core.errors import DatasetError, ImageFormatError, LidarloopError
from lidarloop_core.io import regular_file
from lidarloop_core.sample import CameraImage

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

JPEG_QUALITY = 90

MOST_PIXELS = 64_000_000
"""Pictures of more pixels are refused unless a caller allows more, up to the 178 million that Pillow opens; the largest
of a car's cameras have 8 million."""

MOST_FILE_BYTES = 256 << 20
"""A larger file is no picture that is worth reading: ``MOST_PIXELS`` that do not compress at all make 192 MB of PNG."""

_FORMATS = ("JPEG", "PNG")

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
        most_pixels: number of pixels above which it is refused.

    Raises:
        DatasetError: at a call, if the bytes are no readable picture or have too many pixels.
    """

    data: bytes
    format: str
    most_pixels: int = field(default=MOST_PIXELS, kw_only=True)

    def __call__(self) -> npt.NDArray[np.uint8]:
        return decode(self.data, f"{self.format[:40]} of {len(self.data)} bytes", self.most_pixels)

    def encoded(self) -> EncodedImage:
        return self


@runtime_checkable
class Encodable(Protocol):
    """A ``CameraImage.load`` that knows its picture's compressed form."""

    def encoded(self) -> EncodedImage: ...


@dataclass(frozen=True)
class ImageFile:
    """A picture on disk; calling it reads and decodes it.

    Attributes:
        path: the file, JPEG or PNG.
        most_pixels: number of pixels above which it is refused.

    Raises:
        DatasetError: at a call or ``encoded``, if the file cannot be read; at a call, also if it is no picture or has
            too many pixels.
    """

    path: Path
    most_pixels: int = field(default=MOST_PIXELS, kw_only=True)

    def __call__(self) -> npt.NDArray[np.uint8]:
        return decode(self._bytes(), str(self.path), self.most_pixels)

    def encoded(self) -> EncodedImage:
        """The file's bytes.

        Raises:
            DatasetError: the file cannot be read.
        """
        format = "png" if self.path.suffix.lower() == ".png" else "jpeg"
        return EncodedImage(self._bytes(), format, most_pixels=self.most_pixels)

    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the file's header.

        Raises:
            DatasetError: the file is no readable picture, or one of too many pixels.
        """
        try:
            with regular_file.opened(self.path, MOST_FILE_BYTES) as file:
                width, height = _header_size(file, str(self.path))
        except OSError as error:
            raise self._unreadable(error) from None
        _require_size(str(self.path), width, height, self.most_pixels, DatasetError)
        return width, height

    def _bytes(self) -> bytes:
        try:
            return regular_file.read_bytes(self.path, MOST_FILE_BYTES)
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> DatasetError:
        return DatasetError(f"{self.path}: cannot be read ({error.strerror}); restore the file")


def decode(data: bytes, what: str, most_pixels: int = MOST_PIXELS) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB picture of a JPEG or PNG file's bytes.

    The size is read from the header first: a few bytes may promise more pixels than there is memory.

    Args:
        data: the file's bytes.
        what: its name in the error.
        most_pixels: number of pixels above which it is refused.

    Raises:
        DatasetError: the bytes are no readable picture, or one of too many pixels.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _require_size(what, image.width, image.height, most_pixels, DatasetError)
            pixels = _by_simplejpeg(data, image)
            return np.asarray(image.convert("RGB")) if pixels is None else pixels
    except LidarloopError:
        raise
    except Exception as error:  # damaged files make Pillow raise a dozen types, from SyntaxError to struct.error
        raise _no_picture(what, error) from None


def _by_simplejpeg(data: bytes, header: Image.Image) -> npt.NDArray[np.uint8] | None:
    """(H, W, 3) uint8 RGB, the pixels that Pillow gives; None where Pillow has to decode.

    These are a format other than JPEG in colour, and a file with which simplejpeg finds anything wrong, be it harmless.

    Args:
        data: the file's bytes.
        header: the file as Pillow opened it, whose size has been found to be within bounds.
    """
    if simplejpeg is None or header.format != "JPEG" or header.mode != "RGB":
        return None
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        if (width, height) != header.size:
            return None
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError:
        return None
    return pixels


def _header_size(file: BinaryIO, what: str) -> tuple[int, int]:
    """Width and height, pixels."""
    try:
        with Image.open(file, formats=_FORMATS) as image:
            return image.width, image.height
    except Exception as error:  # see ``decode``
        raise _no_picture(what, error) from None


def _require_size(what: str, width: int, height: int, most_pixels: int, kind: type[LidarloopError]) -> None:
    if width < 1 or height < 1 or width * height > most_pixels:
        raise kind(
            f"{what}: a picture of {width} × {height} pixels; expected at least one pixel and at most {most_pixels}: "
            "check the camera's driver, or allow more"
        )


def _no_picture(what: str, error: Exception) -> DatasetError:
    return DatasetError(f"{what}: no readable picture ({type(error).__name__}: {error}); expected a JPEG or PNG file")


def encode_jpeg(pixels: npt.NDArray[np.uint8]) -> EncodedImage:
    """A (H, W, 3) RGB picture as JPEG of quality ``JPEG_QUALITY``: equal pixels give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(buffer, "JPEG", quality=JPEG_QUALITY)
    return EncodedImage(buffer.getvalue(), "jpeg")


def encoded(image: CameraImage) -> EncodedImage:
    """The picture's own file bytes if it has them, else a fresh JPEG."""
    return image.load.encoded() if isinstance(image.load, Encodable) else encode_jpeg(image.load())


def decode_raw(message: Any, most_pixels: int = MOST_PIXELS) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a sensor_msgs/Image.

    Raises:
        ImageFormatError: an encoding other than ``RAW_ENCODINGS``, no pixels or too many, or fewer bytes than
            height × step.
    """
    if message.encoding not in _ENCODINGS:
        raise ImageFormatError(
            f"received a picture of encoding {message.encoding[:40]!r}; expected one of {', '.join(RAW_ENCODINGS)}: "
            "take the camera's colour or its compressed topic"
        )
    num_channels, channels = _ENCODINGS[message.encoding]
    height, width, step = int(message.height), int(message.width), int(message.step)
    _require_size(message.encoding, width, height, most_pixels, ImageFormatError)
    data = np.frombuffer(message.data, np.uint8)
    if step < width * num_channels or len(data) < height * step:
        raise ImageFormatError(
            f"received a {message.encoding} picture of {width} × {height} with step {step} and {len(data)} bytes; "
            f"expected a step of {width * num_channels} or more and height × step bytes: check the camera's driver"
        )
    rows = data[: height * step].reshape(height, step)[:, : width * num_channels]
    return rows.reshape(height, width, num_channels)[:, :, channels]


def resized(picture: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 → (height, width, 3), smoothed where it shrinks; unchanged where it has that size, in pixels."""
    if picture.shape[:2] == (height, width):
        return picture
    small = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(small)
