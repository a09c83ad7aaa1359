"""The part of CUDA's runtime that is used: memory on the device and pinned on the host, one stream, graphs, events.

It calls NVIDIA's own bindings (``cuda.bindings.runtime`` of the package cuda-python), which are passed in, so that the
logic built on this runs in tests without a GPU. Every call's status is checked.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import BackendError


class CudaError(BackendError):
    """A CUDA call failed."""


class CudaOutOfMemoryError(CudaError):
    """The device, or the pinned memory of the host, is full."""


def import_runtime() -> Any:
    """The module ``cuda.bindings.runtime``.

    Raises:
        BackendError: it is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise BackendError(
            f"CUDA's Python bindings cannot be imported ({error}); install those of your CUDA version: "
            'pip install "cuda-python>=12.6,<13" for CUDA 12 (JetPack 6), or "cuda-python>=13" for CUDA 13'
        ) from None
    return runtime


class Cuda:
    """One device and one stream on it, on which all work is done in order.

    Args:
        runtime: the module ``cuda.bindings.runtime``, or a stand-in for it.
        device: number of the device.

    Attributes:
        runtime: the module.
        stream: the stream.

    Raises:
        CudaError: no such device, or no driver.
    """

    def __init__(self, runtime: Any, device: int = 0) -> None:
        self.runtime = runtime
        self._device = device
        self.make_current()
        self._properties = self._call("cudaGetDeviceProperties", device)
        # Of its own: one tied to the default stream cannot be captured while another thread loads a model.
        self.stream = self._call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking)
        weakref.finalize(self, runtime.cudaStreamDestroy, self.stream)

    def make_current(self) -> None:
        """Makes this the calling thread's device: a kernel is launched on the thread's device, whatever the stream."""
        self._call("cudaSetDevice", self._device)

    @property
    def gpu(self) -> str:
        """Name and compute capability, e.g. ``"NVIDIA H200 sm_90"``."""
        name = self._properties.name
        text = name.decode() if isinstance(name, bytes) else str(name)
        return f"{text.rstrip(chr(0))} sm_{self._properties.major}{self._properties.minor}"

    def free_and_total_bytes(self) -> tuple[int, int]:
        """The device's free memory and its memory in all."""
        free, total = self._call("cudaMemGetInfo")
        return int(free), int(total)

    def allocate(self, num_bytes: int) -> DeviceMemory:
        """Memory on the device, freed with the last reference to it.

        Raises:
            CudaOutOfMemoryError: less than that is free.
        """
        return DeviceMemory(self, num_bytes)

    def allocate_pinned(self, num_bytes: int) -> PinnedMemory:
        """Page-locked memory on the host, which the device copies from and to directly; raises as ``allocate``."""
        return PinnedMemory(self, num_bytes)

    def copy_to_device(self, destination: int, source: int, num_bytes: int) -> None:
        """Puts a copy from a host's address to a device's on the stream."""
        self._copy(destination, source, num_bytes, "cudaMemcpyHostToDevice")

    def copy_to_host(self, destination: int, source: int, num_bytes: int) -> None:
        """Puts a copy from a device's address to a host's on the stream."""
        self._copy(destination, source, num_bytes, "cudaMemcpyDeviceToHost")

    def _copy(self, destination: int, source: int, num_bytes: int, kind: str) -> None:
        self._call(
            "cudaMemcpyAsync", destination, source, num_bytes, getattr(self.runtime.cudaMemcpyKind, kind), self.stream
        )

    def synchronize(self) -> None:
        """Waits for the stream; raises CudaError here for a kernel that failed."""
        self._call("cudaStreamSynchronize", self.stream)

    def capture(self, work: Callable[[], None]) -> Graph:
        """Records the work that ``work`` puts on the stream, without running it."""
        mode = self.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self.stream, mode)
        try:
            work()
        except BaseException:
            self.runtime.cudaStreamEndCapture(self.stream)  # leaves the stream usable; the first error is raised
            raise
        recorded = self._call("cudaStreamEndCapture", self.stream)
        graph = Graph(self, self._call("cudaGraphInstantiate", recorded, 0))
        self._call("cudaGraphDestroy", recorded)
        return graph

    def event(self) -> Any:
        """A mark on the stream behind the work so far."""
        event = self._call("cudaEventCreate")
        self._call("cudaEventRecord", event, self.stream)
        return event

    def milliseconds_between(self, first: Any, second: Any) -> float:
        """Time between two marks that the stream has passed, milliseconds."""
        elapsed = float(self._call("cudaEventElapsedTime", first, second))
        return elapsed

    def forget(self, *events: Any) -> None:
        """Frees marks."""
        for event in events:
            self._call("cudaEventDestroy", event)

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *values = getattr(self.runtime, name)(*arguments)
        if int(status) != 0:
            if int(status) == int(self.runtime.cudaError_t.cudaErrorMemoryAllocation):
                # The error is kept until it is read; the next call would get it again.
                self.runtime.cudaGetLastError()
                raise CudaOutOfMemoryError(f"{name}: out of memory")
            _, reason = self.runtime.cudaGetErrorString(status)
            text = reason.decode() if isinstance(reason, bytes) else str(reason)
            raise CudaError(f"{name} failed: {text} (error {int(status)}); see `lidarloop doctor`")
        return values[0] if len(values) == 1 else tuple(values)


class DeviceMemory:
    """Bytes on the device, freed with the object.

    Attributes:
        num_bytes: size.
        address: address of the first byte on the device.
    """

    def __init__(self, cuda: Cuda, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self.address = int(cuda._call("cudaMalloc", max(1, num_bytes)))
        self.free = weakref.finalize(self, cuda.runtime.cudaFree, self.address)


class PinnedMemory:
    """Page-locked bytes on the host, freed with the object.

    Attributes:
        address: address of the first byte.
        bytes: (num_bytes,) uint8 view of them.
    """

    def __init__(self, cuda: Cuda, num_bytes: int) -> None:
        self.address = int(cuda._call("cudaMallocHost", max(1, num_bytes)))
        memory = (ctypes.c_uint8 * num_bytes).from_address(self.address)
        self.bytes: npt.NDArray[np.uint8] = np.ctypeslib.as_array(memory)
        self.free = weakref.finalize(self, cuda.runtime.cudaFreeHost, self.address)


class Graph:
    """Recorded work, launched by one call."""

    def __init__(self, cuda: Cuda, executable: Any) -> None:
        self._cuda = cuda
        self._executable = executable
        weakref.finalize(self, cuda.runtime.cudaGraphExecDestroy, executable)

    def launch(self) -> None:
        """Puts the work on the stream."""
        self._cuda._call("cudaGraphLaunch", self._executable, self._cuda.stream)
