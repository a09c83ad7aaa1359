"""The nuScenes detection metrics: AP, the five true-positive errors, mAP and NDS.

Pure functions over arrays that agree with the official devkit (``nuscenes.eval.detection``); the tests hold them to it.
Rules: https://www.nuscenes.org/object-detection; Caesar et al., "nuScenes: A multimodal dataset for autonomous
driving", CVPR 2020, section 3.

Where we differ from the devkit's ``DetectionEval``, and why:

- ``mean_ap`` and ``nds`` average over the classes that have objects in the ground truth. The devkit gives a class
  without objects AP 0 and errors 1, which is no measure of a detector on a drive that has none of them. The
  devkit's own figures are ``mean_ap_all_classes`` and ``nds_all_classes``.
- Where no object of a class has a velocity in the ground truth, its velocity error cannot be judged: ``errors`` holds
  NaN, and ``nds`` leaves the velocity out if it can be judged for no class. The devkit counts such an error as 1;
  ``devkit_errors`` and the figures over all classes do as well.
- An object counts as hit when a LiDAR point lies in it; the devkit adds radar points.
- There is no filter of bicycles by bicycle racks: racks are not annotated by our sources.
- Our detector predicts no attributes. The devkit scores an empty attribute as wrong (error 1) and ignores objects that
  have none (all ignored gives 1), so the attribute error AAE is 1 for every class and NDS at most 0.9. Only where the
  most confident matches happen to be objects without attribute does the devkit give slightly less than 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_training.evaluation.metrics.matching import (
    UNMATCHED,
    DetectionConfig,
    FloatArray,
    GroundTruth,
    Matching,
    match_detections,
)

RECALL_GRID = np.linspace(0.0, 1.0, 101)

# Translation (m), scale (1 - IoU), orientation (rad), velocity (m/s), attribute (1 - accuracy).
TP_ERRORS = ("ATE", "ASE", "AOE", "AVE", "AAE")

# A cone has no heading; neither cones nor barriers move or have attributes.
_UNDEFINED_ERRORS = {"traffic_cone": ("AOE", "AVE", "AAE"), "barrier": ("AVE", "AAE")}
_YAW_PERIOD_RAD = {"barrier": np.pi}  # which side of a barrier is the front is not annotated


def undefined_errors(class_name: str) -> tuple[str, ...]:
    """Those of ``TP_ERRORS`` that a class does not have."""
    return _UNDEFINED_ERRORS.get(class_name, ())


def moves(class_name: str) -> bool:
    """Whether a class has a velocity error."""
    return "AVE" not in undefined_errors(class_name)


def has_velocity(matching: Matching, label: int) -> npt.NDArray[np.bool_]:
    """(N,) whether each object of a class has a velocity in the ground truth."""
    known: npt.NDArray[np.bool_] = np.isfinite(matching.objects.values[matching.objects.labels == label, 7:9]).all(
        axis=1
    )
    return known


def yaw_period_rad(class_name: str) -> float:
    """Turn after which an object of a class looks the same, radians."""
    return _YAW_PERIOD_RAD.get(class_name, 2 * np.pi)


@dataclass(frozen=True)
class PrecisionRecall:
    """A precision–recall curve on the 101 recalls of ``RECALL_GRID``.

    Attributes:
        precision: (101,) 0 beyond the recall that was reached.
        confidence: (101,) score at which that recall is reached; 0 beyond.
    """

    precision: FloatArray
    confidence: FloatArray

    @property
    def last_reached(self) -> int:
        """Index of the highest recall reached."""
        reached = np.nonzero(self.confidence)[0]
        return int(reached[-1]) if len(reached) else 0


@dataclass(frozen=True)
class ClassMetrics:
    """The score of one class.

    Attributes:
        name: class name.
        num_objects: number of objects in the ground truth, after the filters by range and points.
        num_detections: number of detections within range.
        average_precision: match distance in metres → AP.
        devkit_errors: ``TP_ERRORS`` → mean over the recalls from 10 % up to the highest reached; NaN where the class
            has none.
        curves: match distance in metres → precision–recall curve.
        unjudged: those of ``TP_ERRORS`` that the class has and that the ground truth does not tell.
    """

    name: str
    num_objects: int
    num_detections: int
    average_precision: Mapping[float, float]
    devkit_errors: Mapping[str, float]
    curves: Mapping[float, PrecisionRecall]
    unjudged: tuple[str, ...] = ()

    @property
    def errors(self) -> dict[str, float]:
        """``TP_ERRORS`` → mean error; NaN where the class has none, and where the ground truth does not tell it."""
        return {key: np.nan if key in self.unjudged else error for key, error in self.devkit_errors.items()}

    @property
    def mean_ap(self) -> float:
        """AP averaged over the match distances."""
        return float(np.mean(list(self.average_precision.values())))


@dataclass(frozen=True)
class DetectionMetrics:
    """The score of a detector on a set of samples.

    Attributes:
        classes: score of each class of the config, in its order.
        config: rules of the scoring.
        num_frames: number of samples scored.
    """

    classes: tuple[ClassMetrics, ...]
    config: DetectionConfig
    num_frames: int

    @property
    def present(self) -> tuple[ClassMetrics, ...]:
        """The classes that have objects in the ground truth."""
        return tuple(c for c in self.classes if c.num_objects)

    @property
    def mean_ap(self) -> float:
        """mAP over the classes present; NaN where there is none."""
        return _mean_ap(self.present)

    @property
    def mean_ap_all_classes(self) -> float:
        """mAP as the devkit gives it: an absent class counts as 0."""
        return _mean_ap(self.classes)

    @property
    def errors(self) -> dict[str, float]:
        """``TP_ERRORS`` averaged over the classes present; NaN where undefined or not judged for all of them."""
        return _mean_errors([c.errors for c in self.present])

    @property
    def unjudged(self) -> tuple[str, ...]:
        """Those of ``TP_ERRORS`` that the ground truth tells for no class present."""
        errors = self.errors
        return tuple(key for key in TP_ERRORS if np.isnan(errors[key]) and any(key in c.unjudged for c in self.present))

    @property
    def errors_all_classes(self) -> dict[str, float]:
        """``TP_ERRORS`` as the devkit gives them: an absent class counts as 1."""
        return _mean_errors([c.devkit_errors for c in self.classes])

    @property
    def nds(self) -> float:
        """nuScenes detection score over the classes present and the errors that are judged; NaN without any class."""
        judged = {key: error for key, error in self.errors.items() if key not in self.unjudged}
        return _nds(self.mean_ap, judged, self.config.mean_ap_weight)

    @property
    def nds_all_classes(self) -> float:
        """nuScenes detection score as the devkit gives it."""
        return _nds(self.mean_ap_all_classes, self.errors_all_classes, self.config.mean_ap_weight)


def evaluate_detections(
    predictions: Mapping[str, Boxes3D], ground_truth: Mapping[str, GroundTruth], config: DetectionConfig | None = None
) -> DetectionMetrics:
    """Scores detections.

    Args:
        predictions: sample token → detections, in the same frame of reference as the ground truth of that token.
            Among equal scores the order of samples and boxes decides, as in the devkit.
        ground_truth: sample token → objects, the same tokens.
        config: ``detection_cvpr_2019`` when not given.

    Raises:
        DatasetError: see ``match_detections``.
    """
    return score(match_detections(predictions, ground_truth, config or DetectionConfig()))


def score(matching: Matching) -> DetectionMetrics:
    """The metrics of detections that are already matched."""
    classes = tuple(_score_class(matching, label) for label in range(len(matching.config.class_names)))
    return DetectionMetrics(classes, matching.config, len(matching.tokens))


def _score_class(matching: Matching, label: int) -> ClassMetrics:
    config = matching.config
    name = config.class_names[label]
    rows = matching.of_class(label)
    scores = matching.detections.scores[rows]
    match = matching.match[:, rows]
    num_objects = int((matching.objects.labels == label).sum())
    curves = {
        distance: precision_recall(found != UNMATCHED, scores, num_objects)
        for distance, found in zip(config.match_distances_m, match, strict=True)
    }
    return ClassMetrics(
        name=name,
        num_objects=num_objects,
        num_detections=len(scores),
        average_precision={distance: average_precision(curve.precision, config) for distance, curve in curves.items()},
        devkit_errors=_class_errors(matching, rows, name, curves[config.tp_distance_m]),
        curves=curves,
        unjudged=("AVE",) if num_objects and not has_velocity(matching, label).any() and moves(name) else (),
    )


def precision_recall(is_match: npt.NDArray[np.bool_], scores: FloatArray, num_objects: int) -> PrecisionRecall:
    """The curve of one class at one threshold.

    Args:
        is_match: (D,) whether each detection found an object; best score first.
        scores: (D,) in the same order.
        num_objects: number of objects to find.
    """
    if num_objects == 0 or not is_match.any():
        return PrecisionRecall(np.zeros_like(RECALL_GRID), np.zeros_like(RECALL_GRID))
    hits = np.cumsum(is_match).astype(np.float64)
    precision = hits / np.arange(1, len(hits) + 1)
    recall = hits / num_objects
    return PrecisionRecall(
        precision=np.interp(RECALL_GRID, recall, precision, right=0),
        confidence=np.interp(RECALL_GRID, recall, scores, right=0),
    )


def average_precision(precision: FloatArray, config: DetectionConfig) -> float:
    """Area under a curve (101,) above ``min_recall`` and ``min_precision``, normed to [0, 1]."""
    above = np.clip(precision[first_scored_recall(config) :] - config.min_precision, 0.0, None)
    return float(above.mean()) / (1.0 - config.min_precision)


def first_scored_recall(config: DetectionConfig) -> int:
    """Index in ``RECALL_GRID`` of the first above ``min_recall``; the one at it is left out, as in the devkit."""
    return round(100 * config.min_recall) + 1


def _class_errors(matching: Matching, rows: slice, name: str, curve: PrecisionRecall) -> dict[str, float]:
    """``TP_ERRORS`` of one class at the true-positive distance."""
    config = matching.config
    found = matching.match[config.tp_threshold, rows]
    hit = found != UNMATCHED
    first, last = first_scored_recall(config), curve.last_reached
    if last < first:  # too little was found: the devkit's 1
        values = dict.fromkeys(TP_ERRORS, 1.0)
    else:
        errors = match_errors(
            matching.detections.values[rows][hit],
            matching.objects.values[found[hit]],
            yaw_period_rad(name),
        )
        scores = matching.detections.scores[rows][hit]
        values = {
            key: float(_over_recall(error, scores, curve)[first : last + 1].mean()) for key, error in errors.items()
        }
        values["AAE"] = 1.0
    return {key: np.nan if key in undefined_errors(name) else values[key] for key in TP_ERRORS}


def match_errors(detected: FloatArray, truth: FloatArray, yaw_period_rad: float = 2 * np.pi) -> dict[str, FloatArray]:
    """How far M matched detections are off.

    Args:
        detected, truth: (M, 9) box columns.
        yaw_period_rad: turn after which the object looks the same.

    Returns:
        (M,) each: ``ATE`` metres in the ground plane, ``ASE`` 1 - IoU of the boxes laid over each other, ``AOE``
        radians, ``AVE`` metres per second, NaN where a velocity is unknown.
    """
    overlap = np.minimum(detected[:, 3:6], truth[:, 3:6]).prod(axis=1)
    union = detected[:, 3:6].prod(axis=1) + truth[:, 3:6].prod(axis=1) - overlap
    turn = (truth[:, 6] - detected[:, 6] + yaw_period_rad / 2) % yaw_period_rad - yaw_period_rad / 2
    return {
        "ATE": np.sqrt(((detected[:, :2] - truth[:, :2]) ** 2).sum(axis=1)),
        "ASE": 1.0 - overlap / union,
        "AOE": np.abs(turn),
        "AVE": np.sqrt(((detected[:, 7:9] - truth[:, 7:9]) ** 2).sum(axis=1)),
    }


def _over_recall(errors: FloatArray, scores: FloatArray, curve: PrecisionRecall) -> FloatArray:
    """(101,) running mean of the errors of the M matches, read off at the score where each recall is reached."""
    running = _running_mean(errors)
    # np.interp takes ascending positions; scores fall.
    over_recall: FloatArray = np.interp(curve.confidence[::-1], scores[::-1], running[::-1])[::-1]
    return over_recall


def _running_mean(errors: FloatArray) -> FloatArray:
    """Mean up to each position without the NaNs: 0 before the first number, 1 where all are NaN, as in the devkit."""
    known = ~np.isnan(errors)
    if not known.any():
        return np.ones_like(errors)
    mean: FloatArray = np.nancumsum(errors) / np.maximum(np.cumsum(known), 1)
    return mean


def _mean_ap(classes: tuple[ClassMetrics, ...]) -> float:
    return float(np.mean([c.mean_ap for c in classes])) if classes else float("nan")


def _mean_errors(of_classes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    means = {}
    for key in TP_ERRORS:
        defined = [errors[key] for errors in of_classes if not np.isnan(errors[key])]
        means[key] = float(np.mean(defined)) if defined else float("nan")
    return means


def _nds(mean_ap: float, errors: Mapping[str, float], mean_ap_weight: float) -> float:
    # An error that no class present defines earns nothing, like one of 1.
    earned = [0.0 if np.isnan(error) else max(0.0, 1.0 - error) for error in errors.values()]
    return (mean_ap_weight * mean_ap + sum(earned)) / (mean_ap_weight + len(earned))
