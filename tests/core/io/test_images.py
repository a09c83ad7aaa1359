"""Pictures as anybody may send them: a picture or one clear line, never more memory than the limit allows."""

from __future__ import annotations

import io
import os
import re
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lidarloop_core.errors import DatasetError, ImageFormatError
from lidarloop_core.io.images import EncodedImage, ImageFile, decode, decode_raw, encode_jpeg

PIXELS = np.random.default_rng(0).integers(0, 255, (12, 20, 3), np.uint8)

DECODER = "lidarloop_core.io.images.simplejpeg"
NO_SIMPLEJPEG = pytest.mark.skipif(
    find_spec("simplejpeg") is None, reason="simplejpeg is not installed: pip install 'lidarloop[fast-jpeg]'"
)


@pytest.fixture(scope="module", autouse=True, params=["Pillow", pytest.param("simplejpeg", marks=NO_SIMPLEJPEG)])
def decoder(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test runs with Pillow alone, and with simplejpeg beside it."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "Pillow":
            patch.setattr(DECODER, None)
        yield request.param


def by_pillow(data: bytes) -> Any:
    """The pixels, or the line that a user reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DECODER, None)
        return outcome(data)


def outcome(data: bytes) -> Any:
    try:
        return decode(data, "picture").tolist()
    except DatasetError as error:
        return re.sub(r" at 0x\w+", "", str(error))  # an object's address


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and has a few bytes of content."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    )


def jpeg_header(width: int, height: int) -> bytes:
    """A small JPEG whose header promises another size."""
    data = encoded("JPEG")
    place = data.index(b"\xff\xc0") + 5  # start of frame: marker, length, bits
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def encoded(format: str, pixels: npt.NDArray[np.uint8] = PIXELS, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
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


@pytest.mark.parametrize(
    ("width", "height", "said"),
    [
        (13_000, 13_000, "13000 × 13000 pixels; expected at least one pixel and at most 64000000"),
        (65_500, 65_500, "DecompressionBombError"),
        (0, 5, "no readable picture|0 × 5 pixels"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_jpeg_of_a_size_out_of_bounds_is_refused_by_the_header(width: int, height: int, said: str) -> None:
    tracemalloc.start()
    with pytest.raises(DatasetError, match=said):
        decode(jpeg_header(width, height), "picture")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@NO_SIMPLEJPEG
def test_simplejpeg_decodes_sound_jpegs_alone(monkeypatch: pytest.MonkeyPatch, decoder: str) -> None:
    if decoder == "Pillow":
        pytest.skip("of simplejpeg")
    sound, cut = encoded("JPEG"), encoded("JPEG")[:-2]
    expected = by_pillow(sound), by_pillow(cut)
    monkeypatch.setattr(Image.Image, "convert", lambda image, mode: pytest.fail("Pillow decoded"))
    assert outcome(sound) == expected[0]
    with pytest.raises(pytest.fail.Exception):
        decode(cut, "picture")


@pytest.mark.parametrize("quality", [5, 75, 100])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (64, 48), (33, 130)])
def test_pixels_are_those_of_pillow(quality: int, subsampling: str, progressive: bool, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    data = encoded("JPEG", pixels, quality=quality, subsampling=subsampling, progressive=progressive)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode(data, "picture"), expected)


@pytest.mark.parametrize("mode", ["L", "CMYK", "YCbCr"])
def test_jpegs_of_other_colours_are_those_of_pillow(mode: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, "JPEG")
    expected = np.asarray(Image.open(buffer).convert("RGB"))
    np.testing.assert_array_equal(decode(buffer.getvalue(), "picture"), expected)


@pytest.mark.real
def test_pixels_of_real_cameras_are_those_of_pillow(real_data: Path) -> None:
    paths = sorted((real_data / "nuscenes_keyframe").glob("*.jpg"))
    assert len(paths) == 6
    for path in paths:
        np.testing.assert_array_equal(ImageFile(path)(), np.asarray(Image.open(path).convert("RGB")))


@settings(max_examples=300)
@given(places=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4), cut=st.integers(0, 900))
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_damaged_jpegs_have_one_outcome_whatever_is_installed(places: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(encoded("JPEG"))
    for place, value in places:
        data[place % len(data)] = value
    damaged = bytes(data[: len(data) - cut])
    assert outcome(damaged) == by_pillow(damaged)


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
