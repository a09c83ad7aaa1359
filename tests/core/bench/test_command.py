"""The benchmarks run and report; how fast is for the bench itself to say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core import cli
from lidarloop_core.bench import command as benchmark
from lidarloop_core.model.model_file import write_model
from lidarloop_core.model.spec import ModelSpec

SixBoxes = tuple[np.ndarray, np.ndarray, np.ndarray]


def test_every_way_of_decoding_gives_the_same_points() -> None:
    from lidarloop_core.io.bag import message_type
    from lidarloop_core.io.messages import cloud_message
    from lidarloop_core.pointcloud.decode import read_points

    values = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    values[3, 1] = np.nan
    columns = {name: values[:, i] for i, name in enumerate(benchmark.COLUMNS)}
    message = cloud_message(columns, 0, "lidar", message_type)
    expected = read_points(message, benchmark.COLUMNS).points
    assert len(expected) == 99
    np.testing.assert_array_equal(benchmark._per_point(message), expected)
    np.testing.assert_array_equal(benchmark._structured(message), expected)


def test_decoding_is_many_times_faster_than_a_reader_per_point() -> None:
    """Far below the true factor of several hundred, so that a busy machine does not fail it."""
    report = benchmark.measure_decode(20_000)
    assert report.times_faster["per-point struct reader: points"] > 20


def test_synthetic_sweep_looks_like_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIDARLOOP_REAL_DATA", str(tmp_path))
    points, source = benchmark._cloud(("x", "y", "z", "intensity", "dt"))
    assert source == "synthetic 32-beam sweep"
    assert points.shape == (32 * 1084, 5)
    assert np.isfinite(points).all()
    assert np.hypot(points[:, 0], points[:, 1]).min() > 1
    assert np.hypot(points[:, 0], points[:, 1]).max() < 61
    assert (points[:, 4] == 0).all()


def test_overlap(capsys: pytest.CaptureFixture[str]) -> None:
    report = benchmark.measure_overlap(10)
    assert report.measurements[0].p50_ms <= report.measurements[0].p99_ms
    benchmark._print(report)
    assert "overlap: 10 × 10" in capsys.readouterr().out


def test_inference_writes_its_figures(
    tmp_path: Path, network: Callable[..., bytes], six_boxes: SixBoxes, spec: ModelSpec
) -> None:
    write_model(tmp_path / "model.onnx", network(*six_boxes), spec)
    args = ["inference", "--model", str(tmp_path / "model.onnx"), "--json", str(tmp_path / "bench.json")]
    assert cli.main(["bench", *args]) == 0
    found = json.loads((tmp_path / "bench.json").read_text())
    assert [row["name"] for row in found["measurements"]] == ["group", "infer", "postprocess", "total"]
    assert {"command", "machine", "versions", "title"} <= found.keys()


def test_usage_errors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["bench", "inference"]) == 1
    assert "expected --model PATH" in capsys.readouterr().err
    assert cli.main(["bench", "inference", "--model", str(tmp_path / "none.onnx")]) == 1
    with pytest.raises(SystemExit):
        cli.main(["bench", "everything"])
