"""Weighed matches against data sets that really hold the drawn frames, and the statistics against what is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_training.evaluation.metrics.matching import DetectionConfig, GroundTruth, match_detections
from lidarloop_training.evaluation.metrics.nuscenes import TP_ERRORS, DetectionMetrics, evaluate_detections, score
from lidarloop_training.evaluation.statistics.bootstrap import (
    Replicates,
    bootstrap,
    interval,
    paired_difference,
    resampling_units,
    reweigh,
)

Drive = tuple[dict[str, Boxes3D], dict[str, GroundTruth]]

CONFIG = DetectionConfig()


def drive(seed: int, num_frames: int, noise_m: float = 0.6, found: float = 0.8, objects_seed: int = 0) -> Drive:
    """Detections with untied scores, so that the order of copies cannot matter."""
    world, rng = np.random.default_rng(objects_seed), np.random.default_rng(seed)
    predictions, truths = {}, {}
    for frame in range(num_frames):
        n = int(world.integers(3, 12))
        values = np.column_stack(
            [
                world.uniform(-25, 25, (n, 2)),
                np.zeros(n),
                world.uniform(1, 4, (n, 3)),
                world.uniform(-3, 3, n),
                world.normal(0, 2, (n, 2)),
            ]
        )
        values[world.random(n) < 0.2, 7:] = np.nan
        labels = world.choice([0, 0, 5, 8, 9, 7], n)
        unknown = np.full(n, np.nan, np.float32)
        truths[f"t{frame}"] = GroundTruth(Boxes3D(values, np.ones(n), labels, NUSCENES_CLASSES), np.full(n, 5), unknown)
        kept = rng.random(n) < found
        noisy = values[kept] + rng.normal(0, 1, (kept.sum(), 9)) * [noise_m, noise_m, 0, 0, 0, 0, 0.3, 1, 1]
        ghosts = np.column_stack([rng.uniform(-25, 25, (4, 3)), np.ones((4, 3)), np.zeros((4, 3))])
        predictions[f"t{frame}"] = Boxes3D(
            np.concatenate([noisy, ghosts]),
            np.concatenate([rng.uniform(0.3, 1, kept.sum()), rng.uniform(0, 0.6, 4)]),
            np.concatenate([labels[kept], rng.choice([0, 5], 4)]),
            NUSCENES_CLASSES,
        )
    return predictions, truths


def repeated(predictions: Mapping[str, Boxes3D], truths: Mapping[str, GroundTruth], times: Iterable[int]) -> Drive:
    """The data set that holds each frame so many times."""
    copies = [(t, f"{t}-{k}") for t, n in zip(predictions, times, strict=True) for k in range(n)]
    return {new: predictions[t] for t, new in copies}, {new: truths[t] for t, new in copies}


def assert_equal_scores(replicates: Replicates, b: int, metrics: DetectionMetrics) -> None:
    assert replicates.mean_ap[b] == pytest.approx(metrics.mean_ap, abs=1e-12, nan_ok=True)
    assert replicates.nds[b] == pytest.approx(metrics.nds, abs=1e-12, nan_ok=True)
    for key in TP_ERRORS:
        assert replicates.errors[key][b] == pytest.approx(metrics.errors[key], abs=1e-12, nan_ok=True)
    for c in metrics.classes:
        expected = c.mean_ap if c.num_objects else math.nan
        assert replicates.class_ap[c.name][b] == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("known", [[], [3]])
def test_draws_without_velocities_leave_their_error_out(known: list[int]) -> None:
    """Of all frames none, or one, tells velocities: draws without it have no such error, as the score itself."""
    predictions, truths = drive(2, 12)
    for i, truth in enumerate(truths.values()):
        if i not in known:
            truth.boxes.values[:, 7:] = np.nan
    times = np.ones((2, 12), int)
    times[1, 3] = 0
    replicates = reweigh(match_detections(predictions, truths, CONFIG), times)
    for b in range(2):
        assert_equal_scores(replicates, b, evaluate_detections(*repeated(predictions, truths, times[b])))
    assert math.isnan(replicates.errors["AVE"][1])


def test_once_each_is_the_score_itself() -> None:
    matching = match_detections(*drive(1, 30), CONFIG)
    assert_equal_scores(reweigh(matching, np.ones((1, 30), int)), 0, score(matching))


def test_a_draw_has_the_score_of_a_data_set_with_the_drawn_frames() -> None:
    rng = np.random.default_rng(0)
    predictions, truths = drive(2, 6)
    times = rng.multinomial(6, np.full(6, 1 / 6), size=25)
    times[0] = 0, 0, 0, 0, 0, 6
    replicates = reweigh(match_detections(predictions, truths, CONFIG), times)
    for b, row in enumerate(times):
        assert_equal_scores(replicates, b, evaluate_detections(*repeated(predictions, truths, row)))


def test_nothing_found_and_nothing_there() -> None:
    predictions, truths = drive(1, 4)
    nothing = {token: Boxes3D.empty(NUSCENES_CLASSES) for token in predictions}
    replicates = reweigh(match_detections(nothing, truths, CONFIG), np.ones((2, 4), int))
    assert replicates.mean_ap.tolist() == [0, 0]
    empty = {t: GroundTruth(nothing[t], np.zeros(0, int), np.zeros(0, np.float32)) for t in truths}
    assert np.isnan(reweigh(match_detections(predictions, empty, CONFIG), np.ones((2, 4), int)).nds).all()
    assert all(map(math.isnan, interval(np.full(3, np.nan))))


def test_equal_seeds_draw_the_same_frames_for_any_result() -> None:
    units = resampling_units([(f"t{i}", "a") for i in range(30)])
    one, other = (match_detections(*drive(seed, 30), CONFIG) for seed in (1, 2))
    again = bootstrap(one, units, num_resamples=50, seed=3).mean_ap
    np.testing.assert_array_equal(bootstrap(one, units, num_resamples=50, seed=3).mean_ap, again)
    # Against itself in another order of frames nothing differs in any draw.
    predictions, truths = drive(1, 30)
    backwards = match_detections(dict(reversed(predictions.items())), truths, CONFIG)
    same = bootstrap(backwards, units, num_resamples=50, seed=3).mean_ap
    np.testing.assert_allclose(same, again, atol=1e-12)
    assert paired_difference(0.4, 0.4, again, again).p_value == 1.0
    assert not np.array_equal(bootstrap(other, units, num_resamples=50, seed=3).mean_ap, again)


def test_units() -> None:
    scenes = [(f"{s}-{i}", f"scene{s}") for s in range(12) for i in range(3)]
    units = resampling_units(scenes)
    assert (units.num_units, units.name) == (12, "12 scenes")
    assert len({units.of_token[token] for token, scene in scenes if scene == "scene4"}) == 1

    drives = [(f"{s}-{i}", f"scene{s}") for s in range(2) for i in range(55)]
    units = resampling_units(drives)
    assert (units.num_units, units.name) == (12, "12 blocks of 10 consecutive frames")
    assert units.of_token["0-9"] != units.of_token["0-10"] == units.of_token["0-19"]
    assert units.of_token["0-54"] != units.of_token["1-0"]

    units = resampling_units(drives[:20])
    assert units.num_units == 20
    assert "too narrow" in units.name


def test_a_clear_difference_is_significant_and_its_sign_is_right() -> None:
    units = resampling_units([(f"t{i}", "a") for i in range(150)])
    poor = match_detections(*drive(1, 150, noise_m=1.2, found=0.6), CONFIG)
    good = match_detections(*drive(2, 150, noise_m=0.3, found=0.9), CONFIG)
    draws = [bootstrap(m, units, num_resamples=300).mean_ap for m in (poor, good)]
    values = [score(m).mean_ap for m in (poor, good)]
    better = paired_difference(*values, *draws)
    assert better.low < better.value < better.high
    assert better.low > 0
    assert better.is_significant
    assert better.p_value == pytest.approx(2 / 301)
    worse = paired_difference(*values[::-1], *draws[::-1])
    assert (worse.value, worse.low, worse.high) == pytest.approx((-better.value, -better.high, -better.low))


def test_equally_good_detectors_seldom_differ_significantly() -> None:
    """The p-values of two equal detectors on new data each time are about uniform."""
    p_values = []
    units = resampling_units([(f"t{i}", "a") for i in range(100)])
    for trial in range(60):
        draws, values = [], []
        for seed in (2 * trial, 2 * trial + 1):
            matching = match_detections(*drive(seed, 100, objects_seed=trial), CONFIG)
            draws.append(bootstrap(matching, units, num_resamples=200).mean_ap)
            values.append(score(matching).mean_ap)
        p_values.append(paired_difference(*values, *draws).p_value)
    assert np.mean(np.array(p_values) < 0.05) < 0.2  # ten units are few; five expected with many
    assert 0.3 < np.mean(p_values) < 0.7
