"""Sweeps kept on the GPU: the kernels run on the CPU, against numpy's merging and the buffer's choice."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lidarloop_core.errors import CloudFormatError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.gpu.sweeps import CudaSweeps, Merged
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.deskew import deskewed, motion_during
from lidarloop_core.pointcloud.point_time import TIME_COLUMN
from lidarloop_core.pointcloud.sweep_buffer import SweepBuffer
from lidarloop_core.pointcloud.sweeps import merge_sweeps, thinning_stride
from lidarloop_core.sample import Sweep
from tests.core.gpu.cpu_device import CpuDevice, CpuMemory, shuffled
from tests.core.gpu.sweep_drives import drive as dense_drive

MS = 1_000_000
COLUMNS = ("x", "y", "z", "intensity")


@pytest.fixture
def of_three(spec: ModelSpec) -> ModelSpec:
    return dataclasses.replace(spec, num_sweeps=3, sweep_interval_s=0.1)


def drive(stamps_ms: Sequence[float], columns: tuple[str, ...] = COLUMNS) -> list[Sweep]:
    """Sweeps of a vehicle that turns as it drives, oldest first, far from the world's origin."""
    random, sweeps = np.random.default_rng(0), []
    ego_SE3_lidar = SE3.from_yaw(0.01, (0.9, 0.0, 1.8))
    for i, stamp_ms in enumerate(stamps_ms):
        points = random.normal(0, 10, (50 + 13 * (i % 7), len(columns))).astype(np.float32)
        world_SE3_ego = SE3.from_yaw(0.1 * i, (4000 + 0.8 * i, -2500 + 0.1 * i, 0.05 * i))
        sweeps.append(Sweep(points, columns, 10**18 + round(stamp_ms * MS), ego_SE3_lidar, world_SE3_ego))
    return sweeps


def read_cloud(sweeps: CudaSweeps, merged: Merged, spec: ModelSpec) -> np.ndarray:
    columns, cloud = len(spec.point_columns), sweeps.cloud
    assert isinstance(cloud, CpuMemory)
    return cloud.read(np.float32, merged.num_kept * columns).reshape(-1, columns)


@pytest.mark.parametrize("columns", [COLUMNS, ("x", "y", "z", "ring", "intensity", "dt")])
def test_they_are_merged_as_by_numpy(library: ctypes.CDLL, of_three: ModelSpec, columns: tuple[str, ...]) -> None:
    device = CpuDevice(library, shuffled)
    history = drive([100 * i for i in range(6)], columns)
    sweeps = CudaSweeps(device, of_three, columns, max_cloud_points=1000)
    for i, sweep in enumerate(history):
        before = device.uploaded_bytes
        merged = sweeps.merge(sweep)
        assert device.uploaded_bytes - before <= sweep.points.nbytes + 48 * of_three.num_sweeps  # the newest alone
        expected = merge_sweeps(history[max(0, i - 2) : i + 1][::-1], of_three.point_columns)
        assert merged == (min(3, i + 1), len(expected), len(expected))
        np.testing.assert_array_equal(read_cloud(sweeps, merged, of_three), expected)
        sweeps.keep()
    sweeps.clear()
    merged = sweeps.merge(history[0])
    assert merged == (1, 50, 50)
    np.testing.assert_array_equal(read_cloud(sweeps, merged, of_three)[:, :3], history[0].points[:, :3])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gaps_ms=st.lists(st.sampled_from((17, 33, 50, 99, 100, 101, 149, 151, 250)), min_size=1, max_size=12),
    max_cloud_points=st.sampled_from((40, 120, 150, 1000)),
    not_kept=st.sets(st.integers(0, 11)),
    without_pose=st.sets(st.integers(0, 11), max_size=3),
)
def test_any_drive_is_merged_and_thinned_as_on_the_host(
    library: ctypes.CDLL,
    of_three: ModelSpec,
    gaps_ms: list[int],
    max_cloud_points: int,
    not_kept: set[int],
    without_pose: set[int],
) -> None:
    """Lost sweeps, those of a faster LiDAR, those whose cloud failed, those without a pose."""
    buffer: SweepBuffer[Sweep] = SweepBuffer(3, 0.1)
    sweeps = CudaSweeps(CpuDevice(library), of_three, COLUMNS, max_cloud_points)
    for i, sweep in enumerate(drive([float(t) for t in np.cumsum(gaps_ms)])):
        if i in without_pose:
            sweep = dataclasses.replace(sweep, world_SE3_ego=None)
        merged, chosen = sweeps.merge(sweep), buffer.select(sweep)
        cloud = merge_sweeps(chosen, of_three.point_columns)
        expected = cloud[:: thinning_stride(len(cloud), max_cloud_points)]
        assert merged == (len(chosen), len(cloud), len(expected))
        np.testing.assert_array_equal(read_cloud(sweeps, merged, of_three), expected)
        if i not in not_kept:
            buffer.keep(sweep)
            sweeps.keep()


