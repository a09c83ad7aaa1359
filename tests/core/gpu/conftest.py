"""The CUDA source as a library for the CPU, compiled once; and a real GPU where there is one."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from lidarloop_core.gpu.cuda import Cuda
from lidarloop_core.gpu.device import GpuDevice
from lidarloop_core.gpu.kernels import source
from lidarloop_core.gpu.launcher import Memory
from tests.core.gpu.cpu_device import compile_for_cpu


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return compile_for_cpu(source(), tmp_path_factory.mktemp("kernels"))


class ReadableGpu(GpuDevice):
    def read(self, memory: Memory, dtype: Any, count: int) -> np.ndarray:
        return np.frombuffer(self.download(memory, np.dtype(dtype).itemsize * count), dtype)


@pytest.fixture
def gpu() -> ReadableGpu:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings are not installed")
    status, number = runtime.cudaGetDeviceCount()
    if int(status) != 0 or not number:
        pytest.skip("no CUDA device")
    return ReadableGpu(Cuda(runtime))
