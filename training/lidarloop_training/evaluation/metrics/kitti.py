"""KITTI's object benchmark: AP over 40 recalls, in the ground plane and in space, easy, moderate and hard.

Rules: https://www.cvlibs.net/datasets/kitti/eval_object.php?obj_benchmark=3d and the benchmark's own evaluation program
(evaluate_object.cpp); AP over 40 recalls: Simonelli et al., "Disentangling Monocular 3D Object Detection", ICCV 2019.

What is easily missed, and done here as there:

- Objects of the neighbouring class (vans for cars, sitting persons for pedestrians) and objects too small in the
  image, too hidden or too cut off for the difficulty are *ignored*: finding them is neither right nor wrong.
- A detection that is too low in the image is ignored likewise, whatever its class: it may use up an object, which is
  then neither found nor missed.
- ``DontCare`` regions have no place in space. They excuse detections in the image's own metric only, not here.
- Precision is read at up to 41 score thresholds, which are the scores of found objects: a class with few objects has
  fewer of them and cannot reach 100 (n objects found perfectly give (n - 1) / 40 of it up to n = 41).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_training.evaluation.metrics.overlap import bev_and_3d_iou

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MIN_OVERLAP: Mapping[str, float] = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
"""The classes scored, each with the IoU that a detection must exceed."""

NEIGHBOR: Mapping[str, str] = {"Car": "Van", "Pedestrian": "Person_sitting"}

NUM_RECALLS = 40

_SCORED, _IGNORED, _OTHER = 0, 1, -1


@dataclass(frozen=True)
class Difficulty:
    """Which objects count.

    Attributes:
        name: the benchmark's name of it.
        min_height_px: smallest height of an object in the image, pixels.
        max_occlusion: highest level of occlusion: 0 fully visible, 1 partly, 2 largely hidden.
        max_truncation: largest share of an object outside the image, 0–1.
    """

    name: str
    min_height_px: int
    max_occlusion: int
    max_truncation: float


DIFFICULTIES = (
    Difficulty("easy", 40, 0, 0.15),
    Difficulty("moderate", 25, 1, 0.30),
    Difficulty("hard", 25, 2, 0.50),
)


@dataclass(frozen=True)
class KittiSample:
    """One image's objects and detections. Class names are KITTI's; letter case does not matter.

    Attributes:
        objects: N boxes, ``DontCare`` left out.
        object_height_px: (N,) height of the annotated box in the image, pixels.
        occlusion: (N,) KITTI's level 0–3.
        truncation: (N,) share outside the image, 0–1.
        detections: M boxes in the same frame of reference.
        detection_height_px: (M,) height of each in the image, pixels.
    """

    objects: Boxes3D
    object_height_px: FloatArray
    occlusion: IntArray
    truncation: FloatArray
    detections: Boxes3D
    detection_height_px: FloatArray


@dataclass(frozen=True)
class KittiAp:
    """The score of one class at one difficulty.

    Attributes:
        class_name: KITTI class.
        difficulty: name of the difficulty.
        num_objects: number of objects that count.
        ap_bev, ap_3d: per cent; NaN where there is no object.
    """

    class_name: str
    difficulty: str
    num_objects: int
    ap_bev: float
    ap_3d: float


def evaluate_kitti(samples: Sequence[KittiSample]) -> tuple[KittiAp, ...]:
    """AP R40 for each class of ``MIN_OVERLAP`` and each of ``DIFFICULTIES``."""
    overlaps = [bev_and_3d_iou(sample.detections.values, sample.objects.values) for sample in samples]
    rows = []
    for name in MIN_OVERLAP:
        for difficulty in DIFFICULTIES:
            roles = [
                (_detection_roles(sample, name, difficulty), _object_roles(sample, name, difficulty))
                for sample in samples
            ]
            num_objects = sum(int((objects == _SCORED).sum()) for _, objects in roles)
            aps = [
                _average_precision(samples, [pair[space] for pair in overlaps], roles, MIN_OVERLAP[name], num_objects)
                for space in (0, 1)
            ]
            rows.append(KittiAp(name, difficulty.name, num_objects, *aps))
    return tuple(rows)


def recall_thresholds(scores: FloatArray, num_objects: int) -> FloatArray:
    """The scores at which recall comes nearest to 0, 1/40, 2/40, … .

    Args:
        scores: (K,) of the detections that found an object.
        num_objects: number of objects to find.

    Returns:
        At most 41 scores, falling.
    """
    falling = np.sort(scores)[::-1]
    thresholds: list[float] = []
    wanted = 0.0
    for i, score in enumerate(falling):
        here, next_one = (i + 1) / num_objects, (i + 2) / num_objects
        is_last = i == len(falling) - 1
        if not is_last and next_one - wanted < wanted - here:
            continue  # the next score comes nearer
        thresholds.append(float(score))
        wanted += 1.0 / NUM_RECALLS
    return np.array(thresholds[: NUM_RECALLS + 1])


def _object_roles(sample: KittiSample, class_name: str, difficulty: Difficulty) -> IntArray:
    names = np.array([name.lower() for name in sample.objects.names], dtype=object)
    too_hard = (
        (sample.occlusion > difficulty.max_occlusion)
        | (sample.truncation > difficulty.max_truncation)
        | (sample.object_height_px < difficulty.min_height_px)
    )
    roles = np.full(len(names), _OTHER, dtype=np.int64)
    roles[names == class_name.lower()] = _SCORED
    roles[(roles == _SCORED) & too_hard] = _IGNORED
    roles[names == NEIGHBOR.get(class_name, "").lower()] = _IGNORED
    return roles


def _detection_roles(sample: KittiSample, class_name: str, difficulty: Difficulty) -> IntArray:
    names = np.array([name.lower() for name in sample.detections.names], dtype=object)
    roles = np.full(len(names), _OTHER, dtype=np.int64)
    roles[names == class_name.lower()] = _SCORED
    # Integer pixels, and whatever the class: so does the benchmark's program.
    roles[np.floor(sample.detection_height_px) < difficulty.min_height_px] = _IGNORED
    return roles


def _average_precision(
    samples: Sequence[KittiSample],
    overlaps: Sequence[FloatArray],
    roles: Sequence[tuple[IntArray, IntArray]],
    min_overlap: float,
    num_objects: int,
) -> float:
    """Per cent."""
    if num_objects == 0:
        return float("nan")
    per_frame = [
        (overlap, sample.detections.scores.astype(np.float64), detections, objects)
        for sample, overlap, (detections, objects) in zip(samples, overlaps, roles, strict=True)
    ]
    found = [_found_scores(*arrays, min_overlap) for arrays in per_frame]
    thresholds = recall_thresholds(np.concatenate([np.zeros(0), *found]), num_objects)
    counts = np.zeros((len(thresholds), 2), np.int64)
    for arrays in per_frame:
        counts += _count(*arrays, min_overlap, thresholds)
    hits, shown = counts[:, 0], counts.sum(axis=1)
    precision = np.zeros(NUM_RECALLS + 1)
    precision[: len(thresholds)] = np.divide(hits, shown, out=np.zeros(len(hits)), where=shown > 0)
    best_from_here_on = np.maximum.accumulate(precision[::-1])[::-1]
    return float(100.0 * best_from_here_on[1:].mean())  # recall 0 is not among the 40


@numba.njit(cache=True)
def _found_scores(
    overlap: FloatArray, scores: FloatArray, detection_role: IntArray, object_role: IntArray, min_overlap: float
) -> FloatArray:
    """Scores of the detections that find an object when each object takes the best-scored one that fits."""
    taken = np.zeros(len(scores), np.bool_)
    found = np.empty(len(object_role))
    num_found = 0
    for o in range(len(object_role)):
        if object_role[o] == _OTHER:
            continue
        best = -1
        for d in range(len(scores)):
            fits = detection_role[d] != _OTHER and not taken[d] and overlap[d, o] > min_overlap
            if fits and (best < 0 or scores[d] > scores[best]):
                best = d
        if best >= 0:
            taken[best] = True
            if object_role[o] == _SCORED and detection_role[best] == _SCORED:
                found[num_found] = scores[best]
                num_found += 1
    return found[:num_found]


@numba.njit(cache=True)
def _best_fit(overlap: FloatArray, detection_role: IntArray, is_out: npt.NDArray[np.bool_], min_overlap: float) -> int:
    """The scored detection with the most overlap; if there is none, the first ignored one; -1 where none fits."""
    best = -1
    for d in range(len(overlap)):
        if detection_role[d] == _OTHER or is_out[d] or overlap[d] <= min_overlap:
            continue
        if detection_role[d] == _IGNORED:
            if best < 0:
                best = d
        elif best < 0 or detection_role[best] == _IGNORED or overlap[d] > overlap[best]:
            best = d
    return best


@numba.njit(cache=True)
def _count(
    overlap: FloatArray,
    scores: FloatArray,
    detection_role: IntArray,
    object_role: IntArray,
    min_overlap: float,
    thresholds: FloatArray,
) -> IntArray:
    """(T, 2) right and wrong detections from each threshold up, when each object takes the one that fits it best."""
    counts = np.zeros((len(thresholds), 2), np.int64)
    for t in range(len(thresholds)):
        taken = np.zeros(len(scores), np.bool_)
        for o in range(len(object_role)):
            if object_role[o] == _OTHER:
                continue
            best = _best_fit(overlap[:, o], detection_role, taken | (scores < thresholds[t]), min_overlap)
            if best >= 0:
                taken[best] = True
                if object_role[o] == _SCORED and detection_role[best] == _SCORED:
                    counts[t, 0] += 1
        for d in range(len(scores)):
            if detection_role[d] == _SCORED and not taken[d] and scores[d] >= thresholds[t]:
                counts[t, 1] += 1
    return counts
