"""Overflow rows of the shipped detector and of a segmenter whose every table counts."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from benchmarks.sparse.overflow import rows
from benchmarks.sparse.shipped import VOXELS
from lidarloop_core.model.model_file import write_model
from tests.builders import make_spec
from tests.core.voxel_network import STREET_POINTS, voxel_network


@pytest.fixture(params=["detector", "segmenter"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "detector":
        return VOXELS
    roomy = make_spec(STREET_POINTS, capacity=60_000)
    write_model(tmp_path / "model.onnx", voxel_network(roomy), roomy)
    return tmp_path / "model.onnx"


def test_each_level_is_thinned_in_turn_and_answered(model: Path, tmp_path: Path) -> None:
    found = list(rows(model, tmp_path))
    answered, thinned = found[::2], found[1::2]
    assert len(answered) == 4
    assert all(row.holds for row in answered)
    assert thinned[0].value > 0
    assert [row.value for row in thinned[1:]] == [0, 0, 0], "below the first level voxels are thinned, not points"
