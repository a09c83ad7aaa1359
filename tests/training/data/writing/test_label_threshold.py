from __future__ import annotations

import numpy as np
import pytest

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.labelling.pseudo_labels import PseudoLabels
from lidarloop_training.data.writing.label_threshold import fitting_score


def labels(scores: list[float], quality: list[float]) -> PseudoLabels:
    n = len(scores)
    boxes = Boxes3D(np.ones((n, 9), np.float32), np.array(scores, np.float32), np.zeros(n, np.int64), ("car",))
    return PseudoLabels(boxes, np.array(quality), np.ones(n), ((),) * n, ("none",) * n)


def test_as_many_labels_reach_the_score_as_their_quality_adds_up_to() -> None:
    frames = [labels([0.03, 0.01, 0.08], [0.9, 0.1, 0.9]), labels([0.05, 0.02], [0.9, 0.2])]
    score = fitting_score(frames)
    assert score == pytest.approx(0.03)
    assert sum(int((frame.boxes.scores >= score).sum()) for frame in frames) == 3


def test_the_best_label_is_always_shown_and_none_give_zero() -> None:
    assert fitting_score([labels([0.03, 0.02], [0.0, 0.0])]) == pytest.approx(0.03)
    assert fitting_score([]) == 0.0
