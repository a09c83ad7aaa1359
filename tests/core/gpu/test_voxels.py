"""The GPU's voxels and neighbour tables: its source run on the CPU against the host's, bit by bit."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lidarloop_core.errors import CloudFormatError, ModelFileError
from lidarloop_core.gpu.counts import GroupedCounts
from lidarloop_core.gpu.grouping import CudaGrouping, cuda_grouping
from lidarloop_core.gpu.launcher import Device
from lidarloop_core.model.outputs import Detection, Segmentation
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import Sizes, bucket_for, capacity, fill_padded
from lidarloop_core.pointcloud.grid import VoxelGrid, VoxelLevel
from lidarloop_core.pointcloud.sweeps import merge_sweeps
from lidarloop_core.sparse.cloud import VoxelCloud, group_for_network
from lidarloop_core.sparse.voxels import group_voxels_reference
from lidarloop_training.toytown.drive import ToyTownDrive
from tests.builders import VOXEL_DETECTOR, VOXEL_SEGMENTER, make_spec
from tests.core.gpu.conftest import ReadableGpu
from tests.core.gpu.cpu_device import CpuDevice, Order, backwards, shuffled

Read = Callable[[Any, Any, int], np.ndarray]
STREET = make_spec(
    VOXEL_DETECTOR,
    x_range_m=(-51.2, 51.2),
    y_range_m=(-51.2, 51.2),
    z_range_m=(-5.0, 3.0),
    cell_size_m=(0.1, 0.1, 0.2),
    capacity=100_000,
    levels=(
        VoxelLevel(60_000),
        VoxelLevel(30_000),
        VoxelLevel(10_000),
        VoxelLevel(5_000, stride=(1, 1, 1), kernel=(1, 1, 5), padding=(0, 0, 0)),
    ),
)
"""A grid of the field: 1024 × 1024 × 40, strides 2, 4 and 8."""


def read_on_cpu(memory: Any, dtype: Any, count: int) -> np.ndarray:
    found: np.ndarray = memory.read(dtype, count)
    return found


def read_inputs(grouping: CudaGrouping, spec: ModelSpec, sizes: Sizes, read: Read) -> dict[str, np.ndarray]:
    shapes = {tensor: tensor.shape_at(sizes) for tensor in spec.inputs}
    return {
        tensor.name: read(grouping.inputs[tensor.name], tensor.dtype, math.prod(shape)).reshape(shape)
        for tensor, shape in shapes.items()
    }


def grouped(
    device: Device, points: np.ndarray, spec: ModelSpec, read: Read = read_on_cpu
) -> tuple[GroupedCounts, dict[str, np.ndarray]]:
    """Counts and inputs of a cloud, padded where a level is empty as the host's are."""
    grouping = cuda_grouping(device, spec, max(1, len(points)))
    cloud = device.allocate(points.nbytes)
    device.upload(cloud, points)
    counts = grouping.group(cloud, len(points))
    grouping.pad(counts, counts.sizes)
    return counts, read_inputs(grouping, spec, counts.sizes, read)


def on_the_host(points: np.ndarray, spec: ModelSpec) -> VoxelCloud:
    assert isinstance(spec.grid, VoxelGrid)
    return group_for_network(points, spec.grid, gives_points=isinstance(spec.outputs, Segmentation))


def assert_same(found: tuple[GroupedCounts, Mapping[str, np.ndarray]], expected: VoxelCloud) -> None:
    counts, inputs = found
    levels = [level.voxels for level in expected.levels]
    rows = {f"num_voxels_{i}": voxels.num_voxels for i, voxels in enumerate(levels)}
    assert counts.rows == ({"num_points": len(expected.points)} if expected.gives_points else {}) | rows
    assert list(counts.num_found.values()) == [voxels.num_found for voxels in levels]
    for name in ("is_empty", "num_out_of_range", "num_over_full", "num_thinned", "overfull"):
        assert getattr(counts, name) == getattr(expected, name), name
    if len(expected.points) == 0:
        return  # no graph runs on it
    tensors = expected.tensors()
    assert set(inputs) == set(tensors)
    for name, array in tensors.items():
        np.testing.assert_array_equal(inputs[name], array, err_msg=name, strict=True)


def crowd(spec: ModelSpec, number: int, seed: int) -> np.ndarray:
    """Crowded and single voxels, points outside, on every edge, and no numbers at all."""
    random = np.random.default_rng(seed)
    low, high = np.array(spec.grid.ranges_m, np.float32).T
    points = random.normal(0, (4, 2, 1.5, 30, 0.1), (number, 5)).astype(np.float32)
    points[::3, :3] = random.uniform(low, high, (len(points[::3]), 3))
    points[1::9, :3] = (0.1, 0.1, 0.1)  # many points of one voxel, others between them
    edges = np.concatenate([low, high, np.nextafter(high, low), [np.nan, np.inf, 0.0]]).astype(np.float32)
    for i in range(0, number, 7):
        points[i, random.integers(0, 3)] = random.choice(edges)
    return points


both = pytest.mark.parametrize("spec", [VOXEL_DETECTOR, VOXEL_SEGMENTER], ids=["detector", "segmenter"])


