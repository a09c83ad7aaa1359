"""What is taken for what: the confusion matrix of a detector at its operating score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from lidarloop_training.evaluation.metrics.matching import UNMATCHED, FlatBoxes, IntArray, Matching
from lidarloop_training.evaluation.statistics.breakdown import found_by

# Samples are laid out along a third axis, so far apart that only boxes of one sample are neighbours.
_SAMPLE_STEP_M = 1000.0


@dataclass(frozen=True)
class Confusion:
    """Objects against detections.

    Attributes:
        class_names: C classes that occur among the objects or the detections.
        counts: (C + 1, C + 1): row = what the object is, the last row "nothing"; column = what it was taken for, the
            last column "missed".
    """

    class_names: tuple[str, ...]
    counts: IntArray


def confuse(matching: Matching, threshold: float) -> Confusion:
    """Counts every object once, and every detection from the threshold up.

    An object found by a detection of its class lies on the diagonal. An object that was not is taken for the nearest
    detection of another class within the true-positive distance that found nothing itself; nearest pairs go first. What
    is left are missed objects and detections of nothing.
    """
    num_classes = len(matching.config.class_names)
    objects, detections = matching.objects, matching.detections
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    found = found_by(matching, threshold) != UNMATCHED
    np.add.at(counts, (objects.labels[found], objects.labels[found]), 1)

    hit = matching.match[matching.config.tp_threshold] != UNMATCHED
    missed, spare = np.nonzero(~found)[0], np.nonzero(~hit & (detections.scores >= threshold))[0]
    for o, d in _nearest_pairs(objects[missed], detections[spare], matching.config.tp_distance_m):
        counts[objects.labels[missed[o]], detections.labels[spare[d]]] += 1
        missed[o], spare[d] = UNMATCHED, UNMATCHED
    counts[:num_classes, num_classes] = _per_class(objects, missed, num_classes)
    counts[num_classes, :num_classes] = _per_class(detections, spare, num_classes)

    occurs = np.nonzero(counts[:-1].sum(axis=1) + counts[:, :-1].sum(axis=0))[0]
    kept = np.append(occurs, num_classes)
    names = tuple(matching.config.class_names[label] for label in occurs)
    return Confusion(names, counts[np.ix_(kept, kept)])


def _per_class(boxes: FlatBoxes, rows: npt.NDArray[np.int64], num_classes: int) -> IntArray:
    counts: IntArray = np.bincount(boxes.labels[rows[rows != UNMATCHED]], minlength=num_classes)
    return counts


def _nearest_pairs(objects: FlatBoxes, detections: FlatBoxes, radius_m: float) -> list[tuple[int, int]]:
    """Pairs (object, detection) of one sample closer than the radius, each box once, the nearest first."""
    if not (len(objects) and len(detections)):
        return []
    places = [np.column_stack([b.values[:, :2], b.sample * _SAMPLE_STEP_M]) for b in (objects, detections)]
    trees = [cKDTree(xyz) for xyz in places]
    near = trees[0].sparse_distance_matrix(trees[1], radius_m, output_type="ndarray")
    pairs, used_objects, used_detections = [], set(), set()
    for k in np.lexsort((near["j"], near["i"], near["v"])):
        o, d = int(near["i"][k]), int(near["j"][k])
        if near["v"][k] < radius_m and o not in used_objects and d not in used_detections:
            pairs.append((o, d))
            used_objects.add(o)
            used_detections.add(d)
    return pairs
