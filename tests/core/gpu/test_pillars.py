"""The GPU's grouping into pillars: its source run on the CPU against numpy."""

from __future__ import annotations

import ctypes
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lidarloop_core.errors import CloudFormatError
from lidarloop_core.gpu.counts import GroupedCounts
from lidarloop_core.gpu.grouping import cuda_grouping
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import bucket_for, capacity, fill_padded
from lidarloop_core.pointcloud.grouping import PillarIndex, group_pillars, group_pillars_reference
from tests.builders import make_spec
from tests.core.gpu.conftest import ReadableGpu
from tests.core.gpu.cpu_device import CpuDevice, Order, backwards, shuffled


def grouped(device: CpuDevice, points: np.ndarray, spec: ModelSpec) -> PillarIndex:
    grouping = cuda_grouping(device, spec, max_cloud_points=max(1, len(points)))
    cloud = device.allocate(points.nbytes)
    device.upload(cloud, points)
    found = grouping.group(cloud, len(points))
    shapes = {tensor: tensor.shape_at(found.rows) for tensor in spec.inputs}
    inputs: Any = grouping.inputs
    arrays = {
        tensor.name: inputs[tensor.name].read(tensor.dtype, math.prod(shape)).reshape(shape)
        for tensor, shape in shapes.items()
    }
    return PillarIndex(
        **arrays,
        num_out_of_range=found.num_out_of_range,
        num_over_full=found.num_over_full,
        num_thinned=found.num_thinned,
        num_pillars_found=found.num_found["num_pillars"],
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
    grouping = cuda_grouping(device, spec, 200)
    cloud = device.allocate(points.nbytes)
    device.upload(cloud, points)
    counts = grouping.group(cloud, len(points))
    bucket = bucket_for(counts.sizes, capacity(spec.inputs))
    grouping.pad(counts, bucket)
    into = {tensor.name: np.zeros(tensor.shape_at(bucket), tensor.dtype) for tensor in spec.inputs}
    fill_padded(spec.inputs, group_pillars(points, spec.pillars).tensors(), into)
    assert bucket["num_pillars"] > counts.rows["num_pillars"]
    inputs: Any = grouping.inputs
    for name in ("points", "slot", "count"):
        on_device = inputs[name].read(into[name].dtype, into[name].size)
        np.testing.assert_array_equal(on_device, into[name].ravel(), err_msg=name)
    found = inputs["cell"].read(np.int64, bucket["num_pillars"])
    np.testing.assert_array_equal(found[: counts.rows["num_pillars"]], into["cell"][: counts.rows["num_pillars"]])
    assert set(found) == set(into["cell"])


def test_a_cloud_that_does_not_fit_is_refused(library: ctypes.CDLL, spec: ModelSpec) -> None:
    device = CpuDevice(library)
    with pytest.raises(CloudFormatError, match="received 11 points"):
        cuda_grouping(device, spec, 10).group(device.allocate(1), 11)


def test_no_points_are_no_pillars(library: ctypes.CDLL, spec: ModelSpec) -> None:
    device = CpuDevice(library)
    grouping = cuda_grouping(device, spec, 10)
    grouping.group(device.allocate(0), 0)
    found = grouping.group(device.allocate(0), 0)
    assert found == GroupedCounts({"num_points": 0, "num_pillars": 0}, {"num_pillars": 0}, 0, 0, 0, ())
    assert found.is_empty


@pytest.mark.gpu
def test_on_the_gpu_it_is_the_same(gpu: ReadableGpu, spec: ModelSpec) -> None:
    for size in (1, 65, 5000, 270_000):
        points = crowd(spec, size, seed=size)
        grouping = cuda_grouping(gpu, spec, size)
        cloud = gpu.allocate(points.nbytes)
        gpu.upload(cloud, points)
        found = grouping.group(cloud, size)
        expected = group_pillars_reference(points, spec.pillars)
        assert found.rows["num_pillars"] == len(expected.cell)
        for name, array in expected.tensors().items():
            on_device = gpu.read(grouping.inputs[name], array.dtype, array.size)
            np.testing.assert_array_equal(on_device, array.ravel(), err_msg=name)