def test_they_are_deskewed_as_on_the_host(library: ctypes.CDLL, of_three: ModelSpec) -> None:
    """Bit by bit, in sweeps of unequal lengths, the last of which has no motion."""
    columns = (*COLUMNS, TIME_COLUMN)
    sweeps = CudaSweeps(CpuDevice(library, shuffled), of_three, columns, 1000)
    kept: list[Sweep] = []
    for i, sweep in enumerate(drive([100, 200, 300, 400], columns)):
        first_s = -0.05 * (i + 1)
        times = np.random.default_rng(i).uniform(first_s, 0, len(sweep.points))
        sweep = dataclasses.replace(sweep, points=np.column_stack([sweep.points[:, :4], times]).astype(np.float32))
        motion = motion_during(lambda ns: SE3.from_yaw(1e-9 * (ns % 10**10), (4e3, 0, 1e-8 * ns)), 10**9, first_s, 0.0)
        of_sweep = motion if i < 3 else None
        merged = sweeps.merge(sweep, of_sweep)
        kept.insert(0, deskewed(sweep, of_sweep))
        expected = merge_sweeps(kept[:3], of_three.point_columns)
        np.testing.assert_array_equal(read_cloud(sweeps, merged, of_three), expected)
        sweeps.keep()


def test_one_that_was_not_kept_is_merged_again_and_counts_once(library: ctypes.CDLL, of_three: ModelSpec) -> None:
    first, second = drive([0, 100])
    sweeps = CudaSweeps(CpuDevice(library), of_three, COLUMNS, 1000)
    for _ in range(3):
        assert sweeps.merge(first).num_sweeps == 1
    sweeps.keep()
    sweeps.keep()  # of nothing
    assert [sweeps.merge(second).num_sweeps for _ in range(2)] == [2, 2]


class Counting(CpuDevice):
    num_allocated = 0

    def allocate(self, num_bytes: int) -> CpuMemory:
        self.num_allocated += 1
        return super().allocate(num_bytes)


@pytest.mark.parametrize("interval_ms", [100, 25])
def test_memory_is_used_again(library: ctypes.CDLL, of_three: ModelSpec, interval_ms: int) -> None:
    """Sweeps of unequal sizes, of a LiDAR as fast as the model's and of a faster one, with time that starts over."""
    device = Counting(library)
    sweeps = CudaSweeps(device, of_three, COLUMNS, 1000)
    history = drive([interval_ms * i for i in range(60)])
    after_some = 0
    for lap in range(3):
        for sweep in history:
            sweeps.merge(sweep)
            sweeps.keep()
        sweeps.clear()
        if lap == 1:
            after_some = device.num_allocated
    assert device.num_allocated == after_some


def test_they_change_hands(library: ctypes.CDLL, of_three: ModelSpec) -> None:
    device, history = CpuDevice(library), drive([0, 100, 200, 300])
    before, after = (CudaSweeps(device, of_three, COLUMNS, 1000) for _ in range(2))
    for sweep in history[:3]:
        before.merge(sweep)
        before.keep()
    after.adopt(before)
    merged = after.merge(history[3])
    expected = merge_sweeps(history[:0:-1], of_three.point_columns)
    np.testing.assert_array_equal(read_cloud(after, merged, of_three), expected)
    assert before.merge(history[3]).num_sweeps == 1


def test_columns_that_do_not_fit_are_refused(library: ctypes.CDLL, spec: ModelSpec) -> None:
    device = CpuDevice(library)
    with pytest.raises(CloudFormatError, match="lack intensity"):
        CudaSweeps(device, spec, ("x", "y", "z"), 10)
    sweeps = CudaSweeps(device, spec, COLUMNS, 10)
    for shape, columns in (((3, 5), COLUMNS), ((3, 4), ("x", "y", "z", "ring"))):
        with pytest.raises(CloudFormatError, match="expected x, y, z, intensity"):
            sweeps.merge(Sweep(np.zeros(shape, np.float32), columns, 0, SE3.identity(), None))


@pytest.mark.gpu
@pytest.mark.parametrize("max_cloud_points", [100_000, 4_500])
def test_on_the_gpu_they_are_what_they_are_on_the_host(of_three: ModelSpec, max_cloud_points: int) -> None:
    """Bit by bit, in another thread than the one that opened the device."""
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings are not installed")
    status, number = runtime.cudaGetDeviceCount()
    if int(status) != 0 or not number:
        pytest.skip("no CUDA device")
    from lidarloop_core.gpu.cuda import Cuda
    from lidarloop_core.gpu.device import GpuDevice

    cuda = Cuda(runtime)
    device = GpuDevice(cuda, upload_bytes=1000)
    sweeps = CudaSweeps(device, of_three, COLUMNS, max_cloud_points)
    buffer: SweepBuffer[Sweep] = SweepBuffer(3, 0.1)

    def merged_on_the_gpu(sweep: Sweep) -> np.ndarray:
        cuda.make_current()
        num_kept = sweeps.merge(sweep).num_kept
        cloud = np.frombuffer(device.download(sweeps.cloud, 4 * 5 * num_kept), np.float32)
        sweeps.keep()
        return cloud.reshape(num_kept, 5)

    with ThreadPoolExecutor(1) as another_thread:
        for sweep in dense_drive([0, 1, 2, 3, 5, 6]):
            cloud = merge_sweeps(buffer.select(sweep), of_three.point_columns)
            expected = cloud[:: thinning_stride(len(cloud), max_cloud_points)]
            np.testing.assert_array_equal(another_thread.submit(merged_on_the_gpu, sweep).result(), expected)
            buffer.keep(sweep)
