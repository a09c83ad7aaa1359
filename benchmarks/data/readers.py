"""How fast each reader reads: samples per second, with and without pictures.

    python -m benchmarks.data.readers --json out/bench/readers.json
    python -m benchmarks.data.readers --also waymo /data/waymo/training

Real samples are read where they are ($LIDARLOOP_REAL_DATA or ../shared/data); tables and a bag are written from the
toy town into a temporary folder. Each source is opened once and read in order, again and again, for a second or so:
files come from the page cache, so the figures are what the reader itself costs. With pictures means that all of them
are decoded.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.checks import REAL_DATA, Context, Row, all_of, as_json
from lidarloop_core.io import atomic
from lidarloop_core.machine import machine, versions
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.bag.writer import write_bag
from lidarloop_training.data.drive_lookup import drive_named
from lidarloop_training.data.nuscenes.writer import write_nuscenes
from lidarloop_training.toytown.drive import ToyTownDrive

REAL = {
    "nuScenes keyframe, six cameras": ("nuscenes-sweep", "nuscenes_keyframe"),
    "nuScenes, ten sweeps in one": ("nuscenes-sweep", "nuscenes_10sweep"),
    "KITTI object": ("kitti-object", "kitti_object_with_images"),
    "KITTI raw": ("kitti-raw", "kitti_raw_sequence"),
    "Argoverse 2": ("av2", "av2/sensor/val/7fab2350-7eaf-3b7e-a39d-6937a4c1bede"),
}


@dataclass(frozen=True)
class ReaderSpeed:
    """The speed of one reader on one drive.

    Attributes:
        source: the source's name in `lidarloop convert`.
        drive: the drive, in words.
        num_samples: samples in the drive.
        num_sweeps: sweeps in its last sample.
        num_points: points in all sweeps of its last sample.
        num_pictures: pictures in its last sample.
        samples_per_s: rate without pictures, samples per second.
        samples_per_s_with_pictures: rate with all pictures decoded, samples per second; None without pictures.
    """

    source: str
    drive: str
    num_samples: int
    num_sweeps: int
    num_points: int
    num_pictures: int
    samples_per_s: float
    samples_per_s_with_pictures: float | None


def measure(drives: dict[str, tuple[str, str]], seconds: float) -> list[ReaderSpeed]:
    """Times each drive, given as name → (source, path)."""
    return [_measure(name, source, path, seconds) for name, (source, path) in drives.items()]


def real_drives(data: Path) -> dict[str, tuple[str, str]]:
    """The real samples that are there."""
    return {name: (source, str(data / folder)) for name, (source, folder) in REAL.items() if (data / folder).exists()}


def made_drives(folder: Path, num_frames: int) -> dict[str, tuple[str, str]]:
    """A toy-town drive with six cameras as tables and as a bag."""
    drive = ToyTownDrive(7, duration_s=num_frames / 10)
    write_nuscenes(drive, folder / "tables", keyframe_every=5)
    write_bag(drive, folder / "drive.mcap")
    return {
        "toy town as nuScenes tables": ("nuscenes", str(folder / "tables")),
        "toy town as a bag": ("bag", str(folder / "drive.mcap")),
        "toy town, made as it is read": ("toytown", "7"),
    }


def _measure(name: str, source: str, path: str, seconds: float) -> ReaderSpeed:
    without = open_named(source, path, cameras=False)
    with_pictures = open_named(source, path, cameras=True)
    last = with_pictures[len(with_pictures) - 1]
    return ReaderSpeed(
        source=source,
        drive=name,
        num_samples=len(without),
        num_sweeps=len(last.sweeps),
        num_points=sum(len(sweep.points) for sweep in last.sweeps),
        num_pictures=len(last.cameras),
        samples_per_s=_rate(without, seconds),
        samples_per_s_with_pictures=_rate(with_pictures, seconds) if last.cameras else None,
    )


def open_named(source: str, path: str, *, cameras: bool) -> SampleSource:
    """The source of a name that is not known to be one of ``DriveName``."""
    drive = drive_named(source, path)  # type: ignore[arg-type]  # a name from the command line
    return drive.open_all_sweeps(cameras=cameras)


def _rate(source: SampleSource, seconds: float) -> float:
    """Samples per second in the best of three rounds: what else runs on the machine can only slow a reader down."""
    _read(source, 0)  # fills caches
    return max(_round(source, seconds / 3) for _ in range(3))


def _round(source: SampleSource, seconds: float) -> float:
    num_read, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        num_read += 1
        _read(source, num_read % len(source))
    return num_read / elapsed


def _read(source: SampleSource, index: int) -> None:
    for image in source[index].cameras:
        image.load()


def show(rows: list[ReaderSpeed]) -> None:
    """Prints the rows as a table."""
    table = Table("drive", "source", "sweeps", "points", "pictures", "samples/s", "with pictures")
    for row in rows:
        pictured = "" if row.samples_per_s_with_pictures is None else f"{row.samples_per_s_with_pictures:.1f}"
        counts = (f"{row.num_sweeps}", f"{row.num_points:,}", f"{row.num_pictures}")
        table.add_row(row.drive, row.source, *counts, f"{row.samples_per_s:.1f}", pictured)
    Console().print(table)


def throughput(context: Context) -> Iterator[Row]:
    """Samples per second of each reader; no target but that every one with data at hand is measured."""
    drives = real_drives(context.data) | made_drives(context.scratch / "drives", 10)
    rows = measure(drives, 1.0)
    show(rows)
    atomic.write_bytes(
        context.out / "readers.json", as_json({"machine": machine(), "rows": [asdict(row) for row in rows]})
    )
    yield all_of("readers measured, samples per second in readers.json", len(rows), len(drives))


def main(
    data: Path = REAL_DATA,
    also: tuple[tuple[str, str], ...] = (),
    seconds: float = 2.0,
    num_frames: int = 30,
    json_path: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Prints a table of all readers that have something to read.

    Args:
        data: folder of the real samples.
        also: further drives: source and path of each.
        seconds: reading time of each measurement.
        num_frames: length of the toy-town drive.
        json_path: write the same rows there, with machine and versions.
    """
    drives = real_drives(data) | {path: (source, path) for source, path in also}
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(drives | made_drives(Path(folder), num_frames), seconds)
    show(rows)
    if json_path is not None:
        document = {
            "command": sys.argv,
            "machine": machine(),
            "versions": versions(),
            "rows": [asdict(r) for r in rows],
        }
        atomic.write_bytes(json_path, as_json(document))


if __name__ == "__main__":
    tyro.cli(main)
