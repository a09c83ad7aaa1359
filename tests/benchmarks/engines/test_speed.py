"""The speed rows of the engines' check."""

from __future__ import annotations

import pytest

pytest.importorskip("onnxslim")
pytest.importorskip("torch")

from benchmarks.engines import speed


def test_speed_rows_compare_medians() -> None:
    runs = {speed.SHIPPED: [30.0, 31.0, 90.0], speed.TIDY: [29.0], speed.INT8: [10.0, 15.5, 16.0]}
    (row,) = speed.rows_of([{"cloud": "toy town", "cpu_ms": runs}], "stored", target=1.9)
    assert row.value == pytest.approx(2.0)
    assert "31.0 → 15.5 ms" in row.what
    assert row.holds
    (row,) = speed.rows_of([{"cloud": "toy town", "cpu_ms": runs}], "stored", target=2.1)
    assert not row.holds
