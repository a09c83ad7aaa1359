"""Scores of pseudo-labels on labelled drives: found and wrong ones, errors, doubles, interruptions of tracks.

Where only a camera's view is labelled, only labels whose centre lies on its image count, and those in regions that are
marked as not labelled ("DontCare") count only where they meet an object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D, wrap_angle
from lidarloop_core.geometry.camera import in_image, project
from lidarloop_core.geometry.iou import bev_iou
from lidarloop_core.sample import Annotations, CameraImage, Sweep, camera_SE3_lidar
from lidarloop_training.evaluation.metrics.matching import (
    UNMATCHED,
    DetectionConfig,
    GroundTruth,
    Matching,
    match_detections,
)
from lidarloop_training.evaluation.metrics.nuscenes import match_errors, score

FloatArray = npt.NDArray[np.float64]

MIN_SCORE = 0.05
"""Labels with less are not counted as labels; average precision takes all."""

OVERLAP = 0.02
"""Bird's-eye-view IoU above which two labels of one class are doubles: objects do not stand in each other."""

_MEETS_M = 2.0


@dataclass(frozen=True)
class ScoredSample:
    """What scoring needs of one sample.

    Attributes:
        token: sample token.
        truth: labelled boxes, keyframe LiDAR's frame, of NuScenes' classes.
        camera: the camera, where only what it sees is labelled; else None.
        keyframe: the sweep whose LiDAR's frame the boxes are in.
        unlabelled: (R, 4) regions of the image without labels: left, top, right, bottom, pixels.
    """

    token: str
    truth: Annotations
    camera: CameraImage | None
    keyframe: Sweep
    unlabelled: FloatArray = field(default_factory=lambda: np.zeros((0, 4)))

    def counted(self, boxes: Boxes3D) -> npt.NDArray[np.bool_]:
        """(M,) bool, whether each box lies where labels exist."""
        if self.camera is None or not len(boxes):
            return np.ones(len(boxes), np.bool_)
        camera, transform = self.camera, camera_SE3_lidar(self.camera, self.keyframe)
        pixels, depth_m = project(transform.transform(boxes.centers), camera.intrinsics)
        seen = in_image(pixels, depth_m, camera.width, camera.height)
        left, top, right, bottom = self.unlabelled.T[:, None, :]
        u, v = pixels[:, 0, None], pixels[:, 1, None]
        excused = ((u >= left) & (u <= right) & (v >= top) & (v <= bottom)).any(axis=1)
        off_m = np.linalg.norm(boxes.centers[:, None, :2] - self.truth.boxes.centers[None, :, :2], axis=2)
        excused &= ~(off_m < _MEETS_M).any(axis=1)
        counted: npt.NDArray[np.bool_] = seen & ~excused
        return counted

    def objects(self) -> GroundTruth:
        """The labelled boxes with at least one point, for matching."""
        return GroundTruth(self.truth.boxes, self.truth.num_lidar_pts, self.truth.visibility)


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class on one drive; NaN where nothing can be said.

    Attributes:
        objects, labels: numbers of labelled boxes in range, and of labels in range with a score of ``MIN_SCORE``.
        precision, recall: share of these labels that match an object within 2 m, best score first; and of the objects
            that are found.
        ap, ap_2m: average precision of nuScenes, and at 2 m alone.
        centre_m: median distance of matched centres in the ground plane, metres.
        length_m, width_m, height_m: medians of absolute differences of sizes, metres.
        longer_m, wider_m: medians of signed differences, label minus object, metres.
        above_m: median of signed differences of the centres' heights, metres.
        axis_rad: median heading error modulo half a turn, radians.
        heading_rad: mean heading error, radians.
        turned: share of the matched labels with a heading error above 90°.
        velocity_mps: mean velocity error, metres per second.
        interruptions: mean number of interruptions per object that any label finds.
        doubles: share of labels that overlap another label of their class.
        filled: share of labels without a point in a mask.
    """

    objects: int
    labels: int
    precision: float
    recall: float
    ap: float
    ap_2m: float
    centre_m: float
    length_m: float
    width_m: float
    height_m: float
    longer_m: float
    wider_m: float
    above_m: float
    axis_rad: float
    heading_rad: float
    turned: float
    velocity_mps: float
    interruptions: float
    doubles: float
    filled: float

    def document(self) -> dict[str, Any]:
        """JSON values, rounded to four digits; NaN becomes None."""
        return {
            name: value if isinstance(value, int) else (None if np.isnan(value) else round(float(value), 4))
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Labels:
    """Labels of one sample: boxes in the keyframe LiDAR's frame, and the LiDAR points that each rests on."""

    boxes: Boxes3D
    num_points: npt.NDArray[np.int64]

    def __getitem__(self, index: npt.NDArray[Any]) -> Labels:
        return Labels(self.boxes[index], self.num_points[index])


