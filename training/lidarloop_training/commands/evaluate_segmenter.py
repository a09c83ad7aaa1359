"""``lidarloop evaluate MODEL DRIVE``: a segmenter is run on a drive with labelled points and scored."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.io.outputs import check_output
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_training.data.drive_lookup import drive_at, drive_named
from lidarloop_training.data.drive_spec import DriveName, DriveSpec, NuScenes, NuScenesLidarseg, ToyTown

SUFFIX = ".onnx"
"""What ``RESULTS`` ends with where it is a model file."""


def evaluate_segmenter(model: Path, ground_truth: Path, out: Path, source: DriveName | None) -> None:
    """Writes OUT/metrics.json and prints the IoU of each class.

    Args:
        model: the model file of a segmenter.
        ground_truth: the drive, or the seed of a toy town's.
        out: folder to write to.
        source: what the drive is; found out where None.

    Raises:
        ConfigError: the output is a file.
        ModelFileError: the model is no segmenter, or its file cannot be read.
        DatasetError: the drive cannot be read, or its points are not labelled.
    """
    from lidarloop_core.inference.backend import open_backend
    from lidarloop_core.inference.segmenter import Segmenter
    from lidarloop_core.io import atomic
    from lidarloop_core.machine import machine, versions
    from lidarloop_core.progress import progress
    from lidarloop_training.evaluation.segmenter import score_segmenter, summarise_segmenter

    if out.exists() and not out.is_dir():
        raise ConfigError(f"received --out {out}, which is a file; expected a folder, new or there already")
    check_output(out / "metrics.json", model, ground_truth)
    segmenter = Segmenter(open_backend(model))
    drive = with_point_labels(drive_at(ground_truth) if source is None else drive_named(source, str(ground_truth)))
    samples = drive.open(num_sweeps=segmenter.spec.num_sweeps, cameras=False, lane_map=False)
    if len(samples) == 0:
        raise DatasetError(f"{ground_truth} holds no sample; expected at least one to score")
    document = {
        "command": sys.argv,
        "model": segmenter.spec.name,
        "model_sha256": segmenter.backend.model_sha256,
        "device": segmenter.backend.device,
        "ground_truth": str(ground_truth),
        "num_samples": len(samples),
        "machine": machine(),
        "versions": versions(),
        **summarise_segmenter(score_segmenter(segmenter, _each(samples, progress(range(len(samples)), "scoring")))),
    }
    atomic.write_bytes(out / "metrics.json", (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
    _print(document)
    print(out / "metrics.json")


def with_point_labels(drive: DriveSpec) -> DriveSpec:
    """The drive opened such that its points carry labels, where its kind can."""
    if isinstance(drive, ToyTown):
        return dataclasses.replace(drive, point_labels=True)
    if type(drive) is NuScenes:
        return NuScenesLidarseg(drive.path, drive.scene)
    return drive


def _each(samples: SampleSource, indices: Iterator[int]) -> Iterator[Sample]:
    return (samples[index] for index in indices)


def _print(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("class", "points", "IoU, %", title=f"{document['model']} on {document['ground_truth']}")
    for name, found in document["classes"].items():
        if found["iou"] is not None:
            table.add_row(name, f"{found['num_points']:,}", f"{100 * found['iou']:.1f}")
    mean = "–" if document["mIoU"] is None else f"{100 * document['mIoU']:.1f}"
    table.add_row("mean of those that occur", f"{document['num_points']:,}", mean)
    Console().print(table)
