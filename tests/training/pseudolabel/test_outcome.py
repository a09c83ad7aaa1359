"""What a run says about itself."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_training.data.writing.pseudo_labels import LabelledFrame, write_drive
from lidarloop_training.pseudolabel.job import LabelJob
from lidarloop_training.pseudolabel.outcome import require_labels

META = {"provenance": {"class_names": ["car", "pedestrian"]}, "run": "r"}


def frame(yaw_sources: tuple[str, ...], names: tuple[str, ...]) -> LabelledFrame:
    """A frame with a label for each yaw source, and two pictures left out."""
    n = len(names)
    values = np.ones((n, 9), np.float32)
    classes = ("car", "pedestrian")
    boxes = Boxes3D(values, np.full(n, 0.5), np.array([classes.index(name) for name in names], np.int64), classes)
    labels = PseudoLabels(boxes, np.full(n, 0.5), np.ones(n), ((),) * n, yaw_sources)
    left_out = LeftOut(cameras=Counter({"intrinsics of another picture size": 2}))
    return LabelledFrame(0, "a", "drive", 1, None, labels, left_out)


def test_a_run_without_labels_is_an_error_with_its_reason(job: LabelJob, tmp_path: Path) -> None:
    labels = write_drive(tmp_path / "d", [frame((), ())], META)
    with pytest.raises(DatasetError, match=r"1 frames gave no label \(cameras left out: intrinsics of another pict"):
        require_labels(job, [labels])


def test_pictures_left_out_are_a_warning_and_fitted_headings_are_none(job: LabelJob, tmp_path: Path) -> None:
    labels = write_drive(tmp_path / "d", [frame(("box_fit", "none"), ("car", "pedestrian"))], META)
    assert require_labels(job, [labels]) == [
        "2 labels in 1 frames",
        "warning: pictures were left out: intrinsics of another picture size (2)",
    ]


def test_vehicles_without_any_heading_are_a_warning_with_the_remedy(job: LabelJob, tmp_path: Path) -> None:
    labels = write_drive(tmp_path / "d", [frame(("none", "none", "lane"), ("car",) * 3)], META)
    plain = dataclasses.replace(job, refinement=None)
    assert any("2 of 3 vehicles" in line and "--recipe full" in line for line in require_labels(plain, [labels]))
