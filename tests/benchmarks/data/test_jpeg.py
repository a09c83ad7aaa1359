"""The benchmark of JPEG decoders."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.checks import Context
from benchmarks.data import jpeg
from benchmarks.data.jpeg import OURS, PILLOW, SIMPLEJPEG, jpeg_decoding, measure
from lidarloop_core.io.images import encode_jpeg

PICTURES = [encode_jpeg(np.random.default_rng(seed).integers(0, 255, (30, 40, 3), np.uint8)).data for seed in (0, 1)]


def test_differences_are_counted_against_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    by_pillow = jpeg.decoders()[PILLOW]

    def off_by_two(data: bytes) -> np.ndarray:
        pixels = by_pillow(data).copy()
        pixels[0, 0, 0] = pixels[0, 0, 0] ^ 2
        return pixels

    monkeypatch.setattr(jpeg, "decoders", lambda: {PILLOW: by_pillow, "other": off_by_two})
    same, other = measure(PICTURES, 1)
    assert (same.largest_difference, same.share_different) == (0, 0)
    assert (other.largest_difference, other.share_different) == (2, 1 / (30 * 40 * 3))
    assert min(same.ms_per_picture, other.ms_per_picture) > 0


def test_without_simplejpeg_nothing_is_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    monkeypatch.setattr(jpeg, "real_pictures", lambda data: PICTURES * 3)
    assert next(iter(jpeg.decoders())) == PILLOW
    assert {SIMPLEJPEG}.isdisjoint(jpeg.decoders())
    rows = list(jpeg_decoding(Context(tmp_path, tmp_path, tmp_path)))
    assert [row.holds for row in rows] == [True, None, None]
    assert rows[-1].note == "skipped: simplejpeg is not installed"


def test_what_the_project_decodes_with_is_measured() -> None:
    assert list(jpeg.decoders())[-1] == OURS
