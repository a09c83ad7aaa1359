"""Two results side by side."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_training.evaluation.comparison import compare
from lidarloop_training.evaluation.metrics.class_agnostic import class_agnostic_config
from lidarloop_training.evaluation.metrics.matching import DetectionConfig
from lidarloop_training.evaluation.samples import read_samples
from lidarloop_training.evaluation.scoring import Detections, Resampling, Score, score_detections, without_classes
from tests.training.evaluation.synthetic_drive import MemorySource, detect, make_drive


def scores(source: MemorySource, *results: Mapping[str, Boxes3D], resamples: int = 100) -> list[Score]:
    samples = read_samples(source)
    resampling = Resampling.of(samples, resamples) if resamples else None
    return [score_detections(Detections(source, samples, r, "world"), DetectionConfig(), resampling) for r in results]


def test_better_detections_are_called_better() -> None:
    source = make_drive(60)
    poor, good = scores(source, detect(source, "world", noise_m=0.8), detect(source, "world", noise_m=0.2, seed=1))
    rows = {row.name: row for row in compare(poor, good).rows}
    assert list(rows)[:6] == ["mAP", "NDS", "ATE", "ASE", "AOE", "AVE"]
    assert set(list(rows)[6:]) == {"car", "truck", "pedestrian"}
    assert (rows["mAP"].first, rows["mAP"].second) == (poor.metrics.mean_ap, good.metrics.mean_ap)
    assert rows["mAP"].verdict == rows["ATE"].verdict == rows["car"].verdict == "better"
    assert rows["ATE"].difference.value < 0
    back = {row.name: row for row in compare(good, poor).rows}
    assert back["mAP"].verdict == back["ATE"].verdict == "worse"


def test_a_result_against_itself_in_another_order() -> None:
    source = make_drive(30)
    results = detect(source, "world")
    one, same = scores(source, results, dict(reversed(results.items())))
    comparison = compare(one, same)
    assert all(row.verdict == "" and abs(row.difference.value) < 1e-12 for row in comparison.rows)
    assert all(row.only_first == row.only_second == 0 for row in comparison.found)


def test_found_objects_add_up() -> None:
    source = make_drive(20)
    one, other = scores(source, detect(source, "world"), detect(source, "world", seed=5))
    for row, c in zip(compare(one, other).found, one.metrics.present, strict=True):
        assert row.name == c.name
        assert row.both + row.only_first + row.only_second + row.neither == c.num_objects


def test_without_draws_there_is_no_verdict() -> None:
    source = make_drive(5)
    one, other = scores(source, detect(source, "world"), detect(source, "world", seed=1), resamples=0)
    assert all(row.difference is None and row.verdict == "" for row in compare(one, other).rows)


def test_without_classes_no_class_is_wrong() -> None:
    source = make_drive(10)
    results = detect(source, "world", noise_m=0.0)
    for boxes in results.values():
        boxes.labels[:] = 8  # traffic cones, all of them
    detections = Detections(source, read_samples(source), results, "world")
    assert score_detections(
        without_classes(detections), class_agnostic_config(DetectionConfig())
    ).metrics.mean_ap == pytest.approx(1)
    assert score_detections(detections, DetectionConfig()).metrics.mean_ap == 0
