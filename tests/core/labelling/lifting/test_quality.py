"""How far labels can be trusted."""

from __future__ import annotations

import numpy as np
import pytest

from lidarloop_core.labelling.lifting.quality import evidence, quality_of
from lidarloop_core.labelling.points.accumulate import Cloud
from lidarloop_core.labelling.points.segments import Segment

SIZES = np.array([[4.0, 3.0, 1.5]])  # a footprint 5 m across


def evidence_of(points: list[list[float]], ages: list[int]) -> float:
    cloud = Cloud(np.array(points, np.float32), np.array(ages, np.int8), np.zeros(len(points), np.bool_))
    return float(evidence([Segment(0, 1.0, ("FRONT",), np.arange(len(points)))], cloud, SIZES)[0])


def test_evidence_grows_with_what_the_points_span() -> None:
    speck = evidence_of([[10, 0, 0]], [0])
    half = evidence_of([[10, 0, 0], [12, 1.5, 0]], [0, 0])
    assert 0 < speck < half < 1
    assert half == pytest.approx((speck + 1) / 2)
    assert evidence_of([[10, 0, 0], [14, 3, 0]], [0, 0]) == pytest.approx(1)
    assert evidence_of([[10, 0, 0], [40, 3, 0]], [0, 0]) == pytest.approx(1)


def test_what_is_there_no_longer_counts_less() -> None:
    points = [[10.0, 0, 0], [14, 3, 0]]
    assert evidence_of(points, [1, 2]) < evidence_of(points, [0, 2]) == pytest.approx(1)


def test_quality_grows_with_each_and_stays_within_bounds() -> None:
    def quality(score: float, cameras: int, borne_out: float, confidence: float) -> float:
        return float(
            quality_of(np.array([score]), np.array([cameras]), np.array([borne_out]), np.array([confidence]))[0]
        )

    base = quality(0.5, 1, 0.5, 0.5)
    assert base < min(quality(0.6, 1, 0.5, 0.5), quality(0.5, 2, 0.5, 0.5), quality(0.5, 1, 0.6, 0.5))
    assert base < quality(0.5, 1, 0.5, 0.6)
    assert quality(1, 6, 1, 1) == 1
    assert quality(0, 1, 1, 1) == 0
