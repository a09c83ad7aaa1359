"""Rows of the node's latencies with two models."""

from __future__ import annotations

import pytest

pytest.importorskip("lidarloop_training.toytown")

from benchmarks.sparse.node import Latency, rows

PILLARS = Latency(20.0, 30.0, 0, 200)


@pytest.mark.parametrize(
    ("voxels", "kept"),
    [
        (Latency(50.0, 75.0, 0, 200), [True, True, True, True]),
        (Latency(51.0, 75.0, 0, 200), [True, True, False, True]),
        (Latency(50.0, 76.0, 0, 200), [True, True, True, False]),
        (Latency(40.0, 60.0, 1, 200), [True, False, True, True]),
    ],
)
def test_the_models_are_compared_and_no_cloud_may_be_dropped(voxels: Latency, kept: list[bool]) -> None:
    assert [row.holds for row in rows(PILLARS, voxels) if row.holds is not None] == kept
