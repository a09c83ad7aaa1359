"""How sure a score is: bootstrap intervals of the nuScenes metrics, and whether two results really differ.

Drawn with replacement are units of samples; an interval is the percentiles of the scores of many such draws (Efron and
Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). A detection competes for an object only with those of
its own sample, so drawing samples changes no match: each draw weighs the matches that are already there, in the order
of their scores, and gives exactly the score of a data set in which the samples occur as often as they were drawn.

Neighbouring samples show the same objects and must not pass for independent ones, so the units are

- scenes where there are at least ten of them,
- else blocks of ten consecutive samples of a scene where there are at least ten of those,
- else single samples: such an interval is too narrow, and its description warns of it.

Two results on the same samples are compared draw by draw (the paired bootstrap): what is hard for both cancels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from lidarloop_training.evaluation.metrics.matching import UNMATCHED, FloatArray, IntArray, Matching
from lidarloop_training.evaluation.metrics.nuscenes import (
    RECALL_GRID,
    TP_ERRORS,
    first_scored_recall,
    has_velocity,
    match_errors,
    moves,
    undefined_errors,
    yaw_period_rad,
)

MIN_UNITS = 10
BLOCK_SAMPLES = 10


@dataclass(frozen=True)
class Units:
    """What is drawn.

    Attributes:
        of_token: sample token → unit 0 … num_units - 1.
        num_units: number of units.
        name: description for the reader, e.g. "24 scenes".
    """

    of_token: Mapping[str, int]
    num_units: int
    name: str


@dataclass(frozen=True)
class Replicates:
    """The scores of B draws; NaN where a draw holds no object of the class, or none at all.

    Attributes:
        mean_ap, nds: (B,) over the classes present in the draw.
        errors: ``TP_ERRORS`` → (B,).
        class_ap: class → (B,).
    """

    mean_ap: FloatArray
    nds: FloatArray
    errors: Mapping[str, FloatArray]
    class_ap: Mapping[str, FloatArray]


@dataclass(frozen=True)
class Difference:
    """The score of a second result less that of the first.

    Attributes:
        value: observed difference, in the unit of the score.
        low, high: ends of the middle 95 % of the draws.
        p_value: twice the share of draws in which the difference vanishes or has the other sign; at most 1.
    """

    value: float
    low: float
    high: float
    p_value: float

    @property
    def is_significant(self) -> bool:
        """At the 5 % level, for this one comparison: of twenty without a difference one is called so by chance."""
        return self.p_value < 0.05


def resampling_units(samples: Sequence[tuple[str, str]]) -> Units:
    """What to draw.

    Args:
        samples: (token, scene) in the order of time within each scene.
    """
    scenes = {scene: i for i, scene in enumerate(dict.fromkeys(scene for _, scene in samples))}
    if len(scenes) >= MIN_UNITS:
        return Units({token: scenes[scene] for token, scene in samples}, len(scenes), f"{len(scenes)} scenes")
    blocks: dict[tuple[str, int], int] = {}
    seen = dict.fromkeys(scenes, 0)
    of_token = {}
    for token, scene in samples:
        of_token[token] = blocks.setdefault((scene, seen[scene] // BLOCK_SAMPLES), len(blocks))
        seen[scene] += 1
    if len(blocks) >= MIN_UNITS:
        return Units(of_token, len(blocks), f"{len(blocks)} blocks of {BLOCK_SAMPLES} consecutive frames")
    singles = {token: i for i, (token, _) in enumerate(samples)}
    return Units(singles, len(samples), f"{len(samples)} single frames (too few for blocks: intervals are too narrow)")


def bootstrap(matching: Matching, units: Units, *, num_resamples: int = 1000, seed: int = 0) -> Replicates:
    """Scores ``num_resamples`` draws of the units; equal units and seed give the same draws for any matching."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(units.num_units, np.full(units.num_units, 1 / units.num_units), size=num_resamples)
    unit = np.array([units.of_token[token] for token in matching.tokens], dtype=np.int64)
    return reweigh(matching, drawn[:, unit])


