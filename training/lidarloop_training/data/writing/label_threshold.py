"""The score from which pseudo-labels are worth looking at.

Scores of pseudo-labels are those of 2D detections times the support of the points: their median may be 0.03, and a
detector's usual threshold of 0.3 would hide most of them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lidarloop_core.labelling.pseudo_labels import PseudoLabels


def fitting_score(labels: Iterable[PseudoLabels]) -> float:
    """The score that as many labels reach as are right by their quality, which is each label's trust in [0, 1]; 0
    where there is no label."""
    found = list(labels)
    scores = np.concatenate([np.zeros(0), *(each.boxes.scores for each in found)])
    num_right = round(float(sum(each.quality.sum() for each in found)))
    if not len(scores):
        return 0.0
    return float(np.sort(scores)[::-1][max(min(num_right, len(scores)) - 1, 0)])
