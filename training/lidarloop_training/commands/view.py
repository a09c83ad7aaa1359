"""``lidarloop view``: looks at any source, with or without a screen."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_training.data.sources import SourceName, open_source
from lidarloop_training.viewer.point_color import PointColor

if TYPE_CHECKING:
    from lidarloop_training.viewer.frames import ShownFrame
    from lidarloop_training.viewer.rerun_log import RerunLog


def view(
    source: tyro.conf.Positional[SourceName],
    path: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PATH_OR_SEED")],
    *,
    results: Path | None = None,
    png: Path | None = None,
    save: Path | None = None,
    frames: int | None = None,
    every: int = 1,
    min_score: float = 0.3,
    color: PointColor = "intensity",
    range_m: float = 51.2,
) -> None:
    """Shows samples with their boxes in the Rerun viewer, or writes them to files.

    Without --png and --save the viewer opens, which needs a screen and `pip install lidarloop[view]`.

    Args:
        source: what to read.
        path: the drive's file or folder; for toytown the seed.
        results: detections or pseudo-labels to show too: a results JSON.
        png: folder for a picture of each frame, from above and from every camera; needs no screen.
        save: .rrd file to write the recording to instead of opening the viewer.
        frames: show at most so many frames; all if not given.
        every: show every so many-th frame.
        min_score: boxes of the results below this score are left out.
        color: what Rerun's points are coloured by; label is for data with point-wise classes.
        range_m: half the side of the square seen from above, in metres; for --png.
    """
    if every < 1 or (frames is not None and frames < 1):
        raise ConfigError(f"received --every {every} --frames {frames}; expected 1 or more of each")
    if not range_m > 0:
        raise ConfigError(f"received --range-m {range_m:g}; expected metres above 0, e.g. 51.2")
    if png is not None and png.exists() and not png.is_dir():
        raise ConfigError(f"received --png {png}, which is a file; expected a folder, new or there already")
    # Heavy imports only now, so that `--help` and wrong usage answer at once.
    from lidarloop_core.io import atomic
    from lidarloop_core.progress import progress
    from lidarloop_training.viewer.frames import Results, shown_frames

    boxes = Results.read(results, min_score) if results else None
    drive = open_source(source, path)
    if not len(drive):
        raise DatasetError(f"{path} holds no frames to show; expected at least one")
    indices = list(range(0, len(drive), every))[:frames]
    with ExitStack() as stack:
        log = None
        if save is not None or png is None:
            log = stack.enter_context(_recording(drive[indices[0]].scene, save, color))
        for frame in shown_frames(drive, progress(indices, "showing"), boxes):
            if log is not None:
                log.add(frame)
            if png is not None:
                atomic.write_bytes(png / f"{frame.index:06d}.png", _png(frame, range_m))
    for written in filter(None, (save, png)):
        print(written)


@contextmanager
def _recording(scene: str, save: Path | None, color: PointColor) -> Iterator[RerunLog]:
    """A recording that is closed at the end; its file is whole or absent."""
    from lidarloop_core.io import atomic
    from lidarloop_training.viewer.rerun_log import RerunLog

    with nullcontext() if save is None else atomic.replacing(save) as file:
        log = RerunLog(scene, save=file, color=color)
        yield log
        log.close()


def _png(frame: ShownFrame, range_m: float) -> bytes:
    from lidarloop_training.viewer.sheet import draw_sheet

    file = io.BytesIO()
    draw_sheet(frame, range_m=range_m).save(file, "PNG")
    return file.getvalue()