def reweigh(matching: Matching, times: IntArray) -> Replicates:
    """The scores when each sample occurs so many times.

    Args:
        matching: F samples in the order of its tokens.
        times: (B, F) integers from 0.
    """
    config = matching.config
    names = config.class_names
    aps = np.full((len(times), len(names)), np.nan)
    errors = np.full((len(times), len(names), len(TP_ERRORS)), np.nan)
    times = np.ascontiguousarray(times, dtype=np.int64)
    not_told = np.zeros(len(times), np.bool_)  # draws with a class whose objects have no velocity
    rules = _Rules(RECALL_GRID, first_scored_recall(config), config.min_precision, config.tp_threshold)
    for label, name in enumerate(names):
        rows = matching.of_class(label)
        samples = matching.objects.sample[matching.objects.labels == label]
        num_objects = times @ np.bincount(samples, minlength=times.shape[1])
        num_moving = times @ np.bincount(samples[has_velocity(matching, label)], minlength=times.shape[1])
        found = _ClassDetections(
            matching.detections.sample[rows],
            matching.detections.scores[rows],
            matching.match[:, rows] != UNMATCHED,
            _errors(matching, rows, name),
        )
        class_aps, class_errors = _score_draws(found, times, num_objects, rules)
        present = num_objects > 0
        aps[present, label] = class_aps[present].mean(axis=1)
        errors[present, label, :4] = class_errors[present]
        errors[present, label, 4] = 1.0  # attributes are not predicted
        errors[present & (num_moving == 0), label, TP_ERRORS.index("AVE")] = np.nan
        not_told |= present & (num_moving == 0) & moves(name)
        errors[:, label, [key in undefined_errors(name) for key in TP_ERRORS]] = np.nan
    mean_ap, mean_errors = _mean_of_known(aps), _mean_of_known(errors.transpose(0, 2, 1))
    earned = np.nan_to_num(np.clip(1.0 - mean_errors, 0.0, None), nan=0.0).sum(axis=1)
    unjudged = not_told & np.isnan(mean_errors[:, TP_ERRORS.index("AVE")])
    nds = (config.mean_ap_weight * mean_ap + earned) / (config.mean_ap_weight + len(TP_ERRORS) - unjudged)
    return Replicates(
        mean_ap, nds, dict(zip(TP_ERRORS, mean_errors.T, strict=True)), dict(zip(names, aps.T, strict=True))
    )


def interval(values: FloatArray) -> tuple[float, float]:
    """Bounds of the middle 95 % of (D,) draws, NaN ones left out; NaN where none has a value."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def paired_difference(first: float, second: float, first_draws: FloatArray, second_draws: FloatArray) -> Difference:
    """Second less first; (D,) scores of each in the same draws."""
    draws = second_draws - first_draws
    draws = draws[~np.isnan(draws)]
    one_sided = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    # The observed result counts as one draw, so that p is never 0.
    p_value = min(1.0, 2.0 * (one_sided + 1) / (len(draws) + 1)) if len(draws) else float("nan")
    return Difference(second - first, *interval(draws), p_value)


def _errors(matching: Matching, rows: slice, name: str) -> FloatArray:
    """(4, D) of each detection that found an object, else NaN."""
    found = matching.match[matching.config.tp_threshold, rows]
    hit = found != UNMATCHED
    errors = np.full((4, len(found)), np.nan)
    values = match_errors(
        matching.detections.values[rows][hit], matching.objects.values[found[hit]], yaw_period_rad(name)
    )
    errors[:, hit] = np.stack([values[key] for key in TP_ERRORS[:4]])
    return errors


def _mean_of_known(values: FloatArray) -> FloatArray:
    """Mean over the last axis without NaNs; NaN where there is nothing else."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    mean: FloatArray = np.divide(
        np.where(known, values, 0.0).sum(axis=-1), count, out=np.full(count.shape, np.nan), where=count > 0
    )
    return mean


class _ClassDetections(NamedTuple):
    """The D detections of one class, best score first.

    Attributes:
        sample: (D,) index of the sample.
        scores: (D,).
        hit: (T, D) whether each found an object, for each match distance.
        errors: (4, D) true-positive errors; NaN where unknown.
    """

    sample: IntArray
    scores: FloatArray
    hit: npt.NDArray[np.bool_]
    errors: FloatArray


