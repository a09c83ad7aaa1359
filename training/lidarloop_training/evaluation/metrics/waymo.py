"""Waymo's detection metrics: AP and heading-weighted APH at levels 1 and 2 for vehicles, pedestrians and cyclists.

Rules: https://waymo.com/open/challenges/2020/3d-detection and the data set's own metrics library, with the config of
its command-line tool: boxes in space, IoU of at least 0.7 for vehicles and 0.5 for the others, 101 score cutoffs from 0
to 1, at each of them the matching with the largest sum of IoU (Hungarian; detection scores play no part in it), recall
steps of at most 0.05 under the curve. Sun et al., "Scalability in Perception for Autonomous Driving", CVPR 2020,
section 4.

What is easily missed, and done here as there:

- An object with at most 5 points, or labelled hard, is of level 2; one without points is left out.
- Level 1 leaves out only *missed* objects of level 2. One that was found counts as found at both levels.
- A curve starts at precision 1 for recall 0, whose value in the area is that of the next recall.

Detections in zones without labels count as wrong: our samples carry no such zones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from lidarloop_core.geometry.boxes import Boxes3D, wrap_angle
from lidarloop_training.data.waymo.classes import NUSCENES_TO_WAYMO, WAYMO_CLASSES
from lidarloop_training.evaluation.metrics.overlap import bev_and_3d_iou

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MIN_IOU: Mapping[str, float] = {"vehicle": 0.7, "pedestrian": 0.5, "cyclist": 0.5}

LEVELS = (1, 2)
MAX_LEVEL_2_POINTS = 5
SCORE_CUTOFFS = np.append(np.arange(100) * 0.01, 1.0).astype(np.float32)
MAX_RECALL_STEP = 0.05

_IOU_STEPS = 1_000_000  # the matching works on integers, so that equal sums are equal


@dataclass(frozen=True)
class WaymoSample:
    """One sample's objects and detections; class names are ``WAYMO_CLASSES``.

    Attributes:
        objects: N boxes.
        level: (N,) 1 or 2; 0 takes an object out.
        detections: M boxes in the same frame of reference.
    """

    objects: Boxes3D
    level: IntArray
    detections: Boxes3D


@dataclass(frozen=True)
class WaymoAp:
    """The score of one type at one level.

    Attributes:
        type_name: one of ``WAYMO_CLASSES``.
        level: 1 or 2.
        num_objects: number of objects that count.
        ap: average precision, 0–1; NaN where there is no object.
        aph: average precision weighted by heading accuracy, 0–1; NaN where there is no object.
    """

    type_name: str
    level: int
    num_objects: int
    ap: float
    aph: float


def difficulty_levels(num_lidar_pts: IntArray, annotated: IntArray | None = None) -> IntArray:
    """The level of each object, by Waymo's rule.

    Args:
        num_lidar_pts: (N,) points on each object; -1, unknown, gives level 1.
        annotated: (N,) level given by the annotators, 0 where they gave none.

    Returns:
        (N,) 1 or 2, 0 for objects without points.
    """
    levels = np.where((num_lidar_pts > MAX_LEVEL_2_POINTS) | (num_lidar_pts < 0), 1, 2)
    if annotated is not None:
        levels = np.where(annotated > 0, annotated, levels)
    return np.where(num_lidar_pts == 0, 0, levels).astype(np.int64)


def as_waymo_types(boxes: Boxes3D) -> tuple[Boxes3D, IntArray]:
    """Boxes of the nuScenes classes as boxes of ``WAYMO_CLASSES``, and their rows among the given ones, (M,)."""
    position = {name: i for i, name in enumerate(WAYMO_CLASSES)}
    types = [NUSCENES_TO_WAYMO.get(name, "") for name in boxes.class_names]
    lookup = np.array([position.get(name, -1) for name in types], dtype=np.int64)
    labels = lookup[boxes.labels] if len(boxes) else boxes.labels
    rows = np.nonzero(labels >= 0)[0]
    return Boxes3D(boxes.values[rows], boxes.scores[rows], labels[rows], WAYMO_CLASSES), rows


def evaluate_waymo(samples: Sequence[WaymoSample]) -> tuple[WaymoAp, ...]:
    """AP and APH for each of ``WAYMO_CLASSES`` and each of ``LEVELS``."""
    rows = []
    for label, name in enumerate(WAYMO_CLASSES):
        counts = sum((_count(sample, label, MIN_IOU[name]) for sample in samples), np.zeros((len(SCORE_CUTOFFS), 5)))
        for level in LEVELS:
            num_objects = sum(
                int(((sample.objects.labels == label) & (sample.level > 0) & (sample.level <= level)).sum())
                for sample in samples
            )
            ap, aph = _average_precisions(counts, level) if num_objects else (float("nan"), float("nan"))
            rows.append(WaymoAp(name, level, num_objects, ap, aph))
    return tuple(rows)


def mean_over_types(rows: Sequence[WaymoAp], level: int) -> tuple[float, float]:
    """mAP and mAPH at a level over the types that have objects; NaN where none has."""
    chosen = [(row.ap, row.aph) for row in rows if row.level == level and row.num_objects]
    ap, aph = np.mean(chosen, axis=0) if chosen else (np.nan, np.nan)
    return float(ap), float(aph)


def _count(sample: WaymoSample, label: int, min_iou: float) -> FloatArray:
    """(cutoffs, 5) found, their heading accuracy, wrong, missed of level 1, missed of level 2."""
    chosen = (sample.objects.labels == label) & (sample.level > 0)
    objects, level = sample.objects[chosen], sample.level[chosen]
    detections = sample.detections[sample.detections.labels == label]
    iou = bev_and_3d_iou(detections.values, objects.values)[1]
    weight = np.where(iou >= min_iou, np.rint(iou * _IOU_STEPS), 0).astype(np.int64)
    accuracy = 1.0 - np.abs(wrap_angle(detections.yaws[:, None].astype(np.float64) - objects.yaws[None])) / np.pi
    counts = np.zeros((len(SCORE_CUTOFFS), 5))
    for i, (rows, columns, num_shown) in enumerate(_matchings(weight, detections.scores)):
        missed = np.bincount(np.delete(level, columns), minlength=3)
        found = len(rows)
        counts[i] = found, accuracy[rows, columns].sum(), num_shown - found, missed[1], missed[2]
    return counts


def _matchings(
    weight: IntArray, scores: npt.NDArray[np.float32]
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], int]]:
    """For each score cutoff the detections and objects of the best matching, and how many detections are shown."""
    can_match = weight.any(axis=1)
    rows = columns = np.zeros(0, np.intp)
    last = None
    for cutoff in SCORE_CUTOFFS:
        shown = scores >= cutoff
        candidates = np.nonzero(shown & can_match)[0]
        if last is None or len(candidates) != len(last):  # they only become fewer
            found, columns = linear_sum_assignment(weight[candidates], maximize=True)
            rows, last = candidates[found], candidates
            is_match = weight[rows, columns] > 0
            rows, columns = rows[is_match], columns[is_match]
        yield rows, columns, int(shown.sum())


def _average_precisions(counts: FloatArray, level: int) -> tuple[float, float]:
    found, accuracy, wrong = counts[:, 0], counts[:, 1], counts[:, 2]
    missed = counts[:, 3] if level == 1 else counts[:, 3] + counts[:, 4]
    recall = _ratio(found, found + missed)
    precisions = (_ratio(share, found + wrong) for share in (found, accuracy))
    ap, aph = (area_under_curve(np.where(recall == 0, 1.0, precision), recall) for precision in precisions)
    return ap, aph


def area_under_curve(precision: FloatArray, recall: FloatArray) -> float:
    """Waymo's area under a precision–recall curve.

    Args:
        precision, recall: (K,) one point for each score cutoff, in any order.

    Precision at a recall is the best at it or any higher one. Steps of recall longer than 0.05 are level up to their
    last 0.05 at the low end, and the trapezium rule bridges what is left.
    """
    recalls = np.unique(np.append(recall, 0.0))[::-1]  # falling to 0
    if len(recalls) == 1:
        return 0.0
    at_recall = np.array([precision[recall == r].max(initial=1.0 if r == 0 else 0.0) for r in recalls])
    best = np.maximum.accumulate(at_recall)
    best[-1] = best[-2]
    high, low = best[:-1], best[1:]
    gap = recalls[:-1] - recalls[1:]
    level_part = MAX_RECALL_STEP * np.ceil(np.clip(gap - MAX_RECALL_STEP - 1e-6, 0.0, None) / MAX_RECALL_STEP)
    return float((level_part * high + (gap - level_part) * (high + low) / 2).sum())


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
