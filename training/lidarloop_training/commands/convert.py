"""``lidarloop convert``: any source in, a bag or nuScenes tables out."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from lidarloop_core import __version__
from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_training.commands.convert_options import check_options
from lidarloop_training.data.sources import NUSCENES, SourceName, open_source

if TYPE_CHECKING:
    from lidarloop_core.io.salvage import Salvage
    from lidarloop_core.sample import Sample, SampleSource
    from lidarloop_training.data.writing.masks import CocoMasks

# For scripts: the destination is written, but something of the source is not in it.
EXIT_WITH_LOSS = 3


def convert(
    source: tyro.conf.Positional[Literal[SourceName, "results", "cvat"]],
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
    scene: str | None = None,
    ego_motion: Literal["kiss-icp"] | None = None,
    points_topics: tuple[str, ...] = (),
    odometry_topic: str | None = None,
    salvage: bool = False,
    of: tuple[SourceName, str] | None = None,
    min_score: float = 0.3,
    overwrite: bool = False,
) -> int | None:
    """Converts a drive to a ROS 2 bag or to nuScenes tables; or results to a CVAT task, and back when corrected.

    Bags play through the node (`lidarloop replay`), tables are what training and the nuScenes devkit read.

    Args:
        source: What to read.
        path: The drive's file or folder; for toytown the seed.
        dst: A name ending in .mcap makes a bag; any other makes a folder of nuScenes tables, for which the drive must
            have ego-motion and annotations.
        duration_s: Length of a toytown drive.
        rate_hz: Clouds per second of a toytown drive.
        cameras: Whether pictures are converted.
        masks: Also write toytown's instance masks as COCO JSON: DST with .masks.json for .mcap, or DST/masks.json.
        keyframe_every: Tables only: every how many frames one is annotated.
        sweeps_per_keyframe: Tables only: frames kept before each keyframe; all by default.
        num_workers: Processes that render toytown frames; by default one per core. The result does not depend on it.
        scene: nuScenes only: the name of the scene to convert, where the folder holds several.
        points_topics: Bags only: the clouds' topics; several LiDARs are merged into the first one's clouds. By default
            /lidar/points or the only one there is.
        odometry_topic: Bags only: by default /odom or the only one there is, else poses are taken from /tf.
        salvage: Bags only: reads what is whole of a broken MCAP file and tells what was lost; the exit code is then 3.
        ego_motion: How poses are found where the source has none: kiss-icp estimates them from the clouds.
        of: For results only: the source and path of the drive that they are of.
        min_score: For results only: boxes below it are not sent to CVAT.
        overwrite: Replace DST if lidarloop wrote it.
    """
    check_options(source, dst, _given(locals()))
    if source == "results" or source == "cvat":
        from lidarloop_training.data.writing.cvat import convert_corrections

        drive_of_results = partial(open_source, *of) if of else None
        convert_corrections(source, Path(path), dst, drive_of_results, min_score=min_score, overwrite=overwrite)
        return None
    started = time.monotonic()
    is_bag = dst.suffix == ".mcap"
    workers = _num_workers(num_workers) if source == "toytown" else 0
    _check_destination(dst, is_bag, overwrite)
    with _salvaged(path, dst) if salvage else nullcontext() as salvaged:
        drive = open_source(
            source,
            path if salvaged is None else str(salvaged[0]),
            duration_s=duration_s,
            rate_hz=rate_hz,
            cameras=cameras,
            scene=scene,
            points_topics=points_topics,
            odometry_topic=odometry_topic,
        )
        _check_one_drive(source, drive, path)
        loss = None if salvaged is None else _loss(Path(path), salvaged, drive)
        provenance = _provenance(source, path, drive, ego_motion)
        if ego_motion is not None:
            drive = _with_ego_motion(drive)
        coco = None
        if masks:
            drive, coco = _with_masks(drive, is_bag)
        if is_bag:
            _write_bag(drive, dst, coco, cameras=cameras, num_workers=workers, provenance=provenance)
        else:
            _write_tables(
                drive,
                dst,
                coco,
                keyframe_every=keyframe_every,
                sweeps_per_keyframe=sweeps_per_keyframe,
                cameras=cameras,
                num_workers=workers,
                overwrite=overwrite,
            )
        print(f"{dst}  ({len(drive)} frames in {time.monotonic() - started:.1f} s)")
        if coco is not None:
            _write_masks(coco, dst, is_bag)
        print(f"next: {_next_command(dst, is_bag)}")
    if salvaged is None or loss is None:
        return None
    print(loss)
    return None if salvaged[1].is_whole else EXIT_WITH_LOSS


def _given(arguments: Mapping[str, Any]) -> set[str]:
    """The names of ``convert``'s arguments that differ from their defaults."""
    parameters = inspect.signature(convert).parameters
    return {name for name, value in arguments.items() if value != parameters[name].default}


