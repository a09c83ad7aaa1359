"""A GPU that is none: the kernels compiled for the CPU, in the memory of the stand-in for CUDA, beside its TensorRT."""

from __future__ import annotations

import ctypes
import weakref
from pathlib import Path

import numpy as np

from lidarloop_core.gpu.kernels import source
from lidarloop_core.inference.tensorrt.backend import TensorRtBackend
from lidarloop_core.inference.tensorrt.cache import EngineCache
from tests.core.gpu.cpu_device import CpuDevice, CpuMemory, compile_for_cpu
from tests.core.inference.tensorrt.fake_tensorrt import FakeRuntime, make_trt


class OnDevice(CpuDevice):
    """``launcher.Device`` whose memory is the stand-in's, with its limit, and freed with the object."""

    def __init__(self, library: ctypes.CDLL, runtime: FakeRuntime) -> None:
        super().__init__(library)
        self._runtime = runtime

    def allocate(self, num_bytes: int) -> CpuMemory:
        from lidarloop_core.gpu.cuda import CudaOutOfMemoryError

        status, address = self._runtime.cudaMalloc(max(1, num_bytes))
        if int(status) != 0:
            raise CudaOutOfMemoryError("cudaMalloc: out of memory")
        memory = CpuMemory(0)
        memory.address = address
        block, size, _ = self._runtime.memory[address]
        memory.bytes = np.frombuffer(block, np.uint8)[address - ctypes.addressof(block) :][:size]
        weakref.finalize(memory, self._runtime.cudaFree, address)
        return memory


class StandInGpu:
    """One GPU: its memory, and what opens models on it.

    Args:
        folder: for the compiled kernels and the engines.
        num_bytes: of memory.
    """

    def __init__(self, folder: Path, num_bytes: int = 1 << 30) -> None:
        self.runtime = FakeRuntime(num_bytes)
        self._trt = make_trt(self.runtime)
        self._library = compile_for_cpu(source(), folder)
        self._engines = EngineCache(folder)

    def open_backend(self, model: Path) -> TensorRtBackend:
        return TensorRtBackend(model, cache=self._engines, trt=self._trt, runtime=self.runtime)

    def device(self) -> OnDevice:
        return OnDevice(self._library, self.runtime)
