"""Where a detector is good and where it is not: per range, per points on the object, per visibility, per sample.

All at the true-positive distance. Precision and recall are taken at the *operating score*: the score threshold
with the best F1 over all classes, so that they mean the same whatever a network's scores look like.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_training.evaluation.metrics.matching import UNMATCHED, Matching
from lidarloop_training.evaluation.metrics.nuscenes import average_precision, precision_recall

# Lower ends of the slices with their names; a slice ends where the next begins.
RANGES_M = {0.0: "0–10 m", 10.0: "10–20 m", 20.0: "20–30 m", 30.0: "30–50 m"}
POINT_COUNTS = {1: "1–5", 6: "6–20", 21: "21–100", 101: "> 100"}
VISIBILITIES = {0.0: "0–40 %", 0.4: "40–60 %", 0.6: "60–80 %", 0.8: "80–100 %"}  # the levels of nuScenes


@dataclass(frozen=True)
class Slice:
    """The score on some of the objects.

    Attributes:
        name: range of the slice, for the reader.
        num_objects: number of objects in the slice.
        recall: share found at the operating score; NaN where there are none.
        error_m: mean distance of the detections that found them; NaN where none was found.
        precision: share of the detections there that found an object; NaN where there is none, or where detections
            have no such property (an invented object has no number of points).
        mean_ap: AP over the match distances and the classes present; NaN likewise.
    """

    name: str
    num_objects: int
    recall: float
    error_m: float
    precision: float = float("nan")
    mean_ap: float = float("nan")


@dataclass(frozen=True)
class SampleOutcome:
    """What became of every box of one sample, for pictures.

    Attributes:
        token: sample token.
        hits: (H,) indices of the sample's detections from the operating score up that found an object.
        inventions: (I,) indices of the sample's detections from the operating score up that found none.
        found: (F,) indices of the sample's objects that were found.
        missed: (M,) indices of the sample's objects that were not.
    """

    token: str
    hits: npt.NDArray[np.int64]
    inventions: npt.NDArray[np.int64]
    found: npt.NDArray[np.int64]
    missed: npt.NDArray[np.int64]

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN where there was nothing and nothing was seen."""
        total = 2 * len(self.hits) + len(self.inventions) + len(self.missed)
        return 2 * len(self.hits) / total if total else float("nan")


@dataclass(frozen=True)
class Breakdown:
    """All tables of a report.

    Attributes:
        operating_score: score threshold with the best F1 over all classes.
        by_range: metrics of the objects within each slice of distance.
        by_points: metrics of the objects with so many LiDAR points; empty where no count is known.
        by_visibility: metrics of the objects with such a visible share; empty where none is known.
        samples: outcome of each sample, in the order of the predictions.
    """

    operating_score: float
    by_range: tuple[Slice, ...]
    by_points: tuple[Slice, ...]
    by_visibility: tuple[Slice, ...]
    samples: tuple[SampleOutcome, ...]


def break_down(matching: Matching) -> Breakdown:
    """The score of a matching by range, points, visibility and sample."""
    threshold = operating_score(matching)
    found = found_by(matching, threshold)
    distance = _center_distance(matching, found)

    def by_object(values: npt.NDArray[Any], slices: Mapping[Any, str]) -> tuple[Slice, ...]:
        is_found, which = found != UNMATCHED, np.digitize(values, list(slices)) - 1  # NaN lies above all
        which[~np.isfinite(values)] = -1
        if not (which >= 0).any():
            return ()
        rows = []
        for i, name in enumerate(slices.values()):
            total, hit = which == i, (which == i) & is_found
            rows.append(Slice(name, int(total.sum()), _ratio(hit.sum(), total.sum()), _mean(distance[hit])))
        return tuple(rows)

    return Breakdown(
        operating_score=threshold,
        by_range=tuple(_range_slice(matching, threshold, found, distance, i) for i in range(len(RANGES_M))),
        by_points=by_object(matching.num_lidar_pts, POINT_COUNTS),
        by_visibility=by_object(matching.visibility, VISIBILITIES),
        samples=_sample_outcomes(matching, threshold, found),
    )


def operating_score(matching: Matching) -> float:
    """The score threshold with the best F1 over all classes; 0 where nothing was found."""
    scores = matching.detections.scores
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(matching.match[matching.config.tp_threshold, order] != UNMATCHED)
    if len(hits) == 0 or hits[-1] == 0:
        return 0.0
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + len(matching.objects))
    f1[:-1][np.diff(scores[order]) == 0] = 0.0  # equal scores are taken all or none
    return float(scores[order][np.argmax(f1)])


