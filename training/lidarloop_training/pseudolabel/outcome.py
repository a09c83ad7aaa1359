"""What came out of a run, in words: a run without a label is a failure, and what was left out is said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lidarloop_core.errors import DatasetError
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_training.data.writing.pseudo_labels import read_drive
from lidarloop_training.pseudolabel.job import LabelJob

_NUM_REASONS = 3


def require_labels(job: LabelJob, labels: Sequence[Path]) -> list[str]:
    """Lines for the reader: number of labels, and what deserves a warning.

    Args:
        job: job that made the labels.
        labels: ``labels.json`` of each drive.

    Raises:
        DatasetError: there is no label at all; says what was left out.
    """
    drives = [read_drive(file) for file in labels]
    left_out = sum((drive.left_out for drive in drives), LeftOut())
    num_frames = sum(len(drive.labels) for drive in drives)
    num_labels = sum(len(found) for drive in drives for found in drive.labels.values())
    if not num_labels:
        raise DatasetError(
            f"{num_frames} frames gave no label ({_reasons(left_out)}); expected labels: check the cameras' "
            "calibration and mounting, the pictures and the 2D model"
        )
    lines = [f"{num_labels} labels in {num_frames} frames"]
    if left_out.cameras.total():
        lines.append(f"warning: pictures were left out: {_most_common(left_out, 'cameras')}")
    return lines + _unknown_headings(job, [found for drive in drives for found in drive.labels.values()])


def _unknown_headings(job: LabelJob, labels: Sequence[PseudoLabels]) -> list[str]:
    """A warning where most vehicles got the heading 0 for want of a lane to follow and of a fit."""
    sources = [
        source
        for found in labels
        for source, name in zip(found.yaw_sources, found.boxes.names, strict=True)
        if name in job.lifting.lane_classes
    ]
    num_unknown = sources.count("none")
    if num_unknown <= len(sources) / 2:
        return []
    return [
        f"warning: {num_unknown} of {len(sources)} vehicles lie near no lane of a map, and the recipe fits no heading: "
        "theirs is 0 in the world, which is wrong; take --recipe full, or --lifting.yaw lane box_fit"
    ]


def _reasons(left_out: LeftOut) -> str:
    reasons = [
        f"{kind} left out: {_most_common(left_out, kind)}"
        for kind in ("cameras", "masks")
        if vars(left_out)[kind].total()
    ]
    return "; ".join(reasons) or "nothing was found in any picture"


def _most_common(left_out: LeftOut, kind: str) -> str:
    counts = [(why, n) for why, n in vars(left_out)[kind].most_common(_NUM_REASONS) if n]
    return ", ".join(f"{why} ({n})" for why, n in counts)
