"""Which detection finds which object: the greedy matching of the nuScenes detection metrics.

Detections are taken best score first; each takes the nearest object of its class and sample that is still free, by the
distance of the centres in the ground plane, if that is below the threshold.
Rules: https://www.nuscenes.org/object-detection ("Matching criterion" and "Preprocessing").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import Boxes3D

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

UNMATCHED = -1


def _nuscenes_ranges() -> dict[str, float]:
    return {
        "car": 50.0,
        "truck": 50.0,
        "bus": 50.0,
        "trailer": 50.0,
        "construction_vehicle": 50.0,
        "pedestrian": 40.0,
        "motorcycle": 40.0,
        "bicycle": 40.0,
        "traffic_cone": 30.0,
        "barrier": 30.0,
    }


@dataclass(frozen=True)
class DetectionConfig:
    """How detections are scored; the defaults are the devkit's ``detection_cvpr_2019``.

    Attributes:
        class_range_m: the classes scored, in order, each with the distance from the ego vehicle up to which it counts.
        match_distances_m: thresholds of the centre distance, over which AP is averaged.
        tp_distance_m: the one of them at which the true-positive errors are taken.
        min_recall, min_precision: what lies below is cut from the precision–recall curve.
        max_boxes_per_sample: largest number of detections; a sample with more is refused.
        mean_ap_weight: weight of mAP in NDS, against 1 for each of the five true-positive scores.
    """

    class_range_m: Mapping[str, float] = field(default_factory=_nuscenes_ranges)
    match_distances_m: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    tp_distance_m: float = 2.0
    min_recall: float = 0.1
    min_precision: float = 0.1
    max_boxes_per_sample: int = 500
    mean_ap_weight: float = 5.0

    def __post_init__(self) -> None:
        if self.tp_distance_m not in self.match_distances_m:
            raise ValueError(
                f"DetectionConfig received tp_distance_m={self.tp_distance_m}; expected one of {self.match_distances_m}"
            )

    @staticmethod
    def of_classes(class_names: Sequence[str]) -> DetectionConfig:
        """The devkit's rules for any classes: those that it does not know count up to 50 m, as most of its own."""
        ranges = _nuscenes_ranges()
        return DetectionConfig({name: ranges.get(name, max(ranges.values())) for name in class_names})

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.class_range_m)

    @property
    def tp_threshold(self) -> int:
        """Position of ``tp_distance_m`` among ``match_distances_m``."""
        return self.match_distances_m.index(self.tp_distance_m)


@dataclass(frozen=True)
class GroundTruth:
    """The objects of one sample, in the frame of reference of its predictions.

    Attributes:
        boxes: N boxes.
        num_lidar_pts: (N,) points inside each; 0 takes the object out of the score, -1 is unknown and keeps it.
        visibility: (N,) visible share in [0, 1]; NaN where unknown.
        ego_xy_m: (2,) where the ego vehicle is, for the class ranges.
    """

    boxes: Boxes3D
    num_lidar_pts: IntArray
    visibility: npt.NDArray[np.float32]
    ego_xy_m: FloatArray = field(default_factory=lambda: np.zeros(2))


@dataclass(frozen=True)
class FlatBoxes:
    """The boxes of all samples that count, one row each.

    Attributes:
        sample: (N,) index of the sample in ``Matching.tokens``.
        index: (N,) index of the box in its sample.
        values: (N, 9) float64, ``BOX_COLUMNS``.
        scores: (N,) float64.
        labels: (N,) indices into the config's class names.
        range_m: (N,) distance from the ego vehicle in the ground plane.
    """

    sample: IntArray
    index: IntArray
    values: FloatArray
    scores: FloatArray
    labels: IntArray
    range_m: FloatArray

    def __len__(self) -> int:
        return len(self.sample)

    def __getitem__(self, rows: npt.NDArray[Any]) -> FlatBoxes:
        return FlatBoxes(
            self.sample[rows],
            self.index[rows],
            self.values[rows],
            self.scores[rows],
            self.labels[rows],
            self.range_m[rows],
        )


