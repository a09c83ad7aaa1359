"""Pictures: files and messages of any size, encoding and damage, with any calibration."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np

from lidarloop_core.io.camera_messages import Calibration, MessagePicture
from lidarloop_core.io.images import ImageFile, decode, decode_raw
from tests.fuzz import mutate, trees

ENCODINGS = ("rgb8", "bgr8", "mono8", "bayer_rggb8", "16UC1", "yuv422", "", "x" * 3000, "RGB8")


@cache
def _file(format: str) -> bytes:
    buffer = io.BytesIO()
    trees.picture().save(buffer, format)
    return buffer.getvalue()


def case(rng: Random, folder: Path) -> Callable[[], object]:
    kind = rng.choice(("bytes", "bytes", "file", "bomb", "raw", "raw", "message"))
    if kind == "raw":
        message = _raw(rng)
        return lambda: decode_raw(message)
    content = (
        _bomb(rng) if kind == "bomb" else mutate.data(rng, _file(rng.choice(("JPEG", "PNG", "BMP", "GIF", "TIFF"))))
    )
    if kind == "bytes":
        return lambda: decode(content, "a picture")
    if kind == "message":
        message = SimpleNamespace(format=rng.choice(("jpeg", "png", "", "tiff")), data=content)
        calibration = Calibration(np.diag([40.0, 40.0, 1.0]), 40, 30, np.array([0.1] + [0.0] * 7))
        return lambda: MessagePicture(message, calibration)()
    path = folder / "in" / rng.choice(("a.jpg", "a.png", "a"))
    path.write_bytes(content)
    if rng.random() < 0.05:
        trees.replace_file(rng, path)
    return rng.choice((lambda: ImageFile(path)(), lambda: ImageFile(path).size(), lambda: ImageFile(path).encoded()))


def _raw(rng: Random) -> Any:
    """sensor_msgs/Image, whose numbers need not fit its data."""
    numbers = (0, 1, 4, 12, 40, 2**16, 2**31, 2**32 - 1)
    height, width, step = rng.choice((3, *numbers)), rng.choice((4, *numbers)), rng.choice((12, 12, *numbers))
    data = rng.choice((bytes(36), bytearray(36), np.zeros(36, np.uint8), memoryview(bytes(36)), b"", bytes(1000)))
    return SimpleNamespace(
        encoding=rng.choice((*ENCODINGS, "rgb8", "rgb8")), height=height, width=width, step=step, data=data
    )


def _bomb(rng: Random) -> bytes:
    """A small PNG that claims to be huge; half of the time its data keep the promise as far as they go."""
    width, height = rng.choice(((0, 0), (0, 5), (13_000, 13_000), (65_535, 65_535), (2**31 - 1, 1), (1, 2**31 - 1)))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compress(bytes(1_000_000), 9) * rng.choice((0, 1, 20))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
