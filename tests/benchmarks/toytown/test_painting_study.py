"""Painted drives of the lookalikes, as the study trains on them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.toytown.painting_study import TRAIN, open_painted, spec
from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.labelling.painting.paint import SEEN, paint_columns
from lidarloop_core.pointcloud.sweeps import network_points
from lidarloop_training.data.toytown.training_drives import prepare
from lidarloop_training.toytown.faults.rates import FaultRates

NO_FAULTS = FaultRates(missed=0, merged=0, mislabelled=0, loose=0)


def test_true_masks_paint_objects_and_leave_clutter_bare(tmp_path: Path) -> None:
    drives = dataclasses.replace(
        TRAIN,
        root=tmp_path,
        num_train_drives=1,
        duration_s=1.0,
        keyframe_every=5,
        num_processes=1,
        paint_faults=NO_FAULTS,
    )
    prepare(drives, 1, lambda done, of: None)
    sample = open_painted(drives)[1]
    points = network_points(sample.sweeps, spec("painted points").point_columns, {})
    paint = points[:, -1 - len(NUSCENES_CLASSES) :]
    label = sample.keyframe.points[:, sample.keyframe.columns.index("label")].astype(int)
    names = np.array(sample.point_classes)[label]
    is_object = np.isin(names, NUSCENES_CLASSES)
    own_class = np.array([NUSCENES_CLASSES.index(name) if name in NUSCENES_CLASSES else 0 for name in names])
    own = paint[np.arange(len(paint)), 1 + own_class]

    assert spec("painted points").point_columns[-11:] == (SEEN, *paint_columns(NUSCENES_CLASSES)[1:])
    assert (own[is_object & (paint[:, 0] > 0)] > 0.5).mean() > 0.7
    assert (paint[~is_object, 1:] > 0.5).any(axis=1).mean() < 0.05


def test_points_alone_are_the_same_without_paint() -> None:
    assert spec("painted points").point_columns[: len(spec("points").point_columns)] == spec("points").point_columns