@both
@pytest.mark.parametrize("order", [np.arange, backwards, shuffled], ids=["forwards", "backwards", "shuffled"])
@pytest.mark.parametrize("number", [1, 63, 64, 65, 4097])
def test_kernels_equal_the_host_in_any_order_of_threads(
    library: ctypes.CDLL, spec: ModelSpec, order: Order, number: int
) -> None:
    points = crowd(spec, number, seed=number)
    assert_same(grouped(CpuDevice(library, order), points, spec), on_the_host(points, spec))


def test_means_are_those_of_the_readable_reference(library: ctypes.CDLL) -> None:
    points = crowd(VOXEL_DETECTOR, 3000, seed=5)
    assert isinstance(VOXEL_DETECTOR.grid, VoxelGrid)
    _, inputs = grouped(CpuDevice(library, shuffled), points, VOXEL_DETECTOR)
    np.testing.assert_array_equal(inputs["voxels"], group_voxels_reference(points, VOXEL_DETECTOR.grid).features)


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    """Strided levels of any geometry and capacity; for a detector then levels that fold what height is left."""
    sizes = draw(st.tuples(st.integers(3, 9), st.integers(3, 8), st.sampled_from([3, 5, 16, 63, 64])))
    shape, levels = sizes, []
    capacities = st.integers(1, 150)
    for _ in range(draw(st.integers(1, 2))):
        kernel = tuple(draw(st.integers(1, min(4, n))) for n in shape)
        padding = tuple(draw(st.integers(0, k - 1)) for k in kernel)
        stride = draw(st.tuples(*[st.integers(1, 3)] * 3))
        level = VoxelLevel(draw(capacities), stride, (kernel[0], kernel[1], kernel[2]), padding)  # type: ignore[arg-type]
        if level.shape_of(shape)[2] <= 64:
            levels.append(level)
            shape = level.shape_of(shape)
    outputs = draw(st.sampled_from([VOXEL_DETECTOR.outputs, Segmentation()]))
    while isinstance(outputs, Detection) and (shape[2] > 1 or not levels):
        height = min(7, shape[2])
        levels.append(VoxelLevel(draw(capacities), (1, 1, height), (1, 1, height), (0, 0, 0)))
        shape = levels[-1].shape_of(shape)
    x, y, z = ((0.0, 0.5 * n) for n in sizes)
    grid = VoxelGrid(x, y, z, (0.5, 0.5, 0.5), draw(st.integers(1, 200)), tuple(levels))
    return make_spec(VOXEL_DETECTOR, grid=grid, outputs=outputs)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(specs(), st.integers(0, 250), st.integers(0, 2**32 - 1), st.sampled_from([0.3, 1.0, 3.0]))
def test_any_cloud_on_any_grid(library: ctypes.CDLL, spec: ModelSpec, number: int, seed: int, spread: float) -> None:
    """All strides, paddings and borders, columns that fill their word, levels that are empty or above capacity."""
    random = np.random.default_rng(seed)
    points = np.zeros((number, 5), np.float32)
    low, high = np.array(spec.grid.ranges_m).T
    points[:, :3] = random.uniform(low - 0.5, low + (high - low) * spread, (number, 3))
    points[:, 3:] = random.normal(0, 100, (number, 2))
    points[::5, :3] = np.round(2 * points[::5, :3]) / 2  # on borders of voxels
    assert_same(grouped(CpuDevice(library, shuffled), points, spec), on_the_host(points, spec))


@both
def test_a_level_without_voxels_has_one_row_of_zeros(library: ctypes.CDLL, spec: ModelSpec) -> None:
    """The only voxel is in the last column of an odd number, which a window of two by two does not reach."""
    levels = (VoxelLevel(9, kernel=(2, 2, 2), padding=(0, 0, 0)), VoxelLevel(9, (1, 1, 1), (1, 1, 2), (0, 0, 0)))
    grid = VoxelGrid((0.0, 2.5), (0.0, 2.0), (0.0, 2.0), (0.5, 0.5, 0.5), 9, levels)
    spec, points = make_spec(spec, grid=grid), np.full((1, 5), 2.25, np.float32)
    points[:, 1:3] = 1.0
    counts, inputs = grouped(CpuDevice(library), points, spec)
    assert list(counts.rows.values())[-3:] == [1, 0, 0]
    assert set(counts.sizes.values()) == {1}
    assert not counts.is_empty
    assert_same((counts, inputs), on_the_host(points, spec))


@both
@pytest.mark.parametrize("number", [700, 1])
def test_padding_is_that_of_the_host(library: ctypes.CDLL, spec: ModelSpec, number: int) -> None:
    points = crowd(spec, number + 1, 3)[1:]
    device = CpuDevice(library, shuffled)
    grouping = cuda_grouping(device, spec, number)
    cloud = device.allocate(points.nbytes)
    device.upload(cloud, points)
    counts = grouping.group(cloud, number)
    bucket = bucket_for(counts.sizes, capacity(spec.inputs))
    grouping.pad(counts, bucket)
    into = {tensor.name: np.full(tensor.shape_at(bucket), 7, tensor.dtype) for tensor in spec.inputs}
    fill_padded(spec.inputs, on_the_host(points, spec).tensors(), into)
    found = read_inputs(grouping, spec, bucket, read_on_cpu)
    for name, array in into.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@both