def _provenance(source: str, path: str, drive: SampleSource, ego_motion: str | None) -> dict[str, Any]:
    """What a bag tells of where it comes from."""
    provenance: dict[str, Any] = {"source": source, "path": path, "lidarloop": __version__}
    if source not in NUSCENES:  # a bag of those holds more frames than there are samples
        provenance["num_frames"] = len(drive)
    if ego_motion is not None:
        provenance["ego_motion"] = ego_motion
    return provenance


def _write_bag(
    drive: SampleSource,
    dst: Path,
    coco: CocoMasks | None,
    *,
    cameras: bool,
    num_workers: int,
    provenance: Mapping[str, Any],
) -> None:
    from lidarloop_training.data.bag.writer import write_bag

    with _progress(len(drive), coco) as on_sample:
        write_bag(drive, dst, cameras=cameras, num_workers=num_workers, provenance=provenance, on_sample=on_sample)


def _write_tables(
    drive: SampleSource,
    dst: Path,
    coco: CocoMasks | None,
    *,
    keyframe_every: int,
    sweeps_per_keyframe: int | None,
    cameras: bool,
    num_workers: int,
    overwrite: bool,
) -> None:
    from lidarloop_training.data.nuscenes.writer import plan, write_nuscenes

    num_frames = len(plan(len(drive), keyframe_every, sweeps_per_keyframe, cameras))
    with _progress(num_frames, coco) as on_sample:
        write_nuscenes(
            drive,
            dst,
            keyframe_every=keyframe_every,
            sweeps_per_keyframe=sweeps_per_keyframe,
            cameras=cameras,
            num_workers=num_workers,
            overwrite=overwrite,
            on_sample=on_sample,
        )


def _write_masks(coco: CocoMasks, dst: Path, is_bag: bool) -> None:
    path = dst.with_suffix(".masks.json") if is_bag else dst / "masks.json"
    coco.write(path)
    print(path)


@contextmanager
def _salvaged(path: str, dst: Path) -> Iterator[tuple[Path, Salvage]]:
    from lidarloop_training.data.bag.salvaged import salvaged_bag

    if not Path(path).is_file():
        raise DatasetError(f"{path} is no file; expected an MCAP file to salvage")
    with salvaged_bag(Path(path), dst.parent) as salvaged:
        yield salvaged


def _loss(path: Path, salvaged: tuple[Path, Salvage], drive: SampleSource) -> str:
    from lidarloop_training.data.bag.reader import BagSource
    from lidarloop_training.data.bag.salvaged import loss_report

    assert isinstance(drive, BagSource)
    return loss_report(path, *salvaged, drive.points_topics[0])


def _with_ego_motion(drive: SampleSource) -> SampleSource:
    from lidarloop_training.data.views.ego_motion import WithEgoMotion

    with _progress(len(drive), None, "estimating ego-motion") as on_sample:
        return WithEgoMotion(drive, on_sample)


def _check_one_drive(source: str, drive: SampleSource, path: str) -> None:
    """Frames of a second drive would be of another time and place."""
    scenes: tuple[str, ...] = getattr(drive, "scenes", ())
    if len(scenes) > 1:
        one = f"--scene {scenes[0]}" if source in NUSCENES else f"the folder or file of {scenes[0]}"
        raise ConfigError(
            f"received {path}, which holds {len(scenes)} drives; expected one of them, such as {one}: convert them one "
            "by one"
        )


def _with_masks(drive: SampleSource, is_bag: bool) -> tuple[SampleSource, CocoMasks]:
    """A toy-town drive that brings its masks along, and what collects them."""
    from lidarloop_training.data.bag.layout import image_topic
    from lidarloop_training.data.nuscenes import scene as nuscenes_scene
    from lidarloop_training.data.writing import masks as masks_writer
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
        from lidarloop_training.data.nuscenes.writer import check_destination

        check_destination(dst, overwrite)
    elif dst.exists():
        if not overwrite:
            raise DatasetError(f"{dst} exists: choose another destination, or pass --overwrite to replace it")
        if not _is_our_bag(dst):
            raise DatasetError(f"{dst} exists and was not written by lidarloop: choose another destination")


def _is_our_bag(path: Path) -> bool:
    from lidarloop_core.errors import BagError
    from lidarloop_core.io.bag import BagReader
    from lidarloop_training.data.bag.layout import PROVENANCE

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
def _progress(total: int, coco: CocoMasks | None, doing: str = "converting") -> Iterator[Callable[[Sample], None]]:
    """A progress bar; gives what to call with each sample, which also collects its masks."""
    from lidarloop_core.progress import progress_bars

    with progress_bars() as bars:
        task = bars.add_task(doing, total=total)

        def on_sample(sample: Sample) -> None:
            if coco is not None:
                coco.add(sample)
            bars.advance(task)

        yield on_sample


def _next_command(dst: Path, is_bag: bool) -> str:
    if is_bag:
        return f"lidarloop replay {dst} --model models/pillar-toytown.onnx --out {dst.with_suffix('')}"
    return f"lidarloop convert nuscenes {dst} {dst}.mcap"
