"""The GPU's grouping: its source run on the CPU against numpy, and compiled by NVRTC for every kind of GPU."""

from __future__ import annotations

import ctypes
import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lidarloop_core.errors import BackendError, CloudFormatError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.gpu.grouping import CudaGrouping, source
from lidarloop_core.gpu.sweeps import CudaSweeps
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import bucket_for, capacity, fill_padded
from lidarloop_core.pointcloud.grouping import PillarIndex, group_pillars, group_pillars_reference
from lidarloop_core.sample import Sweep
from tests.builders import make_spec
from tests.core.gpu.cpu_device import CpuDevice, Order, shuffled

# Jetson Orin is 87, Thor 110; GH200 and H200 are 90.
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_110", "sm_120")


def backwards(number: int) -> np.ndarray:
    return np.arange(number)[::-1]


def grouped(device: CpuDevice, points: np.ndarray, spec: ModelSpec) -> PillarIndex:
    grouping = CudaGrouping(device, spec, max_cloud_points=max(1, len(points)))
    cloud = device.allocate(points.nbytes)
    device.upload(cloud, points)
    found = grouping.group(cloud, len(points))
    shapes = {tensor: tensor.shape_at(found.sizes) for tensor in spec.inputs}
    inputs: Any = grouping.inputs
    arrays = {
        tensor.name: inputs[tensor.name].read(tensor.dtype, math.prod(shape)).reshape(shape)
        for tensor, shape in shapes.items()
    }
    return PillarIndex(
        **arrays,
        num_out_of_range=found.num_out_of_range,
        num_over_full=len(points) - found.num_points - found.num_out_of_range - found.num_thinned,
        num_thinned=found.num_thinned,
        num_pillars_found=found.num_pillars_found,
    )


def assert_same(found: PillarIndex, expected: PillarIndex) -> None:
    for field in dataclasses.fields(PillarIndex):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name), err_msg=field.name)


def crowd(spec: ModelSpec, number: int, seed: int) -> np.ndarray:
    """Full pillars, empty cells, points outside, on every edge, and no numbers at all."""
    random = np.random.default_rng(seed)
    points = random.normal(0, (4, 2, 1.5, 30, 0.1), (number, 5)).astype(np.float32)
    edges = [
        *spec.grid.x_range_m,
        *spec.grid.y_range_m,
        np.nan,
        np.inf,
        0.0,
        np.nextafter(np.float32(8.0), np.float32(0)),
    ]
    for i in range(0, number, 7):
        points[i, random.integers(0, 3)] = random.choice(edges)
    return points


@pytest.mark.parametrize("order", [np.arange, backwards, shuffled], ids=["forwards", "backwards", "shuffled"])
@pytest.mark.parametrize("number", [1, 63, 64, 65, 5000])
def test_kernels_equal_the_reference_in_any_order_of_threads(
    library: ctypes.CDLL, spec: ModelSpec, order: Order, number: int
) -> None:
    points = crowd(spec, number, seed=number)
    found = grouped(CpuDevice(library, order), points, spec)
    assert_same(found, group_pillars_reference(points, spec.pillars))
    assert_same(found, group_pillars(points, spec.pillars))


@pytest.mark.parametrize("max_pillars", [1, 3, 64, 511, 512])
def test_thinning_leaves_the_same_pillars(library: ctypes.CDLL, spec: ModelSpec, max_pillars: int) -> None:
    few = make_spec(spec, max_pillars=max_pillars)
    points = crowd(few, 3000, seed=1)
    expected = group_pillars_reference(points, few.pillars)
    assert (expected.num_thinned > 0) == (max_pillars < expected.num_pillars_found)
    assert_same(grouped(CpuDevice(library, shuffled), points, few), expected)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[st.floats(-9, 9, width=32)] * 3), max_size=80), st.integers(1, 4), st.integers(1, 20))
def test_any_cloud(
    library: ctypes.CDLL, spec: ModelSpec, rows: list[tuple[float, ...]], places: int, pillars: int
) -> None:
    small = make_spec(spec, max_points_per_pillar=places, max_pillars=pillars)
    points = np.zeros((len(rows), 5), np.float32)
    points[:, :3] = np.array(rows, np.float32).reshape(-1, 3)
    assert_same(grouped(CpuDevice(library, shuffled), points, small), group_pillars_reference(points, small.pillars))


def test_only_five_numbers_come_back(library: ctypes.CDLL, spec: ModelSpec) -> None:
    device = CpuDevice(library)
    grouped(device, crowd(spec, 2000, 0), spec)
    assert device.downloaded_bytes == 20


