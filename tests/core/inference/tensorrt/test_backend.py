from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidarloop_core.errors import BackendError, ModelFileError
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.tensorrt.backend import TensorRtBackend
from lidarloop_core.inference.tensorrt.cache import EngineCache
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grouping import group_pillars

pytest.importorskip("onnxruntime")

from tests.core.inference.tensorrt.fake_tensorrt import FakeRuntime, make_trt


@pytest.fixture(scope="module")
def model(repository: Path) -> Path:
    return repository / "models/pillar-toytown.onnx"


def cloud(num_points: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).uniform(-50, 50, (num_points, 5)).astype(np.float32)
    points[:, 2] = points[:, 2] % 8 - 5
    points[:, 3:] = np.abs(points[:, 3:])
    return points


def inputs(points: np.ndarray, spec: ModelSpec) -> dict[str, np.ndarray]:
    return dict(group_pillars(points, spec.pillars).tensors())


def open_on(runtime: FakeRuntime, model: Path, folder: Path, trt: Any = None, **options: Any) -> TensorRtBackend:
    cache = EngineCache(folder)
    return TensorRtBackend(model, cache=cache, trt=trt or make_trt(runtime), runtime=runtime, **options)


def test_the_same_boxes_as_onnxruntime_bit_by_bit(model: Path, tmp_path: Path) -> None:
    """Plain, captured and launched runs, of several buckets in turn."""
    runtime = FakeRuntime()
    backend, reference = open_on(runtime, model, tmp_path), open_backend(model, num_threads=1)
    assert backend.spec == reference.spec
    assert backend.model_sha256 == reference.model_sha256
    assert backend.device == "tensorrt 10.3.0 fp32 Stand-in sm_87"
    for num_points, seed in ((1500, 0), (3000, 1), (1490, 2), (2990, 3), (1500, 4)):
        given = inputs(cloud(num_points, seed), backend.spec)
        expected, found = reference.infer(given), backend.infer(given)
        assert list(found) == ["boxes", "scores", "labels"]
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, strict=True)
    assert runtime.num_launches == 3  # each bucket's first run is plain


def test_results_are_not_written_over_by_the_next_run(model: Path, tmp_path: Path) -> None:
    backend = open_on(FakeRuntime(), model, tmp_path)
    first = backend.infer(inputs(cloud(800, 1), backend.spec))
    kept = {name: value.copy() for name, value in first.items()}
    backend.infer(inputs(cloud(800, 2), backend.spec))
    for name, value in kept.items():
        np.testing.assert_array_equal(first[name], value)


