from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.bench import model as benchmark_model
from lidarloop_core.bench.model import GivenRates, Runs, bench_model, measure, parse_sizes, synthetic_cloud
from lidarloop_core.bench.roofline import Cost, Rates, network_cost, rates_of, roofline_ms
from lidarloop_core.errors import ConfigError
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.inference.tensorrt.backend import TensorRtBackend
from lidarloop_core.inference.tensorrt.cache import EngineCache
from lidarloop_core.model.model_file import read_model, write_model
from tests.builders import VOXEL_SEGMENTER, by_intensity_onnx
from tests.core.inference.tensorrt.fake_tensorrt import FakeRuntime, make_trt

pytest.importorskip("onnx")


@pytest.fixture
def model(repository: Path) -> Path:
    return repository / "models/pillar-toytown.onnx"


def test_sizes() -> None:
    assert parse_sizes("30k, 1.5K,700") == [30_000, 1500, 700]
    for text in ("", "many", "0", "3k,-1"):
        with pytest.raises(ConfigError, match="expected sizes such as"):
            parse_sizes(text)


def test_roofline_is_the_slower_of_arithmetic_and_memory() -> None:
    cost = Cost(flops=2 * 10**12, num_bytes=10**9)
    assert roofline_ms(cost, Rates({"fp16": 1000.0}, 1000.0), "fp16") == pytest.approx(2.0)
    assert roofline_ms(cost, Rates({"fp16": 1000.0}, 100.0), "fp16") == pytest.approx(10.0)


def test_devices_are_known_by_name() -> None:
    assert rates_of("tensorrt 10.3 fp16 NVIDIA H200 sm_90") == rates_of("NVIDIA-H200") != None  # noqa: E711
    assert rates_of("tensorrt 10.3 fp16 NVIDIA L40S sm_89") is None
    assert rates_of("onnxruntime 1.31.1 CPUExecutionProvider") is None


def test_work_of_the_shipped_network_in_closed_form(model: Path) -> None:
    """Its layers, by hand: channels in × out × kernel × places."""
    num_points = 1000
    macs = num_points * 10 * 32
    for channels_in, channels, depth, side in ((32, 32, 2, 128), (32, 64, 3, 64), (64, 128, 4, 32)):
        macs += (channels_in + depth * channels) * channels * 9 * side**2
    for channels, kernel, side in ((32, 1, 128), (64, 4, 64), (128, 16, 32)):
        macs += channels * 64 * kernel * side**2
    macs += 2 * 64 * 64 * 9 * 128**2 + 2 * 64 * 10 * 128**2
    file = read_model(model)
    shapes = {t.name: t.shape_at({"num_points": num_points, "num_pillars": 100}) for t in file.spec.inputs}
    assert network_cost(file.onnx_bytes, shapes).flops == 2 * macs


def test_synthetic_cloud_is_in_range(model: Path) -> None:
    spec = read_model(model).spec
    points = synthetic_cloud(spec, 5000)
    for axis, (low, high) in enumerate(spec.grid.ranges_m):
        assert (points[:, axis] >= low).all()
        assert (points[:, axis] < high).all()


def test_the_command_prints_and_writes_every_stage(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"
    runs, rates = Runs(warmup=1, repeat=3), GivenRates(tflops=1.0, gbps=10.0)
    bench_model(model, points="500,2k", runs=runs, num_threads=1, rates=rates, json=out)
    rows = json.loads(out.read_text())["rows"]
    assert [row["num_points"] for row in rows] == [500, 2000]
    for row in rows:
        assert list(row["stages"]) == ["group", "infer", "postprocess", "total"]
        assert row["stages"]["total"]["p50_ms"] >= row["stages"]["infer"]["p50_ms"] > 0
        assert row["roofline_ms"] > 1
        assert row["times_roofline"] == pytest.approx(row["stages"]["infer"]["p50_ms"] / row["roofline_ms"])
    printed = capsys.readouterr().out
    assert "roofline of the network" in printed
    with pytest.raises(ConfigError, match="both or neither"):
        bench_model(model, rates=GivenRates(tflops=1.0))


def test_copies_are_separated_where_the_backend_can(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = FakeRuntime(name="NVIDIA H200", major=9, minor=0)
    backend = TensorRtBackend(model, cache=EngineCache(tmp_path), trt=make_trt(runtime), runtime=runtime)
    joules = iter([5.0, 8.0])
    monkeypatch.setattr(benchmark_model, "gpu_joules", lambda: next(joules))
    points, rates = synthetic_cloud(backend.spec, 700), rates_of(backend.device)
    row = measure(backend, model, points, rates, Runs(warmup=1, repeat=3))
    assert list(row.stages) == ["group", "copy_in", "network", "copy_out", "postprocess", "total"]
    assert row.joules_per_cloud == 1.0
    assert row.roofline_ms is not None
    assert np.isfinite(row.times_roofline)


def test_a_segmenter_is_measured_stage_by_stage(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "segmenter.onnx"
    write_model(path, by_intensity_onnx(VOXEL_SEGMENTER), VOXEL_SEGMENTER)
    cloud = synthetic_cloud(VOXEL_SEGMENTER, 500)
    times = measure(open_backend(path), path, cloud, None, Runs(warmup=1, repeat=3))
    assert list(times.stages) == ["group", "infer", "postprocess", "total"]
    assert times.num_points == 500
    assert 0 < times.num_cells <= 500
