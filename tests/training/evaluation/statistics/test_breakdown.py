"""Slices and frames against counts by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_training.evaluation.metrics.matching import DetectionConfig, GroundTruth, Matching, match_detections
from lidarloop_training.evaluation.metrics.nuscenes import score
from lidarloop_training.evaluation.statistics.breakdown import best_and_worst, break_down, operating_score


def cars(xs: Sequence[float], scores: npt.ArrayLike | None = None) -> Boxes3D:
    values = np.zeros((len(xs), 9), np.float32)
    values[:, 0], values[:, 3:6] = xs, (4, 2, 1.5)
    return Boxes3D(values, np.ones(len(xs)) if scores is None else scores, np.zeros(len(xs)), NUSCENES_CLASSES)


def match(
    detections: Mapping[str, Boxes3D],
    objects: Mapping[str, Boxes3D],
    points: Sequence[int] | None = None,
    visibility: Sequence[float] | None = None,
) -> Matching:
    ground_truth = {
        token: GroundTruth(
            boxes,
            np.full(len(boxes), -1) if points is None else np.array(points),
            np.full(len(boxes), np.nan, np.float32) if visibility is None else np.array(visibility, np.float32),
        )
        for token, boxes in objects.items()
    }
    return match_detections(detections, ground_truth, DetectionConfig())


def test_operating_score_is_where_f1_is_best() -> None:
    # Hit, hit, invention, hit: F1 = 2/4, 4/5, 4/6, 6/7 of 3 objects.
    detections = cars([5, 15, 44, 25], [0.9, 0.8, 0.7, 0.6])
    assert operating_score(match({"a": detections}, {"a": cars([5, 15, 25])})) == pytest.approx(0.6)
    # Without the last: 2/4, 4/5, 4/6.
    assert operating_score(match({"a": detections[:3]}, {"a": cars([5, 15, 25])})) == pytest.approx(0.8)


def test_equal_scores_are_taken_all_or_none() -> None:
    detections = cars([5, 44, 46, 48], [0.5, 0.5, 0.5, 0.5])
    breakdown = break_down(match({"a": detections}, {"a": cars([5])}))
    assert len(breakdown.samples[0].inventions) == 3


def test_nothing_found() -> None:
    assert operating_score(match({"a": cars([44], [0.5])}, {"a": cars([5])})) == 0
    assert operating_score(match({"a": cars([])}, {"a": cars([])})) == 0


def test_slices_by_range() -> None:
    matching = match({"a": cars([5.5, 8, 25], [0.9, 0.8, 0.7])}, {"a": cars([5, 15, 25])})
    near, middle, far, beyond = break_down(matching).by_range
    assert [s.num_objects for s in (near, middle, far, beyond)] == [1, 1, 1, 0]
    assert [near.recall, middle.recall, far.recall] == [1, 0, 1]
    assert near.precision == 0.5  # the invention at 8 m
    assert near.error_m == pytest.approx(0.5)
    assert math.isnan(middle.precision)
    assert math.isnan(beyond.mean_ap)
    assert far.mean_ap == pytest.approx(1)


def test_a_single_slice_has_the_whole_score() -> None:
    rng = np.random.default_rng(0)
    objects = {str(i): cars(np.sort(rng.uniform(32, 45, 5))) for i in range(20)}
    detections = {t: cars(b.values[:, 0] + rng.normal(0, 0.8, 5), rng.random(5)) for t, b in objects.items()}
    matching = match(detections, objects)
    only = break_down(matching).by_range[3]
    assert only.mean_ap == pytest.approx(score(matching).mean_ap)


def test_slices_by_points_and_visibility() -> None:
    matching = match(
        {"a": cars([5, 25], [0.9, 0.8])}, {"a": cars([5, 15, 25])}, points=[5, 6, 101], visibility=[1.0, 0.4, np.nan]
    )
    breakdown = break_down(matching)
    assert [(s.name, s.num_objects) for s in breakdown.by_points] == [
        ("1–5", 1),
        ("6–20", 1),
        ("21–100", 0),
        ("> 100", 1),
    ]
    assert [s.num_objects for s in breakdown.by_visibility] == [0, 1, 0, 1]
    assert [s.recall for s in breakdown.by_points][:2] == [1, 0]


def test_tables_of_what_is_unknown_are_empty() -> None:
    breakdown = break_down(match({"a": cars([5])}, {"a": cars([5])}))
    assert breakdown.by_points == breakdown.by_visibility == ()


def test_outcomes_count_every_box_once() -> None:
    outcome = break_down(match({"a": cars([44, 5], [0.8, 0.9])}, {"a": cars([15, 5])})).samples[0]
    assert (outcome.hits.tolist(), outcome.found.tolist(), outcome.missed.tolist()) == ([1], [1], [0])
    assert outcome.f1 == pytest.approx(2 / 3)  # the invention lies below the operating score


def test_best_and_worst_frames_are_apart_in_time() -> None:
    objects = {f"{i:03d}": cars([5, 15, 25]) for i in range(60)}
    # Worst in the middle, best at the ends.
    detections = {t: cars([5, 15, 25][: 1 if 25 < i < 35 else 3]) for i, t in enumerate(objects)}
    best, worst = best_and_worst(break_down(match(detections, objects)).samples, 3)
    numbers = [sorted(int(outcome.token) for outcome in chosen) for chosen in (best, worst)]
    assert all(25 < n < 35 for n in numbers[1])
    assert all(min(np.diff(chosen)) >= 3 for chosen in numbers)
    assert not set(numbers[0]) & set(numbers[1])
