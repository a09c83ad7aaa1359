"""What a source has for a detector to learn from: objects counted by class, before the first cloud is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lidarloop_core.errors import DatasetError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import Annotations, SampleSource

_NUM_NAMED = 12
"""Names of classes in one message; the others are counted."""


@dataclass(frozen=True)
class LabelCensus:
    """Labelled objects of a source.

    Attributes:
        num_samples: number of samples.
        wanted: class of the model → number of objects in its range that a LiDAR point may have hit.
        foreign: any other class → number of its objects.
        num_unseen: number of objects of the model's classes without a point or a weight, or out of its range.
    """

    num_samples: int
    wanted: Mapping[str, int]
    foreign: Mapping[str, int]
    num_unseen: int

    @property
    def num_wanted(self) -> int:
        """Number of objects to learn from."""
        return sum(self.wanted.values())

    def __str__(self) -> str:
        """One line for the log."""
        parts = [f"{self.num_wanted} objects in {self.num_samples} samples: {_listed(self.wanted)}"]
        if missing := [name for name, number in self.wanted.items() if not number]:
            parts.append(f"no object of {', '.join(missing[:_NUM_NAMED])}{_more(len(missing))}")
        if self.num_unseen:
            parts.append(f"{self.num_unseen} without a point or a weight, or out of range")
        if self.foreign:
            parts.append(
                f"{sum(self.foreign.values())} of classes that the model does not have, left out: "
                f"{_listed(self.foreign)}"
            )
        return "; ".join(parts)


def take_census(source: SampleSource, spec: ModelSpec) -> LabelCensus:
    """Counts the objects of a source by its annotations.

    Raises:
        DatasetError: a sample is unlabelled.
    """
    wanted = Counter(dict.fromkeys(spec.class_names, 0))
    foreign: Counter[str] = Counter()
    num_unseen = 0
    for index in range(len(source)):
        annotations = _labels(source, index)
        seen = _may_be_seen(annotations, spec)
        for name, is_seen in zip(annotations.boxes.names, seen, strict=True):
            if name not in wanted:
                foreign[name] += 1
            elif is_seen:
                wanted[name] += 1
            else:
                num_unseen += 1
    return LabelCensus(len(source), wanted, foreign, num_unseen)


def check_labelled(source: SampleSource) -> None:
    """Raises DatasetError if a sample is unlabelled."""
    for index in range(len(source)):
        _labels(source, index)


def check_learnable(census: LabelCensus, spec: ModelSpec) -> None:
    """Raises DatasetError if there is not one object to learn from."""
    if census.num_wanted:
        return
    raise DatasetError(
        f"{census.num_samples} samples hold no object to learn from: received {_listed(census.foreign)} and "
        f"{census.num_unseen} objects without a point or a weight, or out of range; expected some of "
        f"{', '.join(spec.class_names[:_NUM_NAMED])}{_more(len(spec.class_names))} with points in x "
        f"{spec.grid.x_range_m}, y {spec.grid.y_range_m} m: name the classes of the drives by --classes"
    )


def _labels(source: SampleSource, index: int) -> Annotations:
    annotations = source.annotations(index)
    if annotations is None:
        key = source.keys[index]
        raise DatasetError(
            f"sample {key.token} of {key.drive} has no annotations; expected labelled samples: annotate the drive, or "
            "learn from pseudo-labels (`lidarloop train pillar-pretrain`, `lidarloop self-train --no-human-labels`)"
        )
    return annotations


def _may_be_seen(annotations: Annotations, spec: ModelSpec) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(N,) whether each object may have points, counts, and has its centre in the range."""
    xy = annotations.boxes.centers[:, :2]
    low, high = np.array([spec.grid.x_range_m, spec.grid.y_range_m]).T
    inside = ((xy >= low) & (xy < high)).all(axis=1)
    has_weight = annotations.boxes.scores > 0
    return np.asarray((annotations.num_lidar_pts != 0) & has_weight & inside, dtype=np.bool_)


def _listed(numbers: Mapping[str, int]) -> str:
    """E.g. ``car 12, bus 3 and 2 more``, most first; ``no object`` where there is none."""
    found = sorted(((name, n) for name, n in numbers.items() if n), key=lambda item: (-item[1], item[0]))
    return (", ".join(f"{name} {n}" for name, n in found[:_NUM_NAMED]) or "no object") + _more(len(found))


def _more(number: int) -> str:
    return f" and {number - _NUM_NAMED} more" if number > _NUM_NAMED else ""