def test_one_copy_each_way_and_one_launch(model: Path, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    backend = open_on(runtime, model, tmp_path)
    given = inputs(cloud(800), backend.spec)
    for _ in range(2):
        backend.infer(given)
    runtime.log.clear()
    backend.infer(given)
    assert [name for name, _ in runtime.log] == ["cudaGraphLaunch", "cudaStreamSynchronize"]


def test_the_detector_runs_on_it(model: Path, tmp_path: Path) -> None:
    detector = Detector(open_on(FakeRuntime(), model, tmp_path))
    points = cloud(5000)
    expected = Detector(open_backend(model, num_threads=1)).detect(points).boxes
    found = detector.detect(points).boxes
    np.testing.assert_array_equal(found.values, expected.values)


def test_the_engine_is_built_once(model: Path, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    trt = make_trt(runtime)
    progress: list[tuple[str, float]] = []
    for _ in range(2):
        open_on(runtime, model, tmp_path, trt, on_progress=lambda *step: progress.append(step))
    assert trt.num_builds == 1
    assert progress == [("Building", 0.0), ("Building", 0.5), ("Building", 1.0)]
    for other in (make_trt(runtime, "11.4.0"), make_trt(FakeRuntime(name="Orin"))):
        open_on(runtime if other.__version__ == "11.4.0" else FakeRuntime(name="Orin"), model, tmp_path, other)
        assert other.num_builds == 1


def test_an_engine_that_the_runtime_refuses_is_rebuilt_once(model: Path, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    open_on(runtime, model, tmp_path)
    trt = make_trt(runtime)
    trt.refuses = 1
    open_on(runtime, model, tmp_path, trt)
    assert trt.num_builds == 1
    trt.refuses = 99
    with pytest.raises(BackendError, match="refuses the engine that it has just built"):
        open_on(runtime, model, tmp_path, trt)


def test_without_memory_for_all_half_of_the_pillars_is_tried(model: Path, tmp_path: Path) -> None:
    full = FakeRuntime()
    needed = open_on(full, model, tmp_path).memory_bytes
    runtime = FakeRuntime(num_bytes=int(needed * 0.7))
    backend = open_on(runtime, model, tmp_path)
    assert backend.spec.pillars.max_pillars == 8000
    assert runtime.used == backend.memory_bytes <= needed * 0.6  # what was tried first is freed
    found = Detector(backend).detect(cloud(60_000))
    (overfull,) = found.overfull
    assert int(overfull.split()[0]) > 8000
    assert found.num_thinned > 0


def test_without_memory_for_half_an_error_names_what_is_free(model: Path, tmp_path: Path) -> None:
    runtime = FakeRuntime(num_bytes=1 << 20)
    with pytest.raises(BackendError, match=r"needs more memory than Stand-in sm_87 has left \(1 of 1 MiB\)"):
        open_on(runtime, model, tmp_path)
    assert runtime.used == 0


def test_memory_is_freed_with_the_backend(model: Path, tmp_path: Path) -> None:
    runtime = FakeRuntime()
    backend = open_on(runtime, model, tmp_path)
    backend.infer(inputs(cloud(100), backend.spec))
    assert runtime.used == backend.memory_bytes > 0
    del backend
    import gc

    gc.collect()
    assert runtime.memory == {}


def test_more_buckets_than_are_kept(model: Path, tmp_path: Path) -> None:
    backend = open_on(FakeRuntime(), model, tmp_path)
    for number in range(1, 15):
        backend.infer(inputs(cloud(number * 300), backend.spec))
    assert len(backend._prepared) == 12


def test_times_of_the_steps(model: Path, tmp_path: Path) -> None:
    backend = open_on(FakeRuntime(), model, tmp_path)
    outputs, step_ms = backend.infer_timed(inputs(cloud(500), backend.spec))
    assert list(step_ms) == ["copy_in", "network", "copy_out"]
    assert step_ms["network"] > step_ms["copy_out"] >= 0
    np.testing.assert_array_equal(outputs["boxes"], backend.infer(inputs(cloud(500), backend.spec))["boxes"])


def test_a_failing_kernel_is_a_backend_error(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = FakeRuntime()
    backend = open_on(runtime, model, tmp_path)
    monkeypatch.setattr(FakeRuntime, "cudaStreamSynchronize", lambda self, stream: (719,))
    with pytest.raises(BackendError, match="cudaStreamSynchronize failed: cudaErrorLaunchFailure"):
        backend.infer(inputs(cloud(100), backend.spec))


def test_more_points_than_the_engine_takes_are_refused(model: Path, tmp_path: Path) -> None:
    backend = open_on(FakeRuntime(), model, tmp_path)
    empty = np.zeros(0, np.int64)
    with pytest.raises(BackendError, match="received 0 points, 0 pillars; expected at least 1 of each"):
        backend.infer({"points": np.zeros((0, 5), np.float32), "slot": empty, "cell": empty, "count": empty})


def test_a_parser_that_refuses_is_quoted(model: Path) -> None:
    from lidarloop_core.inference.tensorrt.builder import EngineError, build_engine
    from lidarloop_core.model.model_file import read_model

    with pytest.raises(EngineError, match="refuses the model: this is no ONNX model"):
        build_engine(make_trt(FakeRuntime()), b"junk", read_model(model).spec)


def test_a_corrupt_model_is_refused_before_anything_is_built(model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "model.onnx"
    shutil.copy(model, broken)
    data = bytearray(broken.read_bytes())
    data[1000] ^= 1
    broken.write_bytes(bytes(data))
    trt = make_trt(FakeRuntime())
    with pytest.raises(ModelFileError, match="corrupt"):
        open_on(FakeRuntime(), broken, tmp_path / "cache", trt)
    assert trt.num_builds == 0


def test_what_is_missing_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import SimpleNamespace

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(BackendError, match=r"TensorRT cannot be imported .*JetPack 6"):
        TensorRtBackend(model)
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="8.6.2"))
    with pytest.raises(BackendError, match=r"TensorRT 8\.6\.2 is installed; expected 10 or later"):
        TensorRtBackend(model)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendError, match=r"CUDA's Python bindings cannot be imported .*cuda-python"):
        TensorRtBackend(model, trt=make_trt(FakeRuntime()))
