"""Value of a labelled frame for training: disagreement between detector and labels, rare classes, uncertain detections,
and a scene unlike those kept before."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.tracking.association import assign

_RINGS = 20
_RANGE_M = 60.0
_SECTORS = 60
_REMEMBERED = 500


@dataclass(frozen=True)
class FrameValueConfig:
    """Thresholds of the value. Every share is in [0, 1], and so is the value.

    Attributes:
        match_radius_m: largest distance between a label and a detection of one class that are the same object, metres.
        sure: score of a detection, or quality of a label, from which the other side should have the object.
        unsure: score from which a detection counts as uncertain, up to ``sure``.
        rare_share: share of all labels so far below which a class is rare.
        novelty_distance: distance of two scenes (see ``scene_key``) from which they count as different.
    """

    match_radius_m: float = 2.0
    sure: float = 0.4
    unsure: float = 0.15
    rare_share: float = 0.02
    novelty_distance: float = 0.25


@dataclass(frozen=True)
class FrameValue:
    """Value of a frame, with its reasons.

    Attributes:
        value: the largest of the four shares, in [0, 1].
        reasons: one line for each share above one half, largest first.
    """

    value: float
    reasons: tuple[str, ...]


class FrameValueRater:
    """Rates frames in their order; counts classes and remembers the scenes that were kept."""

    def __init__(self, config: FrameValueConfig | None = None) -> None:
        self.config = config or FrameValueConfig()
        self._counts: Counter[str] = Counter()
        self._kept: deque[npt.NDArray[np.float32]] = deque(maxlen=_REMEMBERED)

    def rate(
        self,
        labels: Boxes3D,
        quality: npt.NDArray[np.float32],
        detections: Boxes3D | None,
        points: npt.NDArray[np.float32],
    ) -> FrameValue:
        """Rates a frame.

        Args:
            labels: N pseudo-labels, LiDAR's frame.
            quality: (N,) qualities of the labels, in [0, 1].
            detections: detections in the same cloud and frame; None without a detector.
            points: (M, ≥3) the cloud, metres, LiDAR's frame.
        """
        shares = {self._rarity(labels), self._novelty(scene_key(points))}
        if detections is not None:
            shares |= {self._disagreement(labels, quality, detections), self._hesitation(detections)}
        self._counts.update(labels.names)
        ranked = sorted(shares, reverse=True)
        return FrameValue(ranked[0][0], tuple(reason for share, reason in ranked if share > 0.5))

    def remember(self, points: npt.NDArray[np.float32]) -> None:
        """Takes the cloud (M, ≥3), metres, of each frame that was kept: similar scenes are then no longer novel."""
        self._kept.append(scene_key(points))

    def _disagreement(
        self, labels: Boxes3D, quality: npt.NDArray[np.float32], detections: Boxes3D
    ) -> tuple[float, str]:
        """Share of the certain objects of either side that the other side lacks."""
        near = self.config.match_radius_m
        missed = _unmatched(labels[quality >= self.config.sure], detections, near)
        invented = _unmatched(detections[detections.scores >= self.config.sure], labels, near)
        num_sure = int((quality >= self.config.sure).sum() + (detections.scores >= self.config.sure).sum())
        # One object of two is no evidence yet: small numbers are drawn towards agreement.
        share = (missed + invented) / (num_sure + 2)
        return share, f"disagreement: {missed} labels without a detection, {invented} detections without a label"

    def _hesitation(self, detections: Boxes3D) -> tuple[float, str]:
        unsure = (detections.scores >= self.config.unsure) & (detections.scores < self.config.sure)
        considered = int((detections.scores >= self.config.unsure).sum())
        return int(unsure.sum()) / (considered + 2), f"low confidence: {int(unsure.sum())} of {considered} detections"

    def _rarity(self, labels: Boxes3D) -> tuple[float, str]:
        total = sum(self._counts.values())
        rarity = {
            name: max(0.0, 1 - self._counts[name] / total / self.config.rare_share) if total else 0.0
            for name in labels.names
        }
        if not rarity:
            return 0.0, "no label"
        name = max(sorted(rarity), key=lambda name: rarity[name])
        return rarity[name], f"rare class: {name}, {self._counts[name]} of {total} labels so far"

    def _novelty(self, key: npt.NDArray[np.float32]) -> tuple[float, str]:
        if not self._kept:
            return 1.0, "novel scene: the first"
        nearest = float(np.abs(np.stack(self._kept) - key).mean(axis=1).min())
        share = min(1.0, nearest / self.config.novelty_distance)
        return share, f"novel scene: {nearest:.2f} from the nearest kept"


def _unmatched(boxes: Boxes3D, others: Boxes3D, near_m: float) -> int:
    """Number of boxes without another one of their class near them, one to one."""
    names, other_names = np.array(boxes.names, object), np.array(others.names, object)
    distance = np.linalg.norm(boxes.centers[:, None, :2] - others.centers[None, :, :2], axis=2).astype(np.float64)
    rows, _ = assign(distance, (distance < near_m) & (names[:, None] == other_names[None, :]))
    return len(boxes) - len(rows)


def scene_key(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(20,) share of occupied sectors in each ring around the sensor, from points (M, ≥3) in metres: a descriptor of a
    place that does not depend on the heading.

    The ring key of Scan Context (Kim and Kim, IROS 2018, section III-C), of points more than half a metre above the
    lowest percentiles, so that the ground itself does not count.
    """
    if not len(points):
        return np.zeros(_RINGS, np.float32)
    raised = points[points[:, 2] > np.percentile(points[:, 2], 5) + 0.5]
    ring = (np.hypot(raised[:, 0], raised[:, 1]) / _RANGE_M * _RINGS).astype(np.int64)
    sector = ((np.arctan2(raised[:, 1], raised[:, 0]) / (2 * np.pi) + 0.5) * _SECTORS).astype(np.int64) % _SECTORS
    occupied = np.zeros((_RINGS, _SECTORS), np.bool_)
    occupied[ring[ring < _RINGS], sector[ring < _RINGS]] = True
    key: npt.NDArray[np.float32] = occupied.mean(axis=1).astype(np.float32)
    return key