@dataclass(frozen=True)
class Matching:
    """Detections against ground truth, after the filters by class, range and points.

    Attributes:
        tokens: sample tokens, in the order of the predictions.
        detections: D detections in the order they were matched in: class by class, best score first.
        objects: G objects of the ground truth.
        num_lidar_pts: (G,) int64 LiDAR points on each object; -1 where unknown.
        visibility: (G,) float64 visible share in [0, 1]; NaN where unknown.
        match: (T, D) for each of the config's match distances the row in ``objects``, or ``UNMATCHED``.
        config: rules of the matching.
    """

    tokens: tuple[str, ...]
    detections: FlatBoxes
    objects: FlatBoxes
    num_lidar_pts: IntArray
    visibility: FloatArray
    match: IntArray
    config: DetectionConfig

    def of_class(self, label: int) -> slice:
        """The rows of ``detections`` of one class."""
        first, last = np.searchsorted(self.detections.labels, [label, label + 1])
        return slice(int(first), int(last))


def match_detections(
    predictions: Mapping[str, Boxes3D], ground_truth: Mapping[str, GroundTruth], config: DetectionConfig
) -> Matching:
    """Matches every detection at every threshold.

    Args:
        predictions: sample token → detections, in the same frame of reference as the ground truth of that token.
        ground_truth: sample token → objects, in metres.
        config: classes, ranges and thresholds. Boxes of other classes are left out.

    Raises:
        DatasetError: the two do not hold the same tokens, a sample holds too many boxes, or a box is not usable
            (non-finite, or without extent).
    """
    _check_tokens(predictions, ground_truth, config)
    tokens = tuple(predictions)
    truths = [ground_truth[token] for token in tokens]
    ego_xy = np.array([truth.ego_xy_m for truth in truths], dtype=np.float64).reshape(-1, 2)
    detections = _flatten([predictions[token] for token in tokens], ego_xy, tokens, config, "prediction")
    objects = _flatten([truth.boxes for truth in truths], ego_xy, tokens, config, "ground truth")

    num_lidar_pts = _gather([truth.num_lidar_pts for truth in truths], objects, np.int64)
    visibility = _gather([truth.visibility for truth in truths], objects, np.float64)
    hit = num_lidar_pts != 0
    objects, num_lidar_pts, visibility = objects[hit], num_lidar_pts[hit], visibility[hit]

    # Class by class, best score first; of equal scores the later one, as the devkit's reversed sort gives it.
    rows = np.arange(len(detections))
    detections = detections[np.lexsort((-rows, -detections.scores, detections.labels))]
    match = _match(detections, objects, len(tokens), config)
    return Matching(tokens, detections, objects, num_lidar_pts, visibility, match, config)


def _check_tokens(
    predictions: Mapping[str, Boxes3D], ground_truth: Mapping[str, GroundTruth], config: DetectionConfig
) -> None:
    missing, unknown = ground_truth.keys() - predictions.keys(), predictions.keys() - ground_truth.keys()
    if missing or unknown:
        example = sorted(missing or unknown)[0]
        raise DatasetError(
            f"the results lack {len(missing)} frames of the ground truth and hold {len(unknown)} others "
            f"(e.g. '{example}'); expected the same tokens in both: score a run with the ground truth of its own drive"
        )
    for token, boxes in predictions.items():
        if len(boxes) > config.max_boxes_per_sample:
            raise DatasetError(
                f"frame '{token}' holds {len(boxes)} detections; expected at most {config.max_boxes_per_sample}: "
                "keep the best by score"
            )


