"""Two results on the same frames: what differs, and whether by more than chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_training.evaluation.metrics.matching import UNMATCHED, FloatArray, IntArray
from lidarloop_training.evaluation.metrics.nuscenes import TP_ERRORS
from lidarloop_training.evaluation.scoring import Score
from lidarloop_training.evaluation.statistics.bootstrap import Difference, Replicates, paired_difference
from lidarloop_training.evaluation.statistics.breakdown import found_by


@dataclass(frozen=True)
class Row:
    """One number of both.

    Attributes:
        name: mAP, NDS, an error, or a class (its AP).
        first, second: values, in the unit of the number.
        difference: second less first; None without draws.
        higher_is_better: False for errors.
    """

    name: str
    first: float
    second: float
    difference: Difference | None
    higher_is_better: bool

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` (the second than the first) or nothing where chance explains the difference."""
        if self.difference is None or not self.difference.is_significant:
            return ""
        return "better" if (self.difference.value > 0) == self.higher_is_better else "worse"


@dataclass(frozen=True)
class Found:
    """How many objects of a class each of both found at its own operating score."""

    name: str
    both: int
    only_first: int
    only_second: int
    neither: int


@dataclass(frozen=True)
class Comparison:
    """A second result against the first.

    Attributes:
        rows: mAP, NDS, the errors, then the AP of each class present.
        found: numbers of objects found, one row for each class present.
        second: score of the second result.
        units: what was drawn for the intervals, in words; empty without draws.
    """

    rows: tuple[Row, ...]
    found: tuple[Found, ...]
    second: Score
    units: str


def compare(first: Score, second: Score) -> Comparison:
    """Compares two scores of the same samples; with draws, both must have been made with the same units and seed."""
    units = first.resampling.description if first.resampling else ""
    return Comparison(tuple(_rows(first, second)), tuple(_found(first, second)), second, units)


def _rows(first: Score, second: Score) -> Iterator[Row]:
    one, other = first.metrics, second.metrics
    draws, more_draws = first.replicates, second.replicates

    def row(name: str, values: tuple[float, float], higher_is_better: bool) -> Row:
        difference = None
        if draws is not None and more_draws is not None:
            difference = paired_difference(*values, _draws(draws, name), _draws(more_draws, name))
        return Row(name, *values, difference, higher_is_better)

    yield row("mAP", (one.mean_ap, other.mean_ap), True)
    yield row("NDS", (one.nds, other.nds), True)
    for key in TP_ERRORS[:4]:
        yield row(key, (one.errors[key], other.errors[key]), False)
    for mine, its in zip(one.classes, other.classes, strict=True):
        if mine.num_objects:
            yield row(mine.name, (mine.mean_ap, its.mean_ap), True)


def _draws(replicates: Replicates, name: str) -> FloatArray:
    if name in ("mAP", "NDS"):
        return replicates.mean_ap if name == "mAP" else replicates.nds
    return replicates.errors[name] if name in replicates.errors else replicates.class_ap[name]


def _found(first: Score, second: Score) -> Iterator[Found]:
    (labels, one), (_, other) = _found_objects(first), _found_objects(second)
    for label, name in enumerate(first.matching.config.class_names):
        of_class = labels == label
        if of_class.any():
            a, b = one[of_class], other[of_class]
            yield Found(name, *(int(part.sum()) for part in (a & b, a & ~b, ~a & b, ~a & ~b)))


def _found_objects(score: Score) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """(labels, whether found) of the objects, ordered by token and place in the sample: alike for any result."""
    matching, objects = score.matching, score.matching.objects
    rank = np.argsort(np.argsort(np.array(matching.tokens)))
    order = np.lexsort((objects.index, rank[objects.sample]))
    found = found_by(matching, score.breakdown.operating_score) != UNMATCHED
    return objects.labels[order], found[order]
