"""Sweep in, boxes out, nothing between: the kernels run on the CPU, the engine on the stand-ins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.inference.engine_cache import EngineCache
from lidarloop_core.inference.gpu_pipeline import GpuPipeline
from lidarloop_core.inference.tensorrt_backend import TensorRtBackend
from lidarloop_core.pointcloud.cuda_voxelize import source
from lidarloop_core.pointcloud.sweeps import merge_sweeps
from lidarloop_core.pointcloud.voxelize import group_pillars
from lidarloop_core.sample import Sweep
from tests.core.inference.nvidia_standin import FakeRuntime, make_trt
from tests.core.pointcloud.cpu_device import CpuDevice, CpuMemory, compile_for_cpu

COLUMNS = ("x", "y", "z", "intensity")


class OnDevice(CpuDevice):
    """The CPU's kernels in the stand-in's device memory."""

    runtime: FakeRuntime

    def allocate(self, num_bytes: int) -> CpuMemory:
        memory = CpuMemory(0)
        _, memory.address = self.runtime.cudaMalloc(num_bytes)
        block, size, _ = self.runtime.memory[memory.address]
        start = memory.address - np.frombuffer(block, np.uint8).ctypes.data
        memory.bytes = np.frombuffer(block, np.uint8)[start : start + size]
        return memory


@pytest.fixture
def pipeline(repository: Path, tmp_path: Path) -> tuple[GpuPipeline, OnDevice, FakeRuntime]:
    runtime = FakeRuntime()
    model = repository / "models/pillar-toytown.onnx"
    backend = TensorRtBackend(model, cache=EngineCache(tmp_path), trt=make_trt(runtime), runtime=runtime)
    device = OnDevice(compile_for_cpu(source(), tmp_path))
    device.runtime = runtime
    return GpuPipeline(backend, COLUMNS, 3000, device), device, runtime


def drive(number: int) -> list[Sweep]:
    """A vehicle that turns as it drives, oldest sweep first."""
    random = np.random.default_rng(0)
    low, high = (-50, -50, -4, 0), (50, 50, 2, 200)
    clouds = [random.uniform(low, high, (2000 + 10 * i, 4)).astype(np.float32) for i in range(number)]
    poses = [SE3.from_yaw(0.02 * i, (100 + 0.5 * i, 20, 0)) for i in range(number)]
    return [
        Sweep(points, COLUMNS, 10**18 + i * 10**8, SE3.identity(), pose)
        for i, (points, pose) in enumerate(zip(clouds, poses, strict=True))
    ]


def test_the_same_as_merging_and_grouping_on_the_host(
    repository: Path, pipeline: tuple[GpuPipeline, OnDevice, FakeRuntime]
) -> None:
    gpu, device, runtime = pipeline
    reference = open_backend(repository / "models/pillar-toytown.onnx", num_threads=1)
    history = drive(6)
    for i, sweep in enumerate(history):
        before = device.downloaded_bytes
        found, counts = gpu.infer(sweep.points, sweep.stamp_ns, sweep.world_SE3_ego)
        assert device.downloaded_bytes - before == 20
        sweeps = history[max(0, i - reference.spec.num_sweeps + 1) : i + 1][::-1]
        index = group_pillars(merge_sweeps(sweeps, reference.spec.point_columns), reference.spec)
        expected = reference.infer(
            {"points": index.points, "slot": index.slot, "cell": index.cell, "count": index.count}
        )
        # Ego-motion is rounded differently, so a point on a cell's edge may change sides.
        assert abs(counts.num_points - len(index.points)) <= 2
        assert abs(counts.num_pillars - len(index.cell)) <= 2
        assert found is not None
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=5e-3)
    assert runtime.num_launches >= 1


def test_a_cloud_out_of_range_does_not_run_the_network(pipeline: tuple[GpuPipeline, OnDevice, FakeRuntime]) -> None:
    gpu, _, _ = pipeline
    found, counts = gpu.infer(np.full((5, 4), 999, np.float32), 0, SE3.identity())
    assert found is None
    assert counts.num_out_of_range == 5
    gpu.clear()
    found, counts = gpu.infer(np.zeros((5, 4), np.float32), 1, SE3.identity())
    assert found is not None
    assert (counts.num_points, counts.num_pillars, counts.num_out_of_range) == (5, 1, 0)