@pytest.mark.parametrize("order", [np.arange, backwards, shuffled])
def test_padding_is_that_of_the_host(library: ctypes.CDLL, spec: ModelSpec, order: Order) -> None:
    """The same unused cells, the same repeated point."""
    spec = make_spec(spec, max_pillars=400)
    device, points = CpuDevice(library, order), crowd(spec, 200, 3)
    grouping = CudaGrouping(device, spec, 200)
    cloud = device.allocate(points.nbytes)
    device.upload(cloud, points)
    counts = grouping.group(cloud, len(points))
    bucket = bucket_for(counts.sizes, capacity(spec.inputs))
    grouping.pad(counts, bucket)
    into = {tensor.name: np.zeros(tensor.shape_at(bucket), tensor.dtype) for tensor in spec.inputs}
    fill_padded(spec.inputs, group_pillars(points, spec.pillars).tensors(), into)
    assert bucket["num_pillars"] > counts.num_pillars
    inputs: Any = grouping.inputs
    for name in ("points", "slot", "count"):
        on_device = inputs[name].read(into[name].dtype, into[name].size)
        np.testing.assert_array_equal(on_device, into[name].ravel(), err_msg=name)
    found = inputs["cell"].read(np.int64, bucket["num_pillars"])
    np.testing.assert_array_equal(found[: counts.num_pillars], into["cell"][: counts.num_pillars])
    assert set(found) == set(into["cell"])


def test_a_cloud_that_does_not_fit_is_refused(library: ctypes.CDLL, spec: ModelSpec) -> None:
    device = CpuDevice(library)
    with pytest.raises(CloudFormatError, match="received 11 points"):
        CudaGrouping(device, spec, 10).group(device.allocate(1), 11)


def test_no_points_are_no_pillars(library: ctypes.CDLL, spec: ModelSpec) -> None:
    device = CpuDevice(library)
    grouping = CudaGrouping(device, spec, 10)
    grouping.group(device.allocate(0), 0)
    assert grouping.group(device.allocate(0), 0) == (0, 0, 0, 0, 0)


def test_every_kernel_is_launched_somewhere(library: ctypes.CDLL, spec: ModelSpec) -> None:
    device = CpuDevice(library)
    columns = ("x", "y", "z", "intensity")
    sweeps = CudaSweeps(device, spec, columns, 5000)
    merged = sweeps.merge(Sweep(crowd(spec, 5000, 0)[:, :4], columns, 0, SE3.identity(), None))
    grouping = CudaGrouping(device, spec, sweeps.max_cloud_points)
    counts = grouping.group(sweeps.cloud, merged.num_kept)
    grouping.pad(counts, {**counts.sizes, "num_points": counts.num_points + 1})
    few = crowd(spec, 20, 0)
    device.upload(sweeps.cloud, few)
    counts = grouping.group(sweeps.cloud, len(few))
    grouping.pad(counts, {**counts.sizes, "num_pillars": counts.num_pillars + 1})
    assert set(device.launches) == set(re.findall(r"__global__ void (\w+)", source()))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvrtc_compiles_it(architecture: str) -> None:
    """Machine code for each kind of GPU, without one."""
    pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings are not installed")
    from lidarloop_core.gpu.kernels import compile_source

    code = compile_source(source(), architecture, "grouping.cu")
    assert code.startswith(b"\x7fELF")
    for name in re.findall(r"__global__ void (\w+)", source()):
        assert name.encode() in code


def test_reasons_of_nvrtc_are_in_the_error() -> None:
    pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings are not installed")
    from lidarloop_core.gpu.kernels import compile_source

    with pytest.raises(BackendError, match=r"refuses broken\.cu for sm_87.*nonsense"):
        compile_source("nonsense;", "sm_87", "broken.cu")
    with pytest.raises(BackendError, match=r"refuses kernels\.cu for sm_1"):
        compile_source(source(), "sm_1")


@pytest.mark.gpu
def test_on_the_gpu_it_is_the_same(spec: ModelSpec, tmp_path: Path) -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings are not installed")
    status, number = runtime.cudaGetDeviceCount()
    if int(status) != 0 or not number:
        pytest.skip("no CUDA device")
    from lidarloop_core.gpu.cuda import Cuda
    from lidarloop_core.gpu.device import GpuDevice

    class Readable(GpuDevice):
        def read(self, memory: object, dtype: type, count: int) -> np.ndarray:
            return np.frombuffer(self.download(memory, np.dtype(dtype).itemsize * count), dtype)

    device = Readable(Cuda(runtime))
    for size in (1, 65, 5000, 270_000):
        points = crowd(spec, size, seed=size)
        grouping = CudaGrouping(device, spec, size)
        cloud = device.allocate(points.nbytes)
        device.upload(cloud, points)
        found = grouping.group(cloud, size)
        expected = group_pillars_reference(points, spec.pillars)
        assert found.num_pillars == len(expected.cell)
        for name, array in expected.tensors().items():
            on_device = device.read(grouping.inputs[name], array.dtype, array.size)
            np.testing.assert_array_equal(on_device, array.ravel(), err_msg=name)
