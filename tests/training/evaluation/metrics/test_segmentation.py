"""mIoU against counting point by point, and closed forms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.errors import DatasetError
from lidarloop_training.evaluation.metrics.segmentation import confusion_matrix, evaluate_segmentation

Ints = npt.NDArray[Any]

NAMES = ("void", "road", "car", "person")


def counted(truths: Sequence[Ints], predictions: Sequence[Ints], ignore: int | None) -> dict[int, float]:
    """Class → IoU by the definition, one point after another."""
    points = [(int(t), int(p)) for ts, ps in zip(truths, predictions, strict=True) for t, p in zip(ts, ps, strict=True)]
    points = [(t, p) for t, p in points if t != ignore]
    ious = {}
    for c in range(len(NAMES)):
        hit = sum(t == c and p == c for t, p in points)
        either = sum(t == c or p == c for t, p in points)
        if either and c != ignore:
            ious[c] = hit / either
    return ious


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), ignore=st.sampled_from([None, 0, 2]), highest=st.integers(1, 4))
def test_agrees_with_counting(seed: int, ignore: int | None, highest: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 40, 3)
    truths = [rng.integers(0, highest, n).astype(rng.choice([np.uint8, np.int64])) for n in sizes]
    predictions = [np.where(rng.random(len(t)) < 0.6, t, rng.integers(0, 4, len(t))) for t in truths]
    metrics = evaluate_segmentation(truths, predictions, NAMES, ignore)
    expected = counted(truths, predictions, ignore)
    assert {c: v for c, v in enumerate(metrics.iou) if not math.isnan(v)} == pytest.approx(expected)
    mean = sum(expected.values()) / len(expected) if expected else math.nan
    assert metrics.mean_iou == pytest.approx(mean, nan_ok=True)


def test_perfect_labels() -> None:
    labels = np.array([0, 1, 2, 3, 1])
    metrics = evaluate_segmentation([labels], [labels], NAMES)
    assert (metrics.mean_iou, metrics.accuracy) == (1.0, 1.0)


def test_by_hand() -> None:
    metrics = evaluate_segmentation([np.array([1, 1, 1, 2, 0])], [np.array([1, 1, 2, 2, 3])], NAMES, ignore_label=0)
    assert metrics.confusion.tolist() == [[0, 0, 0, 0], [0, 2, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert metrics.iou[1:3].tolist() == pytest.approx([2 / 3, 1 / 2])
    assert math.isnan(metrics.iou[0])
    assert math.isnan(metrics.iou[3])  # predicted on an ignored point alone
    assert metrics.mean_iou == pytest.approx(7 / 12)
    assert metrics.accuracy == pytest.approx(3 / 4)


def test_the_ignored_label_predicted_elsewhere_is_wrong() -> None:
    metrics = evaluate_segmentation([np.array([1, 1])], [np.array([1, 0])], NAMES, ignore_label=0)
    assert metrics.iou[1] == 0.5


def test_nothing_at_all() -> None:
    metrics = evaluate_segmentation([], [], NAMES)
    assert math.isnan(metrics.mean_iou)
    assert math.isnan(metrics.accuracy)


def test_refusals() -> None:
    with pytest.raises(DatasetError, match="2 predicted labels for 3 points"):
        confusion_matrix(np.zeros(3, int), np.zeros(2, int), 4)
    with pytest.raises(DatasetError, match="predicted labels 0…4; expected 0…3"):
        confusion_matrix(np.zeros(2, int), np.array([0, 4]), 4)
    with pytest.raises(DatasetError, match=r"true labels -1…0"):
        confusion_matrix(np.array([-1, 0]), np.zeros(2, int), 4)


def test_a_class_that_is_predicted_alone_is_not_among_those_present() -> None:
    metrics = evaluate_segmentation([np.array([1, 1, 2])], [np.array([1, 3, 2])], NAMES)
    assert metrics.iou[[1, 2, 3]].tolist() == [0.5, 1.0, 0.0]
    assert metrics.mean_iou == pytest.approx(0.5)
    assert metrics.mean_iou_present == pytest.approx(0.75)
    assert np.isnan(evaluate_segmentation([], [], NAMES).mean_iou_present)
