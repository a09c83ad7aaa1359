"""Sweeps in, boxes or labels out: on the GPU what the host finds. Kernels run on the CPU, engines on the stand-ins."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lidarloop_core.errors import BackendError, CloudFormatError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.inference.backend import Backend, open_backend
from lidarloop_core.inference.detector import Detections, Detector
from lidarloop_core.inference.gpu_pipeline import GpuPipeline
from lidarloop_core.inference.host_pipeline import HostPipeline
from lidarloop_core.inference.model_on import model_on
from lidarloop_core.inference.postprocess import Postprocessing
from lidarloop_core.inference.segmenter import NO_LABEL, PointLabels, Segmenter
from lidarloop_core.inference.sweep_pipeline import SweepAnswer, SweepPipeline
from lidarloop_core.model.model_file import read_model, write_model
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.deskew import motion_during
from lidarloop_core.pointcloud.grid import PillarGrid
from lidarloop_core.pointcloud.point_time import TIME_COLUMN
from lidarloop_core.pointcloud.sweeps import thinning_stride
from lidarloop_core.sample import Sweep
from tests.builders import make_spec
from tests.core.gpu.fake_gpu import StandInGpu
from tests.core.gpu.sweep_drives import COLUMNS, drive

pytest.importorskip("onnxruntime")

NUM_COUNTS_BACK = {"pillars": 5, "voxels": 2 + 4}
"""Five counts; two counts of points and one of each of four levels."""


def written(spec_name: str, folder: Path) -> Path:
    pytest.importorskip("onnx", reason="onnx is not installed")
    from tests.core import voxel_network

    spec = getattr(voxel_network, spec_name)
    write_model(folder / "voxels.onnx", voxel_network.voxel_network(spec), spec)
    return folder / "voxels.onnx"


@pytest.fixture(scope="module")
def on_voxels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written("STREET", tmp_path_factory.mktemp("voxels"))


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written("STREET_POINTS", tmp_path_factory.mktemp("segmenter"))


@pytest.fixture(scope="module")
def on_pillars(repository: Path) -> Path:
    return repository / "models/pillar-toytown.onnx"


@pytest.fixture(scope="module", params=["on_pillars", "on_voxels", "segmenter"])
def model(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture(scope="module")
def host_model(model: Path) -> Detector | Segmenter:
    return loaded(open_backend(model, num_threads=1))


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> StandInGpu:
    return StandInGpu(tmp_path_factory.mktemp("gpu"))


@pytest.fixture(scope="module")
def gpu_model(gpu: StandInGpu, model: Path) -> Detector | Segmenter:
    return loaded(gpu.open_backend(model))


@pytest.fixture
def on_gpu(gpu: StandInGpu, gpu_model: Detector | Segmenter) -> Iterator[GpuPipeline]:
    pipeline = GpuPipeline(gpu_model, 100_000, gpu.device())
    yield pipeline
    pipeline.close()


def boxes_of(answer: SweepAnswer) -> Boxes3D:
    assert isinstance(answer.found, Detections)
    return answer.found.boxes


def loaded(backend: Backend, score_threshold: float = 0.02) -> Detector | Segmenter:
    return model_on(backend, Postprocessing.by_class(backend.spec.class_names, score_threshold, 0.2))


def num_found(answer: SweepAnswer) -> int:
    """Boxes, or points with a label."""
    found = answer.found
    return len(found.boxes) if isinstance(found, Detections) else int(np.count_nonzero(found.labels != NO_LABEL))


def assert_same(found: SweepAnswer, expected: SweepAnswer) -> None:
    assert list(found.found.stage_ms) == list(expected.found.stage_ms) == ["merge", "group", "infer", "postprocess"]
    assert (found.num_sweeps, found.num_points) == (expected.num_sweeps, expected.num_points)
    for field in dataclasses.fields(found.found):
        if field.name not in ("boxes", "labels", "scores", "stage_ms"):
            assert getattr(found.found, field.name) == getattr(expected.found, field.name), field.name
    contents, same = (
        found.boxes if isinstance(found, Detections) else found for found in (found.found, expected.found)
    )
    for part in ("values", "scores", "labels"):
        if hasattr(same, part):
            np.testing.assert_array_equal(getattr(contents, part), getattr(same, part), strict=True)
    assert getattr(contents, "class_names", None) == getattr(same, "class_names", None)


@pytest.mark.parametrize("max_points", [100_000, 4001])
def test_bit_by_bit_what_the_host_finds(
    gpu: StandInGpu, gpu_model: Detector | Segmenter, host_model: Detector | Segmenter, max_points: int
) -> None:
    """A sweep is lost, one has no pose, time jumps back; a cloud of all three sweeps is above the smaller capacity."""
    device = gpu.device()
    ways: list[SweepPipeline] = [
        GpuPipeline(gpu_model, max_points, device),
        HostPipeline(host_model, max_points),
    ]
    history = drive([0, 1, 2, 3, 5, 6, 7, 8])
    history[6] = dataclasses.replace(history[6], world_SE3_ego=None)
    num_boxes, num_sweeps = 0, []
    for sweep in history + history[:2]:
        if sweep is history[0]:
            for way in ways:
                way.forget()
        before = device.downloaded_bytes
        found, expected = (way.answer(sweep) for way in ways)
        num_labelled = -(-len(sweep.points) // thinning_stride(found.num_points, max_points))
        num_back = NUM_COUNTS_BACK[gpu_model.spec.grid.kind] + num_labelled * isinstance(gpu_model, Segmenter)
        assert device.downloaded_bytes - before == 4 * num_back
        assert_same(found, expected)
        num_boxes += num_found(found)
        num_sweeps.append(found.num_sweeps)
    assert num_sweeps == [1, 2, 3, 3, 2, 2, 1, 2, 1, 2]
    assert num_boxes > 100
    assert (found.found.num_points < found.num_points) == (max_points == 4001 < found.num_points)


@pytest.mark.parametrize("max_points", [100_000, 4001])
def test_sweeps_are_deskewed_as_on_the_host(
    gpu: StandInGpu, gpu_model: Detector | Segmenter, host_model: Detector | Segmenter, max_points: int
) -> None:
    """The third sweep has no motion. Points with a label are where the labels were found."""
    on_gpu = GpuPipeline(gpu_model, max_points, gpu.device(), deskews=True)
    on_gpu.warm_up()
    host = HostPipeline(host_model, max_points)
    num_labelled = 0
    for i, sweep in enumerate(drive(range(4))):
        times = np.random.default_rng(i).uniform(-0.1, 0.0, (len(sweep.points), 1)).astype(np.float32)
        timed = dataclasses.replace(sweep, points=np.hstack([sweep.points, times]), columns=(*COLUMNS, TIME_COLUMN))
        motion = motion_during(lambda ns: SE3.from_yaw(2e-9 * ns, (2.5e-8 * ns, 0, 0)), 0, -0.1, 0.0)
        found, expected = (way.answer(timed, None if i == 2 else motion) for way in (on_gpu, host))
        assert_same(found, expected)
        assert expected.newest.columns == COLUMNS
        assert (i == 2) == np.array_equal(expected.newest.points, sweep.points)
        if isinstance(found.found, PointLabels):
            np.testing.assert_array_equal(found.newest.points, expected.newest.points, strict=True)
            assert found.newest.columns == COLUMNS
        else:
            np.testing.assert_array_equal(found.newest.points, timed.points)
        num_labelled += num_found(found)
    assert found.num_sweeps == 3
    assert num_labelled > 50


def test_cells_above_the_models_capacity_are_thinned_and_counted(gpu: StandInGpu, model: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    file, small = read_model(model), tmp_path / "small.onnx"
    network = onnx.load_from_string(file.onnx_bytes)
    del network.metadata_props[:]  # the seal of the larger one
    write_model(small, network.SerializeToString(), with_less_room(file.spec))
    on_gpu = GpuPipeline(loaded(gpu.open_backend(small)), 60_000, gpu.device())
    host = HostPipeline(loaded(open_backend(small, num_threads=1)), 60_000)
    for sweep in drive([1, 2]):
        found, expected = on_gpu.answer(sweep), host.answer(sweep)
        assert found.found.num_thinned > 0
        assert len(found.found.overfull) == (1 if file.spec.grid.kind == "pillars" else 4), "all levels"
        assert_same(found, expected)


def with_less_room(spec: ModelSpec) -> ModelSpec:
    if isinstance(spec.grid, PillarGrid):
        return make_spec(spec, max_pillars=700)
    levels = [dataclasses.replace(level, capacity=300 - 100 * i) for i, level in enumerate(spec.grid.levels)]
    return make_spec(spec, capacity=700, levels=tuple(levels))


def test_a_sweep_detected_again_after_a_failure_counts_once(
    on_gpu: GpuPipeline, host_model: Detector | Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = HostPipeline(host_model, 100_000)
    backend: Any = on_gpu.model.backend
    infer = backend.infer_on_device
    failures = iter([False, True, False, True, True, False, False])

    def fails(*arguments: object) -> dict[str, np.ndarray]:
        if next(failures):
            raise BackendError("called up")
        return infer(*arguments)

    monkeypatch.setattr(backend, "infer_on_device", fails)
    for sweep in drive(range(4)):
        while True:
            try:
                found = on_gpu.answer(sweep)
                break
            except BackendError:
                continue
        assert_same(found, host.answer(sweep))


def test_clouds_in_which_nothing_is_in_range(on_gpu: GpuPipeline) -> None:
    for points in (np.full((5, 4), 999, np.float32), np.zeros((0, 4), np.float32)):
        found = on_gpu.answer(Sweep(points, COLUMNS, 0, SE3.identity(), None))
        assert num_found(found) == 0
        assert found.found.num_out_of_range == found.num_points == len(points)


@pytest.mark.parametrize("model", ["on_pillars", "on_voxels"], indirect=True)
def test_thresholds_change_while_it_runs(on_gpu: GpuPipeline, gpu_model: Detector) -> None:
    first, second = drive([0, 1])
    many = boxes_of(on_gpu.answer(first))
    threshold = float(np.median(many.scores))
    on_gpu.model = Detector(gpu_model.backend, score_threshold=threshold)
    assert boxes_of(on_gpu.answer(first)).scores.min() >= threshold
    assert on_gpu.answer(second).num_sweeps == 2


def test_the_next_pipeline_goes_on_with_the_sweeps(
    gpu: StandInGpu, model: Path, host_model: Detector | Segmenter
) -> None:
    """As after a swap: another engine of the same GPU."""
    host = HostPipeline(host_model, 100_000)
    before, after = (GpuPipeline(loaded(gpu.open_backend(model)), 100_000, gpu.device()) for _ in range(2))
    history = drive(range(5))
    for sweep in history[:3]:
        before.answer(sweep)
        host.answer(sweep)
    after.adopt(before)
    before.close()
    for sweep in history[3:]:
        assert_same(after.answer(sweep), host.answer(sweep))


@pytest.mark.parametrize("voxels_come_first", [False, True])
def test_a_model_on_another_grid_goes_on_with_the_sweeps(
    gpu: StandInGpu, on_pillars: Path, on_voxels: Path, voxels_come_first: bool
) -> None:
    first, second = (on_voxels, on_pillars) if voxels_come_first else (on_pillars, on_voxels)
    before, after = (GpuPipeline(loaded(gpu.open_backend(path)), 100_000, gpu.device()) for path in (first, second))
    host = HostPipeline(loaded(open_backend(second, num_threads=1)), 100_000)
    history = drive(range(4))
    for sweep in history[:3]:
        before.answer(sweep)
        host.answer(sweep)
    after.adopt(before)
    before.close()
    found = after.answer(history[3])
    assert found.num_sweeps == 3
    assert_same(found, host.answer(history[3]))


def test_sweeps_of_other_columns_or_from_the_host_are_not_taken_over(
    gpu: StandInGpu, on_gpu: GpuPipeline, model: Path, gpu_model: Detector | Segmenter
) -> None:
    with_rings = gpu.open_backend(model)
    with_rings.spec = dataclasses.replace(with_rings.spec, point_columns=("x", "y", "z", "ring", "dt"))
    other = GpuPipeline(loaded(with_rings), 9000, gpu.device())
    host = HostPipeline(gpu_model, 9000)
    first, second = drive([0, 1])
    other.answer(dataclasses.replace(first, columns=("x", "y", "z", "ring")))
    host.answer(first)
    for before in (other, host):
        on_gpu.adopt(before)
        host.adopt(on_gpu)
    assert on_gpu.answer(second).num_sweeps == 1
    assert host.answer(second).num_sweeps == 2
    with pytest.raises(CloudFormatError, match="expected x, y, z, ring"):
        other.answer(second)


def test_memory_is_freed(tmp_path: Path, model: Path) -> None:
    gpu = StandInGpu(tmp_path)
    opened = loaded(gpu.open_backend(model))
    of_model = gpu.runtime.used
    pipeline = GpuPipeline(opened, 50_000, gpu.device())
    for sweep in drive(range(3)):
        pipeline.answer(sweep)
    assert gpu.runtime.used > of_model
    for _ in range(2):
        pipeline.close()
        assert gpu.runtime.used == of_model
    pipeline.forget()
    del pipeline, opened
    assert gpu.runtime.memory == {}, "nothing is left on the device, and nothing pinned on the host"


def test_too_little_memory_is_an_error_that_names_what_is_free(tmp_path: Path, model: Path) -> None:
    gpu = StandInGpu(tmp_path, num_bytes=64 << 20)
    opened = loaded(gpu.open_backend(model))
    used = gpu.runtime.used
    with pytest.raises(BackendError, match=r"of 64 MiB.*fewer points than 10000000, or keep the sweeps on the host"):
        GpuPipeline(opened, 10_000_000, gpu.device())
    assert gpu.runtime.used == used
    pipeline = GpuPipeline(opened, 10_000, gpu.device())
    (fits, huge) = (drive([0], num_points=n)[0] for n in (1000, 5_000_000))
    pipeline.answer(fits)
    with pytest.raises(BackendError, match=r"of 64 MiB"):
        pipeline.answer(huge)
    pipeline.answer(fits)


def test_another_backend_is_refused(host_model: Detector | Segmenter) -> None:
    with pytest.raises(BackendError, match=r"received a model on onnxruntime.*expected TensorRT"):
        GpuPipeline(host_model, 1000)


def test_the_thread_that_detects_takes_the_device(on_gpu: GpuPipeline, gpu: StandInGpu) -> None:
    """In CUDA each thread has a current device of its own, and launches kernels there."""
    (sweep,) = drive([0])
    gpu.runtime.log.clear()
    with ThreadPoolExecutor(1) as another_thread:
        another_thread.submit(on_gpu.answer, sweep).result()
    assert gpu.runtime.log[0] == ("cudaSetDevice", 1)


def test_warmed_up_it_keeps_nothing(on_gpu: GpuPipeline, gpu: StandInGpu) -> None:
    before = gpu.runtime.num_launches
    on_gpu.warm_up()
    assert gpu.runtime.num_launches > before, "graphs were captured"
    (sweep,) = drive([0])
    assert on_gpu.answer(sweep).num_sweeps == 1
