"""``lidarloop view``: looks at any drive, with or without a screen."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic

import tyro

from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.io.outputs import check_output
from lidarloop_training.commands.over_drives import D, one_of
from lidarloop_training.data.drive_lookup import drive_arguments
from lidarloop_training.data.drive_spec import KINDS
from lidarloop_training.viewer.point_color import PointColor

if TYPE_CHECKING:
    from lidarloop_training.viewer.frames import ShownFrame
    from lidarloop_training.viewer.rerun_log import RerunLog


@dataclass(frozen=True)
class ViewRequest(Generic[D]):
    """What to show of a drive.

    Attributes:
        drive: what to read.
        results: detections or pseudo-labels to show too: a results JSON.
        png: folder for one sheet per sample, from above and from every camera; needs no screen.
        save: .rrd file to write the recording to instead of opening the viewer.
        frames: show at most so many samples; all by default.
        every: show every so many-th sample.
        min_score: boxes of the results below this score are left out; by default those below 0.3, and of pseudo-labels
            those beyond the number that is right by their quality.
        color: what Rerun's points are coloured by; label is for data with point-wise classes, unit for the contrastive
            units that pre-training compares, which --png shows too, from above and in every camera.
        range_m: half the side of the square seen from above, metres; for --png.

    Raises:
        ConfigError: a number is out of range, or --png names a file.
    """

    drive: Annotated[D, tyro.conf.arg(name="")]
    results: Path | None = None
    png: Path | None = None
    save: Path | None = None
    frames: int | None = None
    every: int = 1
    min_score: float | None = None
    color: PointColor = "intensity"
    range_m: float = 51.2

    def __post_init__(self) -> None:
        if self.every < 1 or (self.frames is not None and self.frames < 1):
            raise ConfigError(f"received --every {self.every} --frames {self.frames}; expected 1 or more of each")
        if not self.range_m > 0:
            raise ConfigError(f"received --range-m {self.range_m:g}; expected metres above 0, e.g. 51.2")
        if self.png is not None and self.png.exists() and not self.png.is_dir():
            raise ConfigError(f"received --png {self.png}, which is a file; expected a folder, new or there already")


if TYPE_CHECKING:
    Request = ViewRequest[Any]
else:
    Request = one_of({kind: ViewRequest[kind] for kind in KINDS})


def view(request: Annotated[Request, tyro.conf.arg(name="")]) -> None:
    """Shows samples with their boxes in the Rerun viewer, or writes them to files.

    Without --png and --save the viewer opens, which needs a screen and `pip install lidarloop[view]`.

    Args:
        request: the kind of drive.

    Raises:
        DatasetError: the drive has no sample.
    """
    # Heavy imports only now, so that `--help` and wrong usage answer at once.
    from lidarloop_core.io import atomic
    from lidarloop_core.progress import progress
    from lidarloop_training.viewer.frames import Results, shown_frames

    path = getattr(request.drive, "path", None)
    for out in (request.save, request.png):
        check_output(out, request.results, path)
    boxes = Results.read(request.results, request.min_score) if request.results else None
    if boxes is not None:
        print(f"showing {boxes.description}; --min-score changes it")
    drive = request.drive.open()
    if not len(drive):
        raise DatasetError(f"{' '.join(drive_arguments(request.drive))} holds no sample to show; expected at least one")
    indices = list(range(0, len(drive), request.every))[: request.frames]
    with ExitStack() as stack:
        log = None
        if request.save is not None or request.png is None:
            log = stack.enter_context(_recording(drive.keys[indices[0]].drive, request.save, request.color))
        for frame in shown_frames(drive, progress(indices, "showing"), boxes):
            if log is not None:
                log.add(frame)
            if request.png is not None:
                atomic.write_bytes(request.png / f"{frame.index:06d}.png", _png(frame, request))
    for written in filter(None, (request.save, request.png)):
        print(written)


@contextmanager
def _recording(scene: str, save: Path | None, color: PointColor) -> Iterator[RerunLog]:
    """A recording that is closed at the end; its file is complete or absent."""
    from lidarloop_core.io import atomic
    from lidarloop_training.viewer.rerun_log import RerunLog

    with nullcontext() if save is None else atomic.replacing(save) as file:
        log = RerunLog(scene, save=file, color=color)
        yield log
        log.close()


def _png(frame: ShownFrame, request: ViewRequest[Any]) -> bytes:
    from lidarloop_training.viewer.sheet import draw_sheet
    from lidarloop_training.viewer.unit_colors import unit_colors

    file = io.BytesIO()
    colors = unit_colors(frame.sample) if request.color == "unit" else None
    draw_sheet(frame, range_m=request.range_m, colors=colors).save(file, "PNG")
    return file.getvalue()
