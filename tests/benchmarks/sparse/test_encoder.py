"""The exported encoder of ``voxel-nuscenes`` against the same encoder in spconv."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("torch")

from benchmarks.sparse.encoder import compare


@pytest.mark.skipif(find_spec("spconv") is None, reason="spconv is not installed")
def test_both_give_the_same_rows() -> None:
    points = np.random.default_rng(0).normal(0, (4, 4, 0.5, 30, 0.1), (3000, 5)).astype(np.float32)
    found = compare(points, repeats=1)
    assert found is not None
    assert found.difference < 1e-5
    assert found.spconv_layers_ms > 0
    assert found.graph_ms > 0
