"""How long a camera's JPEG takes to decode: Pillow and what else is installed, in turns, on the same real pictures.

    python -m benchmarks.data.jpeg --json out/bench/jpeg.json

Measured are simplejpeg (the extra ``fast-jpeg``), OpenCV, PyTurboJPEG where it finds its library, and `decode` of the
project, which takes simplejpeg where it is installed. All give the picture as (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import tyro
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.checks import REAL_DATA, Context, Row, all_of, as_json, at_most, report_only
from lidarloop_core.io import atomic
from lidarloop_core.io.images import decode
from lidarloop_core.machine import load_1min, machine, versions

Decoder = Callable[[bytes], npt.NDArray[np.uint8]]

PILLOW, SIMPLEJPEG, OURS = "Pillow", "simplejpeg", "lidarloop"


@dataclass(frozen=True)
class DecoderSpeed:
    """One decoder on all pictures.

    Attributes:
        decoder: the decoder's name.
        ms_per_picture: processor time, milliseconds, the best of all rounds, mean over the pictures.
        largest_difference: largest difference of a channel from Pillow's, 0 to 255.
        share_different: share of all channels of all pixels that differ from Pillow's, 0 to 1.
    """

    decoder: str
    ms_per_picture: float
    largest_difference: int
    share_different: float


def decoders() -> dict[str, Decoder]:
    """What is installed, by name; Pillow first."""
    found: dict[str, Decoder] = {PILLOW: lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))}
    try:
        import simplejpeg
    except ImportError:
        pass
    else:
        found[SIMPLEJPEG] = lambda data: np.asarray(simplejpeg.decode_jpeg(data, "RGB"))
    try:
        import cv2
    except ImportError:
        pass
    else:
        found["OpenCV"] = lambda data: _opencv(cv2, data)
    try:
        import turbojpeg

        turbo = turbojpeg.TurboJPEG()
    except (ImportError, RuntimeError, OSError):  # the wheel has no library in it
        pass
    else:
        found["PyTurboJPEG"] = lambda data: np.asarray(turbo.decode(data, pixel_format=turbojpeg.TJPF_RGB))
    return {**found, OURS: lambda data: decode(data, "a picture")}


def _opencv(cv2: Any, data: bytes) -> npt.NDArray[np.uint8]:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def measure(pictures: list[bytes], num_rounds: int) -> list[DecoderSpeed]:
    """Times every decoder on every picture, in turns, by the processor time of this process: all use one thread."""
    found = decoders()
    best_s = {name: np.full(len(pictures), np.inf) for name in found}
    for _ in range(num_rounds):
        for i, data in enumerate(pictures):
            for name, decoder in found.items():
                started = time.process_time()
                decoder(data)
                best_s[name][i] = min(best_s[name][i], time.process_time() - started)
    expected = [found[PILLOW](data).astype(np.int16) for data in pictures]
    rows = []
    for name, decoder in found.items():
        off = [np.abs(decoder(data) - pixels) for data, pixels in zip(pictures, expected, strict=True)]
        different = sum(int(np.count_nonzero(d)) for d in off) / sum(d.size for d in off)
        rows.append(DecoderSpeed(name, float(best_s[name].mean() * 1e3), max(int(d.max()) for d in off), different))
    return rows


def real_pictures(data: Path) -> list[bytes]:
    """The six cameras' files of the nuScenes keyframe, 1600 × 900 pixels each."""
    return [path.read_bytes() for path in sorted((data / "nuscenes_keyframe").rglob("*.jpg"))]


def show(rows: list[DecoderSpeed]) -> None:
    """Prints the rows as a table."""
    table = Table("decoder", "ms a picture", "of Pillow's time", "largest difference", "channels that differ")
    for row in rows:
        share = row.ms_per_picture / rows[0].ms_per_picture
        numbers = (f"{row.ms_per_picture:.2f}", f"{share:.2f}", f"{row.largest_difference}")
        table.add_row(row.decoder, *numbers, f"{row.share_different:.4f}")
    Console().print(table)


def jpeg_decoding(context: Context) -> Iterator[Row]:
    """simplejpeg gives Pillow's pixels in less time, where it is installed."""
    pictures = real_pictures(context.data)
    rows = {row.decoder: row for row in measure(pictures, 10)}
    yield all_of("pictures of a nuScenes keyframe decoded", len(pictures), 6)
    yield report_only("JPEG by Pillow, ms a picture of 1600 × 900", rows[PILLOW].ms_per_picture)
    if SIMPLEJPEG not in rows:
        yield Row("JPEG by simplejpeg", None, "", None, "skipped: simplejpeg is not installed")
        return
    ours, pillow = rows[OURS], rows[PILLOW]
    yield at_most("largest difference of a channel between lidarloop's pixels and Pillow's", ours.largest_difference, 0)
    yield at_most("time of lidarloop's decode of JPEG / Pillow's", ours.ms_per_picture / pillow.ms_per_picture, 0.9)


def main(
    data: Path = REAL_DATA,
    num_rounds: int = 30,
    json_path: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Prints a table of all decoders that are installed.

    Args:
        data: folder of the real samples.
        num_rounds: how often each picture is decoded by each; the best counts.
        json_path: write the same rows there, with machine and versions.
    """
    rows = measure(real_pictures(data), num_rounds)
    show(rows)
    if json_path is not None:
        document = {
            "command": sys.argv,
            "machine": {**machine(), "load_1min": load_1min()},
            "versions": versions("pillow", "opencv-python-headless", "PyTurboJPEG"),
            "rows": [asdict(row) for row in rows],
        }
        atomic.write_bytes(json_path, as_json(document))


if __name__ == "__main__":
    tyro.cli(main)
