"""Source + mask model + lifting + refinement → labels on disk: all steps of the paper's labelling, and of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lidarloop_core import __version__
from lidarloop_core.errors import DatasetError
from lidarloop_core.io import outside
from lidarloop_training.data.drive_lookup import drive_arguments
from lidarloop_training.data.writing.pseudo_labels import EVIDENCE, LABELS, drive_folder, write_drive
from lidarloop_training.pseudolabel.frames import read_segment, segment_document
from lidarloop_training.pseudolabel.job import LabelJob
from lidarloop_training.pseudolabel.labeller import WholeDrive, Work
from lidarloop_training.pseudolabel.manifest import Manifest, Segment, segments_of

Executor = Callable[[LabelJob, Sequence[Work]], Iterator[tuple[Work, bytes]]]
"""Works off pieces in any order, anywhere; yields each with its document when it is finished."""


def label_drives(
    job: LabelJob, out: Path, executor: Executor, on_frames: Callable[[int, int], None] = lambda done, total: None
) -> list[Path]:
    """Labels all drives of a source; what an earlier run has finished is not done again.

    Args:
        job: what is labelled, and how.
        out: folder of the run; each drive gets a folder in it.
        executor: what runs the pieces of work, and where.
        on_frames: called after each segment with the number of labelled samples, and the number of all.

    Returns:
        The ``labels.json`` of each drive, in the order of the source.

    Raises:
        ConfigError: ``out`` holds a run of another configuration.
        DatasetError: the source is empty, or ``out`` holds something else.
    """
    manifest = open_manifest(job, out)
    total = sum(len(segment.frames) for segment in manifest.segments)
    pending = manifest.pending()
    done = total - sum(len(segment.frames) for segment in pending)
    on_frames(done, total)
    for segment, document in executor(job, pending):
        assert isinstance(segment, Segment)
        manifest.record(segment, document)
        done += len(segment.frames)
        on_frames(done, total)
    return _finish_drives(job, manifest, executor)


def open_manifest(job: LabelJob, out: Path) -> Manifest:
    """The record of a run, found or begun.

    Raises:
        ConfigError: ``out`` holds a run of another configuration.
        DatasetError: the source is empty, or ``out`` holds something else.
    """
    num_frames = len(job.drive.open(cameras=False, lane_map=False))
    if num_frames == 0:
        raise DatasetError(f"{' '.join(drive_arguments(job.drive))} holds no samples; expected a drive to label")
    return Manifest(out, job.config(), segments_of(num_frames, job.every, job.segment_frames))


def _finish_drives(job: LabelJob, manifest: Manifest, executor: Executor) -> list[Path]:
    """Refinement looks at all of a drive, so it comes after the last segment."""
    drives: dict[str, list[dict[str, Any]]] = {}
    models: set[str] = set()
    class_names: list[str] = []
    for document in manifest.documents():
        models.add(document["model"])
        class_names = document["class_names"]
        for frame in document["frames"]:
            drives.setdefault(frame["scene"], []).append(frame)
    if len(models) > 1:
        raise DatasetError(
            f"{manifest.out} was labelled by {len(models)} models ({', '.join(sorted(models))}); expected one: its "
            "files changed during the run. Pass --overwrite to begin anew"
        )
    model = {"lidarloop": __version__, "model": models.pop(), "class_names": class_names}
    meta = {"provenance": {**model, **_about(job)}, "run": manifest.sha256}
    folders = {scene: drive_folder(manifest.out, scene) for scene in drives}
    pending = [
        WholeDrive(scene, segment_document(class_names, frames))
        for scene, frames in drives.items()
        if not _is_finished(folders[scene], manifest.sha256)
    ]
    for drive, refined in executor(job, pending):
        write_drive(folders[drive.name], read_segment(refined), meta)
    return [folder / LABELS for folder in folders.values()]


def _about(job: LabelJob) -> dict[str, Any]:
    """What the labels' provenance says of how they were made; the complete configuration is in the manifest."""
    config = job.config()
    named = ("drive", "sensors", "every", "mask_model_type", "mask_model", "lifting", "refinement", "priors")
    about = {name: config[name] for name in named if config.get(name) is not None}
    about.get("refinement", {}).pop("motion", None)  # a table, and seldom anything but the default
    return about


def _is_finished(folder: Path, run: str) -> bool:
    """Whether this very run has written the drive's last file."""
    try:
        written = outside.read_json(folder / EVIDENCE)
    except (OSError, ValueError):
        return False
    meta = written.get("meta") if isinstance(written, dict) else None
    return isinstance(meta, dict) and meta.get("run") == run
