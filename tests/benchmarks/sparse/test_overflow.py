"""Overflow rows of a detector and a segmenter whose every table counts."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from benchmarks.sparse.overflow import rows
from lidarloop_core.model.model_file import write_model
from lidarloop_core.model.spec import ModelSpec
from tests.builders import make_spec
from tests.core.voxel_network import STREET, STREET_POINTS, voxel_network


@pytest.mark.parametrize("spec", [STREET, STREET_POINTS], ids=["detector", "segmenter"])
def test_each_level_is_thinned_in_turn_and_answered(spec: ModelSpec, tmp_path: Path) -> None:
    roomy = make_spec(spec, capacity=60_000)
    write_model(tmp_path / "model.onnx", voxel_network(roomy), roomy)
    found = list(rows(tmp_path / "model.onnx", tmp_path))
    answered, thinned = found[::2], found[1::2]
    assert len(answered) == 4
    if spec is STREET_POINTS:  # the hand-made detector needs all its voxels; that trained ones answer, the check holds
        assert all(row.holds for row in answered)
    assert thinned[0].value > 0
    assert [row.value for row in thinned[1:]] == [0, 0, 0], "below the first level voxels are thinned, not points"
