"""The CUDA source is compiled by NVRTC for every kind of GPU, and all of it is used."""

from __future__ import annotations

import ctypes
import re

import numpy as np
import pytest

from lidarloop_core.errors import BackendError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.gpu.grouping import cuda_grouping
from lidarloop_core.gpu.kernels import compile_source, source
from lidarloop_core.gpu.sweeps import CudaSweeps
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import bucket_for, capacity
from lidarloop_core.pointcloud.deskew import motion_during
from lidarloop_core.pointcloud.point_time import TIME_COLUMN
from lidarloop_core.sample import Sweep
from tests.builders import VOXEL_DETECTOR, VOXEL_SEGMENTER
from tests.core.gpu.cpu_device import CpuDevice

# Jetson Orin is 87, Thor 110; GH200 and H200 are 90.
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_110", "sm_120")


def test_every_kernel_is_launched_somewhere(library: ctypes.CDLL, spec: ModelSpec) -> None:
    device = CpuDevice(library)
    columns = ("x", "y", "z", "intensity", TIME_COLUMN)
    points = np.random.default_rng(0).uniform(-5, 3, (5000, 5)).astype(np.float32)
    standing = motion_during(lambda _: SE3.identity(), 0, -0.1, 0.0)
    for model in (spec, VOXEL_DETECTOR, VOXEL_SEGMENTER):
        sweeps = CudaSweeps(device, model, columns, 5000)
        grouping = cuda_grouping(device, model, 5000)
        for part in (points, points[:20]):  # full pillars are padded with points, few pillars with unused cells
            merged = sweeps.merge(Sweep(part, columns, 0, SE3.identity(), None), standing)
            counts = grouping.group(sweeps.cloud, merged.num_kept)
            grouping.pad(counts, bucket_for(counts.sizes, capacity(model.inputs)))
    assert set(device.launches) == set(re.findall(r"__global__ void (\w+)", source()))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvrtc_compiles_it(architecture: str) -> None:
    """Machine code for each kind of GPU, without one."""
    pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings are not installed")
    code = compile_source(source(), architecture)
    assert code.startswith(b"\x7fELF")
    for name in re.findall(r"__global__ void (\w+)", source()):
        assert name.encode() in code


def test_reasons_of_nvrtc_are_in_the_error() -> None:
    pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings are not installed")
    with pytest.raises(BackendError, match=r"refuses broken\.cu for sm_87.*nonsense"):
        compile_source("nonsense;", "sm_87", "broken.cu")
    with pytest.raises(BackendError, match=r"refuses kernels\.cu for sm_1"):
        compile_source(source(), "sm_1")
    with pytest.raises(BackendError, match=r"voxels\.cu\(\d+\).*fault"):
        compile_source(f"{source()}fault;", "sm_87")
