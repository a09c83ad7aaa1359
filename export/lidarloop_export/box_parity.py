"""Do two ways of running a model find the same boxes? Deviations of matched boxes, what is unmatched, and mAP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from lidarloop_core.geometry.boxes import Boxes3D, wrap_angle
from lidarloop_export.limits import drop

MATCH_DISTANCE_M = 2.0
"""Boxes of a class further apart are not the same object; nuScenes' distance for true-positive errors."""

_CONFIDENT = 0.3
"""Boxes near the detector's threshold come and go with the last digit; from here on one that is missing counts."""


@dataclass(frozen=True)
class Limits:
    """Largest deviations allowed; quantiles are taken over matched boxes.

    Attributes:
        center_p99_cm: distance of matched centres in the ground plane, 99th percentile, centimetres.
        yaw_p99_deg: difference of their headings, 99th percentile, degrees.
        score_p99: difference of their scores, 99th percentile.
        unmatched_percent: confident boxes of either side without a partner.
        map_drop: in points of 100; not checked without labels.
    """

    center_p99_cm: float
    yaw_p99_deg: float
    score_p99: float
    unmatched_percent: float
    map_drop: float


LIMITS = {
    "fp32": Limits(center_p99_cm=0.1, yaw_p99_deg=0.1, score_p99=0.001, unmatched_percent=0.1, map_drop=0.1),
    "fp16": Limits(center_p99_cm=2.0, yaw_p99_deg=2.0, score_p99=0.01, unmatched_percent=0.5, map_drop=0.2),
    "int8": Limits(center_p99_cm=100.0, yaw_p99_deg=180.0, score_p99=0.2, unmatched_percent=6.0, map_drop=0.5),
}
"""By precision. int8 is judged by mAP: of an object with two peaks it may take the other one, a metre away, and the
headings of pedestrians, uncertain even in float32, flip."""


@dataclass(frozen=True)
class Deviations:
    """How far one way's boxes are from the other's, over all clouds.

    Attributes:
        num_boxes: confident boxes of the reference.
        center_p50_cm, center_p99_cm: distance of matched centres in the ground plane, of confident boxes.
        yaw_p50_deg, yaw_p99_deg: difference of their headings.
        score_p50, score_p99: difference of their scores.
        unmatched_percent: confident boxes of either side without a partner.
        map_before, map_after: nuScenes mAP in percent; None without labels.
    """

    num_boxes: int
    center_p50_cm: float
    center_p99_cm: float
    yaw_p50_deg: float
    yaw_p99_deg: float
    score_p50: float
    score_p99: float
    unmatched_percent: float
    map_before: float | None
    map_after: float | None

    @property
    def map_drop(self) -> float | None:
        """In points of 100; negative where the other way is better."""
        return drop(self.map_before, self.map_after)


def deviations(
    reference: Sequence[Boxes3D],
    found: Sequence[Boxes3D],
    map_before: float | None = None,
    map_after: float | None = None,
) -> Deviations:
    """Compares two ways' boxes of the same clouds; mAP, as a share, is passed through."""
    rows, num_reference, num_found, num_unmatched = [np.zeros((0, 3))], 0, 0, 0
    for a, b in zip(reference, found, strict=True):
        pairs = _match(a, b)
        rows.append(_differences(a, b, pairs))
        for boxes, matched in ((a, pairs[:, 0]), (b, pairs[:, 1])):
            is_alone = np.ones(len(boxes), np.bool_)
            is_alone[matched] = False
            num_unmatched += int(np.count_nonzero(is_alone & (boxes.scores >= _CONFIDENT)))
        num_reference += int(np.count_nonzero(a.scores >= _CONFIDENT))
        num_found += int(np.count_nonzero(b.scores >= _CONFIDENT))
    values = np.concatenate(rows)
    p50, p99 = np.percentile(values, [50, 99], axis=0) if len(values) else np.zeros((2, 3))
    return Deviations(
        num_boxes=num_reference,
        center_p50_cm=float(p50[0]),
        center_p99_cm=float(p99[0]),
        yaw_p50_deg=float(p50[1]),
        yaw_p99_deg=float(p99[1]),
        score_p50=float(p50[2]),
        score_p99=float(p99[2]),
        unmatched_percent=100 * num_unmatched / max(1, num_reference + num_found),
        map_before=None if map_before is None else 100 * map_before,
        map_after=None if map_after is None else 100 * map_after,
    )


def _match(a: Boxes3D, b: Boxes3D) -> npt.NDArray[np.int64]:
    """(M, 2) pairs of the same class, at least total distance, none above ``MATCH_DISTANCE_M``."""
    distance = np.linalg.norm(a.values[:, None, :2] - b.values[None, :, :2], axis=2)
    is_possible = (distance <= MATCH_DISTANCE_M) & (a.labels[:, None] == b.labels[None, :])
    rows, columns = linear_sum_assignment(np.where(is_possible, distance, 1e3 * MATCH_DISTANCE_M))
    pairs: npt.NDArray[np.int64] = np.stack([rows, columns], axis=1)
    kept: npt.NDArray[np.int64] = pairs[is_possible[rows, columns]]
    return kept


def _differences(a: Boxes3D, b: Boxes3D, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(M, 3): centre in cm, yaw in degrees, score; of pairs in which the reference is confident."""
    confident = pairs[a.scores[pairs[:, 0]] >= _CONFIDENT]
    first, second = a[confident[:, 0]], b[confident[:, 1]]
    center_cm: npt.NDArray[np.float64] = 100 * np.linalg.norm(first.values[:, :2] - second.values[:, :2], axis=1)
    yaw_deg = np.rad2deg(np.abs(wrap_angle(first.values[:, 6].astype(np.float64) - second.values[:, 6])))
    rows: npt.NDArray[np.float64] = np.stack([center_cm, yaw_deg, np.abs(first.scores - second.scores)], axis=1)
    return rows