class _Rules(NamedTuple):
    """The metrics' settings.

    Attributes:
        grid: (G,) recalls at which precision is read.
        first: index of the first recall that counts.
        min_precision: precision below which nothing counts.
        tp_threshold: index of the match distance at which errors are taken.
    """

    grid: FloatArray
    first: int
    min_precision: float
    tp_threshold: int


@numba.njit(cache=True, nogil=True)
def _score_draws(
    found: _ClassDetections, times: IntArray, num_objects: IntArray, rules: _Rules
) -> tuple[FloatArray, FloatArray]:
    """AP (B, T) and errors (B, 4) of one class: ``precision_recall``, ``average_precision`` and the errors, weighed."""
    grid, first = rules.grid, rules.first
    aps = np.zeros((len(times), len(found.hit)))
    means = np.ones((len(times), 4))
    precision, confidence = np.empty(len(grid)), np.empty(len(grid))
    for b in range(len(times)):
        if num_objects[b] == 0:
            continue
        for t in range(len(found.hit)):
            num_hits = _weighed_curve(found, t, times[b], num_objects[b], grid, precision, confidence)
            total = 0.0
            for g in range(first, len(grid)):
                total += max(precision[g] - rules.min_precision, 0.0)
            aps[b, t] = total / (len(grid) - first) / (1.0 - rules.min_precision)
            if t == rules.tp_threshold:
                _fill_errors(found, t, times[b], num_hits, confidence[first:], means[b])
    return aps, means


@numba.njit(cache=True, nogil=True)
def _fill_errors(found, t, times, num_hits, confidence, means):  # type: ignore[no-untyped-def]
    """Writes the four errors over the recalls reached; leaves 1 where none was."""
    num_reached = 0
    for g in range(len(confidence)):
        if confidence[g] != 0:
            num_reached = g + 1
    if num_reached:
        for e in range(4):
            means[e] = _weighed_error(found, t, found.errors[e], times, num_hits, confidence[:num_reached])


@numba.njit(cache=True, nogil=True)
def _weighed_curve(found, t, times, num_objects, grid, precision, confidence):  # type: ignore[no-untyped-def]
    """Fills precision and confidence on the recall grid; gives the number of hits. Best score first."""
    precision[:] = 0.0
    confidence[:] = 0.0
    hit, scores = found.hit[t], found.scores
    shown, hits, g = 0, 0, 0
    last_recall, last_precision, last_score = 0.0, 0.0, 0.0
    for d in range(len(scores)):
        for _ in range(times[found.sample[d]]):
            shown += 1
            hits += hit[d]
            recall, value = hits / num_objects, hits / shown
            while g < len(grid) and grid[g] < recall:
                if shown == 1:
                    precision[g], confidence[g] = value, scores[d]
                else:
                    part = (grid[g] - last_recall) / (recall - last_recall)
                    precision[g] = last_precision + part * (value - last_precision)
                    confidence[g] = last_score + part * (scores[d] - last_score)
                g += 1
            last_recall, last_precision, last_score = recall, value, scores[d]
    if hits and g < len(grid) and grid[g] == last_recall:
        precision[g], confidence[g] = last_precision, last_score
    return hits


@numba.njit(cache=True, nogil=True)
def _weighed_error(found, t, errors, times, num_hits, reached):  # type: ignore[no-untyped-def]
    """Mean over the recalls reached of the running mean of an error, read off at the score of each recall."""
    hit, scores = found.hit[t], found.scores
    score, running = np.empty(num_hits), np.empty(num_hits)
    total, known, k = 0.0, 0, 0
    for d in range(len(scores)):
        if not hit[d]:
            continue
        for _ in range(times[found.sample[d]]):
            if not np.isnan(errors[d]):
                total += errors[d]
                known += 1
            score[k] = scores[d]
            running[k] = total / known if known else 0.0
            k += 1
    if known == 0:
        return 1.0
    mean, k = 0.0, 0
    for x in reached:  # falling, as the scores are
        while k < num_hits and score[k] > x:
            k += 1
        if k == num_hits:
            mean += running[num_hits - 1]
        elif k == 0:
            mean += running[0]
        else:
            part = (x - score[k]) / (score[k - 1] - score[k])
            mean += running[k] + part * (running[k - 1] - running[k])
    return mean / len(reached)
