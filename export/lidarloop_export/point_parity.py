"""Do two ways of running a segmenter label points alike? Labels that differ, scores, and mIoU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.inference.segmenter import NO_LABEL, PointLabels
from lidarloop_export.limits import drop

_CONFIDENT = 0.5
"""Above one half a score has no equal among the other classes: a label that differs there is another answer."""


@dataclass(frozen=True)
class PointLimits:
    """Largest deviations allowed.

    Attributes:
        differing_percent: confident points of the reference with another label.
        score_p99: difference of the scores, 99th percentile.
        miou_drop: in points of 100; not checked without labels.
    """

    differing_percent: float
    score_p99: float
    miou_drop: float


POINT_LIMITS = {
    "fp32": PointLimits(differing_percent=0.01, score_p99=0.001, miou_drop=0.1),
    "fp16": PointLimits(differing_percent=0.5, score_p99=0.02, miou_drop=0.2),
}
"""By precision."""


@dataclass(frozen=True)
class PointDeviations:
    """How far one way's labels are from the other's, over all clouds.

    Attributes:
        num_points: confident points of the reference.
        differing_percent: confident points of the reference with another label.
        score_p50, score_p99: difference of the scores of points that both label.
        miou_before, miou_after: mIoU over the classes that occur, in percent; None without labels.
    """

    num_points: int
    differing_percent: float
    score_p50: float
    score_p99: float
    miou_before: float | None
    miou_after: float | None

    @property
    def miou_drop(self) -> float | None:
        """In points of 100; negative where the other way is better."""
        return drop(self.miou_before, self.miou_after)


def point_deviations(
    reference: Sequence[PointLabels],
    found: Sequence[PointLabels],
    miou_before: float | None = None,
    miou_after: float | None = None,
) -> PointDeviations:
    """Compares two ways' labels of the same clouds; mIoU, as a share, is passed through."""
    labels, scores = _joined(reference)
    theirs, their_scores = _joined(found)
    confident = (labels != NO_LABEL) & (scores > _CONFIDENT)
    both = (labels != NO_LABEL) & (theirs != NO_LABEL)
    apart = np.abs(scores.astype(np.float64) - their_scores)[both]
    p50, p99 = np.percentile(apart, [50, 99]) if len(apart) else (0.0, 0.0)
    num_points = int(np.count_nonzero(confident))
    return PointDeviations(
        num_points=num_points,
        differing_percent=100 * np.count_nonzero(labels[confident] != theirs[confident]) / max(1, num_points),
        score_p50=float(p50),
        score_p99=float(p99),
        miou_before=None if miou_before is None else 100 * miou_before,
        miou_after=None if miou_after is None else 100 * miou_after,
    )


def _joined(answers: Sequence[PointLabels]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """(N,) labels and scores of the points of all clouds."""
    return np.concatenate([a.labels for a in answers]), np.concatenate([a.scores for a in answers])