def score_labels(samples: Sequence[ScoredSample], labels: Mapping[str, Labels]) -> dict[str, ClassScore]:
    """Class name → its scores, for the classes that have objects in the samples.

    Args:
        samples: samples of one drive, in order of time.
        labels: sample token → labels, of nuScenes' classes; a token may be missing.
    """
    nothing = Labels(Boxes3D.empty(NUSCENES_CLASSES), np.zeros(0, np.int64))
    found = {s.token: labels.get(s.token, nothing) for s in samples}
    counted = {s.token: found[s.token][s.counted(found[s.token].boxes)] for s in samples}
    truth = {s.token: s.objects() for s in samples}
    matching = match_detections({t: kept.boxes for t, kept in counted.items()}, truth, DetectionConfig())
    sure = {token: one[one.boxes.scores >= MIN_SCORE] for token, one in counted.items()}
    sure_matching = match_detections({t: kept.boxes for t, kept in sure.items()}, truth, DetectionConfig())
    scores = {c.name: c for c in score(matching).present}
    return {
        name: _class_score(
            sure_matching,
            name,
            (c.mean_ap, c.average_precision[_MEETS_M]),
            samples,
            sure,
        )
        for name, c in scores.items()
    }


def _class_score(
    matching: Matching,
    name: str,
    average_precisions: tuple[float, float],
    samples: Sequence[ScoredSample],
    labels: Mapping[str, Labels],
) -> ClassScore:
    rows = matching.of_class(matching.config.class_names.index(name))
    match = matching.match[matching.config.tp_threshold][rows]
    hit = match != UNMATCHED
    boxes, objects = matching.detections.values[rows][hit], matching.objects.values[match[hit]]
    errors = match_errors(boxes, objects)
    size = boxes[:, 3:6] - objects[:, 3:6]
    turn = np.abs(wrap_angle(boxes[:, 6] - objects[:, 6]))
    num_objects = int((matching.objects.labels == matching.config.class_names.index(name)).sum())
    known = errors["AVE"][np.isfinite(errors["AVE"])]
    num_points = np.concatenate([np.zeros(0, np.int64), *(_of_class(one, name).num_points for one in labels.values())])
    return ClassScore(
        objects=num_objects,
        labels=len(match),
        precision=_ratio(hit.sum(), len(match)),
        recall=_ratio(hit.sum(), num_objects),
        ap=average_precisions[0],
        ap_2m=average_precisions[1],
        centre_m=_median(errors["ATE"]),
        length_m=_median(np.abs(size[:, 0])),
        width_m=_median(np.abs(size[:, 1])),
        height_m=_median(np.abs(size[:, 2])),
        longer_m=_median(size[:, 0]),
        wider_m=_median(size[:, 1]),
        above_m=_median(boxes[:, 2] - objects[:, 2]),
        axis_rad=_median(np.minimum(turn, np.pi - turn)),
        heading_rad=float(turn.mean()) if len(turn) else np.nan,
        turned=_ratio((turn > np.pi / 2).sum(), len(turn)),
        velocity_mps=float(known.mean()) if len(known) else np.nan,
        interruptions=_interruptions(matching, name, samples),
        doubles=doubles([_of_class(one, name).boxes for one in labels.values()]),
        filled=_ratio((num_points == 0).sum(), len(num_points)),
    )


def doubles(frames: Sequence[Boxes3D]) -> float:
    """Share of boxes that overlap another one of their frame; NaN without boxes.

    Args:
        frames: boxes of one class in each frame.
    """
    count = sum(
        int((bev_iou(boxes.values, boxes.values) - np.eye(len(boxes)) > OVERLAP).any(axis=1).sum())
        for boxes in frames
        if len(boxes)
    )
    return _ratio(count, sum(map(len, frames)))


def interruptions(found: npt.NDArray[np.bool_]) -> int:
    """How often an object is lost and found again: runs of frames in which it is found, but one.

    Args:
        found: (T,) bool, whether a label finds the object in each of its frames, in order; found at least once.
    """
    return int((np.diff(found.astype(np.int64), prepend=0) == 1).sum()) - 1


def _interruptions(matching: Matching, name: str, samples: Sequence[ScoredSample]) -> float:
    label = matching.config.class_names.index(name)
    match = matching.match[matching.config.tp_threshold]
    is_found = np.zeros(len(matching.objects), np.bool_)
    is_found[match[match != UNMATCHED]] = True
    by_object: dict[str, list[bool]] = {}
    for row in np.flatnonzero(matching.objects.labels == label):
        sample = samples[int(matching.objects.sample[row])]
        identity = sample.truth.instance_ids[int(matching.objects.index[row])]
        by_object.setdefault(identity, []).append(bool(is_found[row]))
    counts = [interruptions(np.array(frames)) for frames in by_object.values() if any(frames)]
    return float(np.mean(counts)) if counts else np.nan


def _of_class(labels: Labels, name: str) -> Labels:
    return labels[np.array([one == name for one in labels.boxes.names], np.bool_)]


def _median(values: npt.NDArray[Any]) -> float:
    return float(np.median(values)) if len(values) else np.nan


def _ratio(part: Any, total: int) -> float:
    return float(part / total) if total else np.nan