def found_by(matching: Matching, threshold: float) -> npt.NDArray[np.int64]:
    """(G,) row of the detection at or above the threshold that found each object, or ``UNMATCHED``."""
    # Matching goes by falling score, so leaving out low scores does not change what the others found.
    match = matching.match[matching.config.tp_threshold]
    rows = np.nonzero((match != UNMATCHED) & (matching.detections.scores >= threshold))[0]
    found_by = np.full(len(matching.objects), UNMATCHED)
    found_by[match[rows]] = rows
    return found_by


def _center_distance(matching: Matching, finder: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(G,) metres in the ground plane between an object and its finder; NaN where it was missed."""
    distance = np.full(len(finder), np.nan)
    found = finder != UNMATCHED
    offset = matching.detections.values[finder[found], :2] - matching.objects.values[found, :2]
    distance[found] = np.sqrt((offset**2).sum(axis=1))
    return distance


def _range_slice(
    matching: Matching,
    threshold: float,
    finder: npt.NDArray[np.int64],
    distance: npt.NDArray[np.float64],
    which: int,
) -> Slice:
    def within(range_m: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        inside: npt.NDArray[np.bool_] = np.digitize(range_m, list(RANGES_M)) - 1 == which
        return inside

    config = matching.config
    chosen = within(matching.objects.range_m)
    found = chosen & (finder != UNMATCHED)
    # A detection belongs where its object is; one that found none belongs where it is itself.
    places = [
        within(np.where(m != UNMATCHED, np.append(matching.objects.range_m, 0.0)[m], matching.detections.range_m))
        for m in matching.match
    ]
    num_shown = int((places[config.tp_threshold] & (matching.detections.scores >= threshold)).sum())
    aps = []
    for label in np.unique(matching.objects.labels[chosen]):
        rows = matching.of_class(int(label))
        num_objects = int((matching.objects.labels[chosen] == label).sum())
        for match, place in zip(matching.match, places, strict=True):
            here = place[rows]
            curve = precision_recall(
                match[rows][here] != UNMATCHED, matching.detections.scores[rows][here], num_objects
            )
            aps.append(average_precision(curve.precision, config))
    return Slice(
        name=list(RANGES_M.values())[which],
        num_objects=int(chosen.sum()),
        recall=_ratio(found.sum(), chosen.sum()),
        error_m=_mean(distance[found]),
        precision=_ratio(found.sum(), num_shown),
        mean_ap=_mean(np.array(aps)),
    )


def _sample_outcomes(matching: Matching, threshold: float, finder: npt.NDArray[np.int64]) -> tuple[SampleOutcome, ...]:
    detections, objects = matching.detections, matching.objects
    shown = detections.scores >= threshold
    hit = matching.match[matching.config.tp_threshold] != UNMATCHED
    outcomes = []
    for sample, token in enumerate(matching.tokens):
        mine, its = shown & (detections.sample == sample), objects.sample == sample
        outcomes.append(
            SampleOutcome(
                token,
                hits=detections.index[mine & hit],
                inventions=detections.index[mine & ~hit],
                found=objects.index[its & (finder != UNMATCHED)],
                missed=objects.index[its & (finder == UNMATCHED)],
            )
        )
    return tuple(outcomes)


def best_and_worst(samples: tuple[SampleOutcome, ...], count: int) -> tuple[list[SampleOutcome], list[SampleOutcome]]:
    """The ``count`` samples with the best and the worst F1 among those with objects; neighbours in time count once."""
    gap = max(1, len(samples) // 20)
    rated = [i for i, sample in enumerate(samples) if len(sample.found) + len(sample.missed)]
    # Of equal samples the fuller one shows more.
    order = sorted(rated, key=lambda i: (samples[i].f1, len(samples[i].found) + len(samples[i].missed)))
    best = _apart(order[::-1], count, gap, taken=[])
    worst = _apart(order, count, gap, taken=best)
    return [samples[i] for i in best], [samples[i] for i in worst]


def _apart(order: list[int], count: int, gap: int, taken: list[int]) -> list[int]:
    chosen: list[int] = []
    for i in order:
        if len(chosen) < count and all(abs(i - other) >= gap for other in chosen) and i not in taken:
            chosen.append(i)
    return chosen


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")
