"""``lidarloop convert``: any source in, a bag or nuScenes tables out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from lidarloop_core import __version__
from lidarloop_core.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from lidarloop_core.sample import Sample, SampleSource
    from lidarloop_training.data.masks_writer import CocoMasks

SourceName = Literal["toytown", "kitti-raw", "kitti-object", "nuscenes-sweep", "nuscenes", "bag"]

# Reaches back from one nuScenes keyframe to the one before, at 20 sweeps and 2 keyframes per second.
_SWEEPS_PER_NUSCENES_KEYFRAME = 11


def convert(
    source: tyro.conf.Positional[SourceName],
    path: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PATH_OR_SEED")],
    dst: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DST")],
    *,
    duration_s: float = 20.0,
    rate_hz: float = 10.0,
    cameras: bool = True,
    masks: bool = False,
    keyframe_every: int = 5,
    sweeps_per_keyframe: int | None = None,
    num_workers: int | None = None,
    overwrite: bool = False,
) -> None:
    """Converts a drive to a ROS 2 bag or to nuScenes tables.

    Bags play through the node (`lidarloop replay`), tables are what training and the nuScenes devkit read.

    Args:
        source: What to read.
        path: The drive's file or folder; for toytown the seed.
        dst: A name ending in .mcap makes a bag; any other makes a folder of nuScenes tables, which need ego-motion
            and annotations (toytown, nuscenes, and bags made from these).
        duration_s: Length of a toytown drive.
        rate_hz: Clouds per second of a toytown drive.
        cameras: Whether pictures are converted.
        masks: Also write toytown's instance masks as COCO JSON: DST with .masks.json for .mcap, or DST/masks.json.
        keyframe_every: Tables only: every how many frames one is annotated.
        sweeps_per_keyframe: Tables only: frames kept before each keyframe; all by default.
        num_workers: Processes that render toytown frames; by default one per core. The result does not depend on it.
        overwrite: Replace DST if lidarloop wrote it.
    """
    started = time.monotonic()
    is_bag = dst.suffix == ".mcap"
    _check_options(source, dst, masks=masks, cameras=cameras)
    _check_destination(dst, is_bag, overwrite)
    drive = open_source(source, path, duration_s=duration_s, rate_hz=rate_hz, cameras=cameras)
    coco = None
    if masks:
        drive, coco = _with_masks(drive, is_bag)
    workers = _num_workers(num_workers) if source == "toytown" else 0
    if is_bag:
        from lidarloop_training.data.bag_writer import write_bag

        provenance = {"source": source, "path": path, "lidarloop": __version__}
        with _progress(len(drive), coco) as on_sample:
            write_bag(drive, dst, cameras=cameras, num_workers=workers, provenance=provenance, on_sample=on_sample)
    else:
        from lidarloop_training.data.nuscenes_writer import plan, write_nuscenes

        num_frames = len(plan(len(drive), keyframe_every, sweeps_per_keyframe, cameras))
        with _progress(num_frames, coco) as on_sample:
            write_nuscenes(
                drive,
                dst,
                keyframe_every=keyframe_every,
                sweeps_per_keyframe=sweeps_per_keyframe,
                cameras=cameras,
                num_workers=workers,
                overwrite=overwrite,
                on_sample=on_sample,
            )
    print(f"{dst}  ({len(drive)} frames in {time.monotonic() - started:.1f} s)")
    if coco is not None:
        path_of_masks = dst.with_suffix(".masks.json") if is_bag else dst / "masks.json"
        coco.write(path_of_masks)
        print(path_of_masks)
    print(f"next: {_next_command(dst, is_bag)}")


def open_source(
    source: SourceName, path: str, *, duration_s: float = 20.0, rate_hz: float = 10.0, cameras: bool = True
) -> SampleSource:
    """The source behind a name and a path (or a seed).

    Raises:
        ConfigError: a seed that is no number.
        DatasetError, BagError: nothing readable is there.
    """
    if source == "toytown":
        from lidarloop_training.toytown.drive import ToyTownDrive

        if not path.isdecimal():
            raise ConfigError(f"toytown received {path!r}; expected a seed: a whole number such as 7")
        return ToyTownDrive(int(path), duration_s=duration_s, rate_hz=rate_hz, cameras=cameras)
    place = Path(path)
    if not place.exists():
        raise DatasetError(f"{place} does not exist; expected the file or folder of a {source} drive")
    if source == "kitti-raw":
        from lidarloop_training.data.kitti_raw import KittiRawSource

        return KittiRawSource(place, cameras=cameras)
    if source == "kitti-object":
        from lidarloop_training.data.kitti_object import KittiObjectSource

        return KittiObjectSource(place, cameras=cameras)
    if source == "nuscenes-sweep":
        from lidarloop_training.data.nuscenes_sweep import NuScenesSweepSource

        return NuScenesSweepSource(place, cameras=cameras)
    if source == "nuscenes":
        from lidarloop_training.data.nuscenes import NuScenesSource

        return NuScenesSource(place, num_sweeps=_SWEEPS_PER_NUSCENES_KEYFRAME, cameras=cameras)
    from lidarloop_training.data.bag import BagSource

    return BagSource(place, cameras=cameras)


def _check_options(source: SourceName, dst: Path, *, masks: bool, cameras: bool) -> None:
    if masks and not (source == "toytown" and cameras):
        raise ConfigError(
            f"received --masks with {source}; expected toytown with cameras: nothing else knows its masks"
        )
    if source in ("kitti-raw", "kitti-object", "nuscenes-sweep") and dst.suffix != ".mcap":
        raise ConfigError(
            f"received {dst}; {source} has no ego-motion over a drive, which nuScenes tables need: "
            "choose a name ending in .mcap"
        )


def _with_masks(drive: SampleSource, is_bag: bool) -> tuple[SampleSource, CocoMasks]:
    """A toy-town drive that brings its masks along, and what collects them."""
    from lidarloop_training.data import masks_writer, nuscenes_scene
    from lidarloop_training.data.bag_layout import image_topic
    from lidarloop_training.toytown.drive import ToyTownDrive

    assert isinstance(drive, ToyTownDrive)
    if is_bag:
        coco = masks_writer.CocoMasks(lambda sample: str(sample.stamp_ns), lambda _, image: image_topic(image.name))
    else:
        coco = masks_writer.CocoMasks(nuscenes_scene.sample_token, nuscenes_scene.picture_filename)
    return masks_writer.MaskedDrive(drive), coco


def _check_destination(dst: Path, is_bag: bool, overwrite: bool) -> None:
    """Refuses a destination that is taken before any work is done."""
    if not is_bag:
        from lidarloop_training.data.nuscenes_writer import check_destination

        check_destination(dst, overwrite)
    elif dst.exists():
        if not overwrite:
            raise DatasetError(f"{dst} exists: choose another destination, or pass --overwrite to replace it")
        if not _is_our_bag(dst):
            raise DatasetError(f"{dst} exists and was not written by lidarloop: choose another destination")


def _is_our_bag(path: Path) -> bool:
    from lidarloop_core.errors import BagError
    from lidarloop_core.io.bag import BagReader
    from lidarloop_training.data.bag_layout import PROVENANCE

    try:
        with BagReader(path) as bag:
            return PROVENANCE in bag.topics
    except BagError:
        return False


def _num_workers(wanted: int | None) -> int:
    if wanted is not None and wanted < 0:
        raise ConfigError(f"received --num-workers {wanted}; expected 0 (no further process) or more")
    return (os.cpu_count() or 1) if wanted is None else wanted


@contextmanager
def _progress(total: int, coco: CocoMasks | None) -> Iterator[Callable[[Sample], None]]:
    """A progress bar on stderr; gives what to call with each sample, which also collects its masks."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("converting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total)

        def on_sample(sample: Sample) -> None:
            if coco is not None:
                coco.add(sample)
            progress.advance(task)

        yield on_sample


def _next_command(dst: Path, is_bag: bool) -> str:
    if is_bag:
        return f"lidarloop replay {dst} --model models/pillar-toytown.onnx --out {dst.with_suffix('')}"
    return f"lidarloop convert nuscenes {dst} {dst}.mcap"
