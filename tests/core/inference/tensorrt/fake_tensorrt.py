"""Stand-ins for ``tensorrt`` and ``cuda.bindings.runtime`` that really compute, on the CPU.

"Device memory" is ordinary memory with a limit; what is put on a stream runs only when the stream is synchronised or
a graph of it is launched, so a forgotten wait or a capture that ran at once is seen. An "engine" is the ONNX file, run
by onnxruntime on whatever lies at the tensors' addresses. Each call is noted with its class, so that a test can hold
them all against the signatures of NVIDIA's own packages.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(double)": np.float64,
}
MAGIC = b"an engine of "


class Status(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorLaunchFailure = 719


class FakeRuntime:
    """``cuda.bindings.runtime`` with ``num_bytes`` of device memory."""

    cudaError_t = Status
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice="in", cudaMemcpyDeviceToHost="out")
    cudaStreamNonBlocking = 1
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self, num_bytes: int = 1 << 30, name: str = "Stand-in", major: int = 8, minor: int = 7) -> None:
        self.limit = num_bytes
        self.memory: dict[int, tuple[Any, int, bool]] = {}
        self.queue: list[Callable[[], None]] = []
        self.captured: list[Callable[[], None]] | None = None
        self.log: list[tuple[str, int]] = []
        self.properties = SimpleNamespace(name=name.encode() + b"\0\0", major=major, minor=minor)
        self.num_launches = 0

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if not name.startswith("cuda") or not callable(value) or isinstance(value, type):
            return value

        @functools.wraps(value)
        def noted(*arguments: Any) -> Any:
            self.log.append((name, len(arguments)))
            return value(*arguments)

        return noted

    @property
    def used(self) -> int:
        return sum(size for _, size, on_device in self.memory.values() if on_device)

    def put(self, work: Callable[[], None]) -> None:
        (self.queue if self.captured is None else self.captured).append(work)

    def cudaSetDevice(self, device: int) -> tuple[Any, ...]:
        return (Status.cudaSuccess,)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        return Status.cudaSuccess, self.properties

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        assert flags == self.cudaStreamNonBlocking, "a model loaded elsewhere would break a capture"
        return Status.cudaSuccess, 77

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        assert stream == 77
        return (Status.cudaSuccess,)

    def cudaMemGetInfo(self) -> tuple[Any, ...]:
        return Status.cudaSuccess, self.limit - self.used, self.limit

    def _allocate(self, size: int, on_device: bool) -> tuple[Any, ...]:
        if on_device and self.used + size > self.limit:
            return Status.cudaErrorMemoryAllocation, None
        block = ctypes.create_string_buffer(b"\xa5" * (size + 256), size + 256)  # never zeros by luck
        address = (ctypes.addressof(block) + 255) // 256 * 256
        self.memory[address] = (block, size, on_device)
        return Status.cudaSuccess, address

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate(size, True)

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        return self._allocate(size, False)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        del self.memory[address]
        return (Status.cudaSuccess,)

    cudaFreeHost = cudaFree

    def _inside(self, address: int, size: int, on_device: bool) -> bool:
        return any(
            start <= address and address + size <= start + length and kind == on_device
            for start, (_, length, kind) in self.memory.items()
        )

    def cudaMemcpyAsync(self, destination: int, source: int, size: int, kind: str, stream: int) -> tuple[Any, ...]:
        assert stream == 77
        assert self._inside(destination, size, kind == "in")
        assert self._inside(source, size, kind == "out")
        self.put(lambda: ctypes.memmove(destination, source, size) and None)
        return (Status.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        assert self.captured is None, "synchronising is not allowed while capturing"
        work, self.queue = self.queue, []
        for step in work:
            step()
        return (Status.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Any, ...]:
        self.captured = []
        return (Status.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        graph, self.captured = self.captured, None
        return Status.cudaSuccess, graph

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Any, ...]:
        return Status.cudaSuccess, tuple(graph)

    def cudaGraphDestroy(self, graph: Any) -> tuple[Any, ...]:
        return (Status.cudaSuccess,)

    def cudaGraphExecDestroy(self, graph: Any) -> tuple[Any, ...]:
        return (Status.cudaSuccess,)

    def cudaGraphLaunch(self, graph: Any, stream: int) -> tuple[Any, ...]:
        self.num_launches += 1
        for work in graph:
            self.put(work)
        return (Status.cudaSuccess,)

    def cudaEventCreate(self) -> tuple[Any, ...]:
        return Status.cudaSuccess, []

    def cudaEventRecord(self, event: list[float], stream: int) -> tuple[Any, ...]:
        self.put(lambda: event.append(time.perf_counter()))
        return (Status.cudaSuccess,)

    def cudaEventElapsedTime(self, first: list[float], second: list[float]) -> tuple[Any, ...]:
        return Status.cudaSuccess, 1e3 * (second[-1] - first[-1])

    def cudaEventDestroy(self, event: Any) -> tuple[Any, ...]:
        return (Status.cudaSuccess,)

    def cudaGetLastError(self) -> tuple[Any, ...]:
        return (Status.cudaSuccess,)

    def cudaGetErrorString(self, status: int) -> tuple[Any, ...]:
        return Status.cudaSuccess, Status(status).name.encode()


class _Noted:
    """Notes each public method called and each public attribute set or read on the objects of NVIDIA's classes."""

    calls: list[tuple[str, str, int | None]] = []

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name.startswith("_"):
            return value
        kind = type(self).__name__
        if not callable(value):
            _Noted.calls.append((kind, name, None))
            return value

        @functools.wraps(value)
        def noted(*arguments: Any) -> Any:
            _Noted.calls.append((kind, name, len(arguments)))
            return value(*arguments)

        return noted

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            _Noted.calls.append((type(self).__name__, name, None))
        super().__setattr__(name, value)