def test_nothing_of_the_cloud_before_is_left(library: ctypes.CDLL, spec: ModelSpec) -> None:
    device = CpuDevice(library)
    grouping = cuda_grouping(device, spec, 3000)
    for number, seed in ((3000, 0), (40, 1), (0, 2), (1200, 3)):
        points = crowd(spec, number, seed)
        cloud = device.allocate(points.nbytes)
        device.upload(cloud, points)
        counts = grouping.group(cloud, number)
        if number == 0:
            assert counts.is_empty
            continue
        grouping.pad(counts, counts.sizes)
        inputs = read_inputs(grouping, spec, counts.sizes, read_on_cpu)
        assert_same((counts, inputs), on_the_host(points, spec))


def test_only_one_count_a_level_and_two_of_points_come_back(library: ctypes.CDLL) -> None:
    device = CpuDevice(library)
    grouped(device, crowd(VOXEL_DETECTOR, 2000, 0), VOXEL_DETECTOR)
    assert device.downloaded_bytes == 4 * (2 + 4)


def test_a_cloud_that_does_not_fit_is_refused(library: ctypes.CDLL) -> None:
    device = CpuDevice(library)
    with pytest.raises(CloudFormatError, match="received 11 points"):
        cuda_grouping(device, VOXEL_DETECTOR, 10).group(device.allocate(1), 11)


def test_a_segmenter_on_pillars_is_refused(library: ctypes.CDLL) -> None:
    with pytest.raises(ModelFileError, match="expected a detector"):
        cuda_grouping(CpuDevice(library), make_spec(outputs=Segmentation()), 10)


def test_memory_of_points_is_that_of_the_largest_cloud(library: ctypes.CDLL) -> None:
    """And not of a million, which a profile allows."""
    inputs: Any = cuda_grouping(CpuDevice(library), VOXEL_SEGMENTER, 5000).inputs
    assert len(inputs["voxel_of_point"].bytes) < 4 * 5000 * 1.3


@pytest.fixture(scope="module")
def town() -> np.ndarray:
    """Three sweeps of the toy town in the model's columns."""
    drive = ToyTownDrive(7, duration_s=2.0, num_sweeps=3, cameras=False)
    return merge_sweeps(drive[5].sweeps, VOXEL_DETECTOR.point_columns)


@pytest.mark.parametrize("capacities", [None, (5_000, 5_500, 3_000, 700, 500)])
def test_a_street_of_the_toy_town(library: ctypes.CDLL, town: np.ndarray, capacities: tuple[int, ...] | None) -> None:
    """A grid of the field, with room for all, and with too little at every level."""
    detector = STREET if capacities is None else with_capacities(STREET, capacities)
    for spec in (detector, make_spec(detector, outputs=Segmentation())):
        found, expected = grouped(CpuDevice(library, shuffled), town, spec), on_the_host(town, spec)
        assert len(expected.overfull) == (0 if capacities is None else 5)
        assert_same(found, expected)


@pytest.mark.real
def test_ten_real_sweeps(library: ctypes.CDLL, real_data: Path) -> None:
    points = ten_sweeps(real_data)
    found, expected = grouped(CpuDevice(library), points, STREET), on_the_host(points, STREET)
    assert expected.levels[0].voxels.num_voxels == 83_862
    assert_same(found, expected)


@pytest.mark.gpu
def test_on_the_gpu_it_is_the_same(gpu: ReadableGpu) -> None:
    few = with_capacities(STREET, (20_000, 9_000, 5_000, 700, 500))
    for size in (1, 65, 5000, 270_000):
        for spec in (VOXEL_DETECTOR, VOXEL_SEGMENTER, STREET, few):
            points = crowd(spec, size, seed=size)
            assert_same(grouped(gpu, points, spec, gpu.read), on_the_host(points, spec))


def test_passes_of_the_sort_follow_from_the_capacity(library: ctypes.CDLL) -> None:
    """Six bits each: 100,000 voxels and none take seventeen bits."""
    for spec, number in ((STREET, 3), (VOXEL_DETECTOR, 2), (make_spec(VOXEL_DETECTOR, capacity=63), 1)):
        device = CpuDevice(library)
        grouped(device, crowd(spec, 100, 0), spec)
        assert device.launches.count("move_points") == number


def with_capacities(spec: ModelSpec, capacities: tuple[int, ...]) -> ModelSpec:
    assert isinstance(spec.grid, VoxelGrid)
    first, *below = capacities
    levels = [
        VoxelLevel(most, level.stride, level.kernel, level.padding)
        for most, level in zip(below, spec.grid.levels, strict=True)
    ]
    return make_spec(spec, capacity=first, levels=tuple(levels))


def ten_sweeps(real_data: Path) -> np.ndarray:
    path = next((real_data / "nuscenes_10sweep").glob("*.bin"))
    return np.fromfile(path, np.float16).reshape(-1, 5).astype(np.float32)