def _flatten(
    samples: Sequence[Boxes3D], ego_xy: FloatArray, tokens: Sequence[str], config: DetectionConfig, kind: str
) -> FlatBoxes:
    """One table of the boxes whose class is scored and that lie within its range."""
    position = {name: i for i, name in enumerate(config.class_names)}
    counts = np.array([len(boxes) for boxes in samples], dtype=np.int64)
    sample = np.repeat(np.arange(len(samples)), counts)
    values = np.concatenate([np.zeros((0, 9)), *(boxes.values for boxes in samples)]).astype(np.float64)
    scores = np.concatenate([np.zeros(0), *(boxes.scores for boxes in samples)]).astype(np.float64)
    labels = np.concatenate([np.zeros(0, np.int64), *(_relabel(boxes, position) for boxes in samples)])
    offset = values[:, :2] - ego_xy[sample]
    index = np.arange(len(sample)) - np.repeat(np.cumsum(counts) - counts, counts)
    flat = FlatBoxes(sample, index, values, scores, labels, np.sqrt((offset**2).sum(axis=1)))

    usable = np.isfinite(values[:, :7]).all(axis=1) & (values[:, 3:6] > 0).all(axis=1) & np.isfinite(scores)
    if not usable.all():
        row = int(np.argmin(usable))
        raise DatasetError(
            f"frame '{tokens[sample[row]]}' holds the {kind} box {np.round(values[row, :7], 3).tolist()} with score "
            f"{scores[row]}; expected finite numbers and a length, width and height above 0"
        )
    limit = np.array([*config.class_range_m.values(), 0.0])  # the last is for label -1: never within range
    return flat[flat.range_m < limit[labels]]


def _relabel(boxes: Boxes3D, position: Mapping[str, int]) -> IntArray:
    lookup = np.array([position.get(name, -1) for name in boxes.class_names], dtype=np.int64)
    return lookup[boxes.labels] if len(boxes) else boxes.labels


def _gather(columns: Sequence[npt.NDArray[Any]], objects: FlatBoxes, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """The entries of per-sample columns that belong to the rows of ``objects``."""
    starts = np.cumsum([0, *(len(column) for column in columns)])
    gathered: npt.NDArray[Any] = np.concatenate([np.zeros(0, dtype), *columns])[starts[objects.sample] + objects.index]
    return gathered


def _match(detections: FlatBoxes, objects: FlatBoxes, num_samples: int, config: DetectionConfig) -> IntArray:
    """(T, D) row of the object each detection takes, or ``UNMATCHED``."""
    num_classes = len(config.class_names)
    # Objects of one sample and class lie together, in their order in the sample; group = sample × classes + class.
    group = objects.sample * num_classes + objects.labels
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(num_samples * num_classes + 1))
    found: IntArray = _take_nearest(
        np.ascontiguousarray(detections.values[:, :2]),
        detections.sample * num_classes + detections.labels,
        np.ascontiguousarray(objects.values[order, :2]),
        starts,
        np.array(config.match_distances_m),
    )
    # UNMATCHED picks the last entry, which is UNMATCHED again.
    rows: IntArray = np.append(order, UNMATCHED)[found]
    return rows


@numba.njit(cache=True)
def _take_nearest(
    detection_xy: FloatArray,
    detection_group: IntArray,
    object_xy: FloatArray,
    group_start: IntArray,
    thresholds: FloatArray,
) -> IntArray:
    """The greedy matching itself: each step depends on the last, so it is a loop and compiled."""
    match = np.full((len(thresholds), len(detection_xy)), -1, np.int64)
    for t in range(len(thresholds)):
        taken = np.zeros(len(object_xy), np.bool_)
        for d in range(len(detection_xy)):
            nearest, nearest_distance = -1, np.inf
            for o in range(group_start[detection_group[d]], group_start[detection_group[d] + 1]):
                if taken[o]:
                    continue
                dx = detection_xy[d, 0] - object_xy[o, 0]
                dy = detection_xy[d, 1] - object_xy[o, 1]
                distance = np.sqrt(dx * dx + dy * dy)
                if distance < nearest_distance:
                    nearest, nearest_distance = o, distance
            if nearest_distance < thresholds[t]:
                taken[nearest] = True
                match[t, d] = nearest
    return match