def make_trt(runtime: FakeRuntime, version: str = "10.3.0") -> Any:  # noqa: C901  # a module of many small classes
    """A module ``tensorrt`` whose engines run on ``runtime``."""

    class Logger:
        ERROR = 1

        def __init__(self, severity: int) -> None: ...

    class IProgressMonitor:
        pass

    class ParserError(_Noted):
        def desc(self) -> str:
            return "this is no ONNX model"

    class INetworkDefinition(_Noted):
        _onnx = b""

    class OnnxParser(_Noted):
        def __init__(self, network: INetworkDefinition, logger: Logger) -> None:
            self._network = network

        @property
        def num_errors(self) -> int:
            return 1

        def get_error(self, index: int) -> ParserError:
            return ParserError()

        def parse(self, network: bytes) -> bool:
            self._network._onnx = network
            return network[:4] != b"junk"

    class IOptimizationProfile(_Noted):
        def __init__(self) -> None:
            self._shapes: dict[str, Any] = {}

        def set_shape(self, name: str, low: Any, usual: Any, high: Any) -> None:
            self._shapes[name] = (low, high)

    class ITimingCache(_Noted):
        def __init__(self, data: bytes) -> None:
            self._data = data

        def serialize(self) -> bytes:
            return self._data + b"timed "

    class IBuilderConfig(_Noted):
        def __init__(self) -> None:
            self._cache: ITimingCache | None = None
            self.progress_monitor = None

        def set_memory_pool_limit(self, pool: Any, size: int) -> None: ...

        def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
            self._profile = profile
            return 0

        def create_timing_cache(self, data: bytes) -> ITimingCache:
            return ITimingCache(data)

        def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
            self._cache = cache
            return True

        def get_timing_cache(self) -> ITimingCache | None:
            return self._cache

    class Builder(_Noted):
        def __init__(self, logger: Logger) -> None: ...

        def create_network(self, flags: int) -> INetworkDefinition:
            assert flags == 1, "networks are to be strongly typed"
            return INetworkDefinition()

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig()

        def create_optimization_profile(self) -> IOptimizationProfile:
            return IOptimizationProfile()

        def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes:
            module.num_builds += 1
            monitor = config.progress_monitor
            if monitor is not None:
                monitor.phase_start("Building", None, 2)
                assert monitor.step_complete("Building", 0)
                monitor.phase_finish("Building")
            session = onnxruntime.InferenceSession(network._onnx, providers=["CPUExecutionProvider"])
            assert set(config._profile._shapes) == {tensor.name for tensor in session.get_inputs()}
            return MAGIC + version.encode() + b"\n" + network._onnx

    class IExecutionContext(_Noted):
        def __init__(self, engine: ICudaEngine) -> None:
            self._engine = engine
            self._shapes: dict[str, tuple[int, ...]] = {}
            self._addresses: dict[str, int] = {}
            self._is_captured = False
            self.device_memory = 0

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            assert not self._is_captured, "changing the context that a graph was captured from breaks the graph"
            self._shapes[name] = shape
            return True

        def set_tensor_address(self, name: str, address: int) -> bool:
            assert address % 256 == 0
            self._addresses[name] = address
            return True

        def update_device_memory_size_for_shapes(self) -> int:
            return 1000 * min(shape[0] for shape in self._shapes.values())  # by the pillars, of which there are fewest

        def execute_async_v3(self, stream: int) -> bool:
            assert stream == 77
            assert self.__dict__["device_memory"] in runtime.memory
            self._is_captured |= runtime.captured is not None
            runtime.put(self._run)
            return True

        def _run(self) -> None:
            session, inputs = self._engine._session, {}
            for tensor in session.get_inputs():
                inputs[tensor.name] = at(self._addresses[tensor.name], self._shapes[tensor.name], DTYPES[tensor.type])
            for tensor, value in zip(session.get_outputs(), session.run(None, inputs), strict=True):
                at(self._addresses[tensor.name], value.shape, value.dtype)[...] = value

    class ICudaEngine(_Noted):
        def __init__(self, onnx_bytes: bytes) -> None:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            options.intra_op_num_threads = 1
            self._session = onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
            self._tensors = [*self._session.get_inputs(), *self._session.get_outputs()]

        @property
        def num_io_tensors(self) -> int:
            return len(self._tensors)

        def get_tensor_name(self, index: int) -> str:
            return self._tensors[index].name

        def get_tensor_dtype(self, name: str) -> str:
            return next(t.type for t in self._tensors if t.name == name)

        def create_execution_context(self, strategy: Any) -> IExecutionContext:
            return IExecutionContext(self)

    class Runtime(_Noted):
        def __init__(self, logger: Logger) -> None: ...

        def deserialize_cuda_engine(self, engine: bytes) -> ICudaEngine | None:
            head, _, network = engine.partition(b"\n")
            if module.refuses or head != MAGIC + version.encode():
                module.refuses = max(0, module.refuses - 1)
                return None
            return ICudaEngine(network)

    def at(address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert runtime._inside(address, size, True), "a tensor must lie on the device"
        memory: Any = (ctypes.c_uint8 * size).from_address(address)
        return np.frombuffer(memory, dtype).reshape(shape)

    module = SimpleNamespace(
        __version__=version,
        Logger=Logger,
        IProgressMonitor=IProgressMonitor,
        OnnxParser=OnnxParser,
        Builder=Builder,
        Runtime=Runtime,
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=0),
        MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED=2),
        nptype=DTYPES.__getitem__,
        num_builds=0,
        refuses=0,
        calls=_Noted.calls,
    )
    return module
