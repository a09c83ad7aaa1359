"""Pictures as anybody may send them: a picture or one clear line, never more memory than the limit allows."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lidarloop_core.errors import DatasetError, ImageFormatError
from lidarloop_core.io.images import EncodedImage, ImageFile, decode, decode_raw, encode_jpeg

PIXELS = np.random.default_rng(0).integers(0, 255, (12, 20, 3), np.uint8)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and has a few bytes of content."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    )


def encoded(format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("width", "height", "said"),
    [
        (13_000, 13_000, "13000 × 13000 pixels; expected at least one pixel and at most 64000000"),
        (8_001, 8_000, "8001 × 8000 pixels"),
        (60_000, 60_000, "DecompressionBombError"),
        (2**31 - 1, 2**31 - 1, "no readable picture"),
        (0, 0, "no readable picture|0 × 0 pixels"),
        (5, 0, "no readable picture|5 × 0 pixels"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_size_out_of_bounds_is_refused_by_the_header(tmp_path: Path, width: int, height: int, said: str) -> None:
    data = png_header(width, height)
    (tmp_path / "a.png").write_bytes(data)
    for load in (EncodedImage(data, "png"), ImageFile(tmp_path / "a.png"), ImageFile(tmp_path / "a.png").size):
        with pytest.raises(DatasetError, match=said):
            load()


def test_the_limit_is_the_callers(tmp_path: Path) -> None:
    data = encoded("PNG")
    (tmp_path / "a.png").write_bytes(data)
    np.testing.assert_array_equal(EncodedImage(data, "png", most_pixels=240)(), PIXELS)
    assert ImageFile(tmp_path / "a.png", most_pixels=240).size() == (20, 12)
    for load in (
        EncodedImage(data, "png", most_pixels=239),
        ImageFile(tmp_path / "a.png", most_pixels=239),
        ImageFile(tmp_path / "a.png", most_pixels=239).size,
    ):
        with pytest.raises(DatasetError, match="20 × 12 pixels; expected at least one pixel and at most 239"):
            load()
    assert ImageFile(tmp_path / "a.png", most_pixels=239).encoded().most_pixels == 239


@settings(max_examples=300, deadline=None)
@given(
    format=st.sampled_from(["PNG", "JPEG"]),
    places=st.lists(st.integers(0, 2000), max_size=6),
    cut=st.integers(0, 900),
    value=st.integers(0, 255),
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_damaged_pictures_give_a_picture_or_one_line(format: str, places: list[int], cut: int, value: int) -> None:
    data = bytearray(encoded(format))
    for place in places:
        data[place % len(data)] = value
    try:
        found = decode(bytes(data[: len(data) - cut]), "picture")
    except DatasetError:
        return
    assert (found.dtype, found.ndim, found.shape[2]) == (np.uint8, 3, 3)


@pytest.mark.parametrize("data", [b"", b"\x00", b"GIF89a" + bytes(100), b"%!PS-Adobe", encoded("TIFF"), encoded("BMP")])
def test_other_formats_are_refused(data: bytes) -> None:
    with pytest.raises(DatasetError, match=r"no readable picture .*expected a JPEG or PNG file"):
        decode(data, "picture")


def test_pictures_round_trip() -> None:
    np.testing.assert_array_equal(decode(encoded("PNG"), "picture"), PIXELS)
    assert encode_jpeg(PIXELS)().shape == PIXELS.shape


def test_a_pipe_or_folder_in_the_place_of_a_picture_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    for path, said in ((tmp_path / "a.png", "pipe"), (tmp_path, "folder"), (Path("/dev/zero"), "device")):
        for load in (ImageFile(path), ImageFile(path).size, ImageFile(path).encoded):
            with pytest.raises(DatasetError, match=said):
                load()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": 0, "step": 0}, "0 × 2 pixels"),
        ({"height": 0}, "2 × 0 pixels"),
        ({"width": 13_000, "height": 13_000, "step": 39_000}, "13000 × 13000 pixels"),
        ({"width": 2**32 - 1, "height": 2**32 - 1, "step": 2**32 - 1}, "pixels; expected"),
        ({"encoding": "x" * 1_000_000}, "encoding 'xxx"),
        ({"step": 5}, "expected a step of 6 or more"),
        ({"data": bytes(3)}, "3 bytes"),
    ],
)
def test_raw_pictures_that_contradict_themselves_are_refused(change: dict[str, Any], said: str) -> None:
    sound: dict[str, Any] = {"encoding": "rgb8", "width": 2, "height": 2, "step": 6, "data": bytes(range(12))}
    np.testing.assert_array_equal(decode_raw(SimpleNamespace(**sound)).reshape(-1), range(12))
    with pytest.raises(ImageFormatError, match=said) as refused:
        decode_raw(SimpleNamespace(**{**sound, **change}))
    assert len(str(refused.value)) < 500
