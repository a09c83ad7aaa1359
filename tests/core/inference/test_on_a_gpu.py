"""What needs a real GPU, and for the engine a real TensorRT; skipped with a reason where there is none."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.errors import BackendError
from lidarloop_core.gpu.cuda import Cuda, import_runtime
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.inference.detector import Detections
from lidarloop_core.inference.gpu_pipeline import GpuPipeline
from lidarloop_core.inference.host_pipeline import HostPipeline
from lidarloop_core.inference.model_on import model_on
from lidarloop_core.inference.postprocess import Postprocessing
from lidarloop_core.inference.tensorrt.backend import TensorRtBackend, import_tensorrt
from lidarloop_core.inference.tensorrt.cache import EngineCache
from lidarloop_core.model.group import group_cloud
from lidarloop_core.model.model_file import write_model
from tests.core.gpu.sweep_drives import drive

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cuda() -> Cuda:
    try:
        return Cuda(import_runtime())
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=["pillars", "STREET", "STREET_POINTS"])
def model(request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "pillars":
        return repository / "models/pillar-toytown.onnx"
    pytest.importorskip("onnx", reason="onnx is not installed")
    from tests.core import voxel_network

    path = tmp_path_factory.mktemp("voxels") / "voxels.onnx"
    spec = getattr(voxel_network, request.param)
    write_model(path, voxel_network.voxel_network(spec), spec)
    return path


@pytest.fixture(scope="module")
def backend(cuda: Cuda, model: Path, tmp_path_factory: pytest.TempPathFactory) -> TensorRtBackend:
    try:
        trt = import_tensorrt()
    except BackendError as error:
        pytest.skip(str(error))
    return TensorRtBackend(model, cache=EngineCache(tmp_path_factory.mktemp("engines"), print), trt=trt)


def cloud(num_points: int, seed: int) -> np.ndarray:
    low, high = (-50, -50, -4, 0, 0), (50, 50, 2, 255, 0.01)
    return np.random.default_rng(seed).uniform(low, high, (num_points, 5)).astype(np.float32)


def test_memory_copies_and_graphs(cuda: Cuda) -> None:
    host, back, device = cuda.allocate_pinned(1 << 20), cuda.allocate_pinned(1 << 20), cuda.allocate(1 << 20)

    def there_and_back() -> None:
        cuda.copy_to_device(device.address, host.address, 1 << 20)
        cuda.copy_to_host(back.address, device.address, 1 << 20)

    graph = cuda.capture(there_and_back)
    for seed in range(3):
        host.bytes[:] = np.random.default_rng(seed).integers(0, 256, 1 << 20, np.uint8)
        graph.launch()
        cuda.synchronize()
        np.testing.assert_array_equal(back.bytes, host.bytes)


def test_the_engine_finds_what_onnxruntime_finds(backend: TensorRtBackend, model: Path) -> None:
    """Plain, captured and launched; TensorRT may use TF32, hence the tolerance."""
    reference = open_backend(model)
    for num_points, seed in ((3000, 0), (40_000, 1), (3000, 2), (3000, 3)):
        inputs = group_cloud(cloud(num_points, seed), reference.spec).tensors()
        expected, found = reference.infer(inputs), backend.infer(inputs)
        np.testing.assert_allclose(np.sort(found["scores"]), np.sort(expected["scores"]), atol=0.02)


def test_sweeps_on_the_gpu_find_what_they_find_on_the_host(backend: TensorRtBackend) -> None:
    """Opened by one thread and used by another, as in the node."""
    loaded = model_on(backend, Postprocessing.by_class(backend.spec.class_names, 0.02, 0.2))
    on_gpu, host = GpuPipeline(loaded, 4500), HostPipeline(loaded, 4500)
    on_gpu.warm_up()
    history = drive([0, 1, 2, 3, 5, 6])
    history[4] = dataclasses.replace(history[4], world_SE3_ego=None)
    with ThreadPoolExecutor(1) as another_thread:
        for sweep in history:
            found, expected = another_thread.submit(on_gpu.answer, sweep).result(), host.answer(sweep)
            assert (found.num_sweeps, found.num_points) == (expected.num_sweeps, expected.num_points)
            for name in ("num_points", "num_out_of_range", "num_over_full", "num_thinned", "overfull"):
                assert getattr(found.found, name) == getattr(expected.found, name), name
            scores, same = (
                answer.found.boxes.scores if isinstance(answer.found, Detections) else answer.found.scores
                for answer in (found, expected)
            )
            np.testing.assert_allclose(scores, same, atol=1e-3)
    free, _ = backend.cuda.free_and_total_bytes()
    on_gpu.close()
    assert backend.cuda.free_and_total_bytes()[0] > free


def test_onnxruntime_on_cuda_finds_the_same(cuda: Cuda, model: Path) -> None:
    try:
        on_cuda = open_backend(model, providers=("CUDAExecutionProvider",))
    except BackendError as error:
        pytest.skip(str(error))
    reference = open_backend(model)
    inputs = group_cloud(cloud(40_000, 0), reference.spec).tensors()
    found, expected = on_cuda.infer(inputs), reference.infer(inputs)
    np.testing.assert_allclose(np.sort(found["scores"]), np.sort(expected["scores"]), atol=0.02)
