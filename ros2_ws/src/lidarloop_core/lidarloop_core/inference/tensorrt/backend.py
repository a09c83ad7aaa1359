"""TensorRT as a backend: a model file's engine from the cache, or built on first use; no torch.

One copy in, one launch, one copy out, all on one stream. Inputs are padded to buckets (see ``padding``), and each
bucket gets an execution context and a CUDA graph of its own: a graph is tied to the context and the shapes it was
captured from. All contexts share one piece of scratch memory, since only one runs at a time.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import BackendError, ModelFileError
from lidarloop_core.gpu.cuda import Cuda, CudaOutOfMemoryError, DeviceMemory, Graph, PinnedMemory, import_runtime
from lidarloop_core.inference.tensorrt.builder import OnProgress, build_engine, capacity, profile_shapes
from lidarloop_core.inference.tensorrt.cache import EngineCache, EngineKey
from lidarloop_core.model.model_file import ModelFile, read_model
from lidarloop_core.model.padding import Bucket, bucket_for, fill_padded
from lidarloop_core.model.spec import INPUT_NAMES, OUTPUT_NAMES, ModelSpec

OLDEST_MAJOR = 10
"""The first TensorRT with int64 tensors and with memory that contexts can share by this interface."""

_WORKSPACE_BYTES = 1 << 30
_NUM_BUCKETS_KEPT = 12
_ALIGNMENT = 256

_log = logging.getLogger(__name__)


class Tensor(NamedTuple):
    """Where a tensor lies in a block of memory."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    @property
    def num_bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize


class _Prepared:
    """A bucket's context, what is copied in for it (nothing where it is on the device), and its graph."""

    def __init__(self, context: Any, inputs: list[Tensor]) -> None:
        self.context = context
        self.inputs = inputs
        self.has_run = False
        self.graph: Graph | None = None


class TensorRtBackend:
    """A model file on an NVIDIA GPU; see ``Backend`` for the attributes.

    Where the device's memory does not suffice for the model's capacity, half of it is tried; ``spec`` then says so, and
    larger clouds are thinned and counted by the grouping.

    Args:
        model: a model file, fp32, fp16 or int8: the engine computes as the file says.
        cache: of engines; the user's own by default.
        trt: the module ``tensorrt``; imported where it is not given.
        runtime: ``cuda.bindings.runtime``; imported where it is not given.
        device: number of the GPU.
        on_progress: is told how far the build is, where there is one.

    Attributes:
        cuda: the device and the stream that everything runs on.

    Raises:
        ModelFileError: the file is missing, foreign or corrupt.
        BackendError: TensorRT or CUDA is missing or too old, the engine cannot be built, or memory does not suffice.
    """

    def __init__(
        self,
        model: Path,
        *,
        cache: EngineCache | None = None,
        trt: Any = None,
        runtime: Any = None,
        device: int = 0,
        on_progress: OnProgress | None = None,
    ) -> None:
        file = read_model(model)
        self._trt = import_tensorrt() if trt is None else trt
        self.cuda = Cuda(import_runtime() if runtime is None else runtime, device)
        self.spec = file.spec
        self.model_sha256 = file.sha256
        self.device = f"tensorrt {self._trt.__version__} {file.precision} {self.cuda.gpu}"
        cache = EngineCache(say=_log.info) if cache is None else cache
        self._runtime = self._trt.Runtime(self._trt.Logger(self._trt.Logger.ERROR))
        self._engine = _load(self._trt, self._runtime, file, cache, self.cuda.gpu, on_progress)
        _check_tensors(self._engine, self._trt, file, model)
        self._prepared: OrderedDict[tuple[Bucket, tuple[int, ...] | None], _Prepared] = OrderedDict()
        self._allocate()

    def infer(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Runs the engine once; see ``Backend.infer``.

        Raises:
            BackendError: the engine failed.
        """
        self._launch(self._fill(inputs))
        return self._results()

    def infer_on_device(self, bucket: Bucket, addresses: Mapping[str, int]) -> dict[str, npt.NDArray[Any]]:
        """As ``infer``, of inputs that are on the device and padded already: only the outputs are copied.

        Args:
            bucket: the inputs' sizes.
            addresses: ``spec.INPUT_NAMES`` → where each lies, aligned to 256 bytes; filled on this backend's stream.
        """
        self._launch(self._prepared_for(bucket, tuple(addresses[name] for name in INPUT_NAMES)))
        return self._results()

    def infer_timed(
        self, inputs: Mapping[str, npt.NDArray[Any]]
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, float]]:
        """As ``infer``, step by step without a graph; also the ms of ``copy_in``, ``network`` and ``copy_out``."""
        prepared = self._fill(inputs)
        marks = [self.cuda.event()]
        self._copy_in(prepared)
        marks.append(self.cuda.event())
        self._execute(prepared)
        marks.append(self.cuda.event())
        self._copy_out()
        marks.append(self.cuda.event())
        self.cuda.synchronize()
        between = [self.cuda.milliseconds_between(a, b) for a, b in pairwise(marks)]
        self.cuda.forget(*marks)
        return self._results(), dict(zip(("copy_in", "network", "copy_out"), between, strict=True))

    @property
    def largest(self) -> Bucket:
        """Most points and pillars of one cloud."""
        return self._largest

    @property
    def memory_bytes(self) -> int:
        """Device memory held besides the engine's weights."""
        return self._inputs.num_bytes + self._outputs.num_bytes + self._scratch.num_bytes

    def _launch(self, prepared: _Prepared) -> None:
        """A bucket's first run is plain: TensorRT settles shapes in it, so it cannot be captured. Its second is."""
        if not prepared.has_run:
            self._everything(prepared)
            prepared.has_run = True
        else:
            if prepared.graph is None:
                prepared.graph = self.cuda.capture(lambda: self._everything(prepared))
            prepared.graph.launch()
        self.cuda.synchronize()

    def _everything(self, prepared: _Prepared) -> None:
        self._copy_in(prepared)
        self._execute(prepared)
        self._copy_out()

    def _fill(self, inputs: Mapping[str, npt.NDArray[Any]]) -> _Prepared:
        """Pads the inputs into the pinned block."""
        num_points, num_pillars = len(inputs["slot"]), len(inputs["cell"])
        if not (0 < num_points <= self._largest.num_points and 0 < num_pillars <= self._largest.num_pillars):
            raise BackendError(
                f"{self.spec.name} received {num_points} points in {num_pillars} pillars; expected 1 to "
                f"{self._largest.num_points} in 1 to {self._largest.num_pillars}: group with the backend's own spec"
            )
        prepared = self._prepared_for(bucket_for(num_points, num_pillars, self._largest), None)
        columns, rows = self.spec.grid_size
        fill_padded(inputs, dict(_views(self._host_inputs, prepared.inputs)), columns * rows)
        return prepared

    def _prepared_for(self, bucket: Bucket, addresses: tuple[int, ...] | None) -> _Prepared:
        """The context of a bucket whose inputs lie at these addresses; by default in the block copied from the host."""
        key = (bucket, addresses)
        if key not in self._prepared:
            if len(self._prepared) >= _NUM_BUCKETS_KEPT:
                self._prepared.popitem(last=False)
            self._prepared[key] = self._prepare(bucket, addresses)
        self._prepared.move_to_end(key)
        return self._prepared[key]

    def _prepare(self, bucket: Bucket, addresses: tuple[int, ...] | None) -> _Prepared:
        layout = _input_layout(self.spec, bucket)
        if addresses is None:
            addresses, copied = tuple(self._inputs.address + tensor.offset for tensor in layout), layout
        else:
            copied = []
        context = self._context()
        context.device_memory = self._scratch.address
        for tensor, address in zip(layout, addresses, strict=True):
            self._require(context.set_input_shape(tensor.name, tensor.shape), f"shape {tensor.shape} of {tensor.name}")
            self._require(context.set_tensor_address(tensor.name, address), f"the address of {tensor.name}")
        for tensor in self._output_layout:
            address = self._outputs.address + tensor.offset
            self._require(context.set_tensor_address(tensor.name, address), f"the address of {tensor.name}")
        return _Prepared(context, copied)

    def _context(self) -> Any:
        context = self._engine.create_execution_context(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise CudaOutOfMemoryError(f"{self.device} made no execution context; its messages are printed above")
        return context

    def _copy_in(self, prepared: _Prepared) -> None:
        if prepared.inputs:
            last = prepared.inputs[-1]
            self.cuda.copy_to_device(self._inputs.address, self._host_inputs.address, last.offset + last.num_bytes)

    def _execute(self, prepared: _Prepared) -> None:
        self._require(prepared.context.execute_async_v3(self.cuda.stream), "a launch")

    def _copy_out(self) -> None:
        self.cuda.copy_to_host(self._host_outputs.address, self._outputs.address, self._outputs.num_bytes)

    def _results(self) -> dict[str, npt.NDArray[Any]]:
        """Copies: the next run writes over the pinned block."""
        return {name: view.copy() for name, view in _views(self._host_outputs, self._output_layout)}

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise BackendError(f"{self.spec.name} on {self.device}: TensorRT refused {what}; its messages are above")

    def _allocate(self) -> None:
        """Memory for the model's capacity, or else for half of it."""
        if self._fits(self.spec):
            return
        most_pillars = capacity(self.spec)[1]
        smaller = dataclasses.replace(self.spec, max_pillars=max(1, most_pillars // 2))
        _log.warning(
            "%s does not fit into the GPU's memory; trying with %d pillars instead of %d: larger clouds are thinned",
            *(self.spec.name, smaller.max_pillars, most_pillars),
        )
        if not self._fits(smaller):
            free, total = self.cuda.free_and_total_bytes()
            raise BackendError(
                f"{self.spec.name} needs more memory than {self.cuda.gpu} has left ({free / 2**20:.0f} of "
                f"{total / 2**20:.0f} MiB), even with {smaller.max_pillars} pillars: end what else uses the GPU, "
                "or export a model with fewer pillars"
            )
        self.spec = smaller

    def _fits(self, spec: ModelSpec) -> bool:
        """Whether there was memory. What was allocated before the error is freed here, with the error itself."""
        try:
            self._allocate_for(spec)
        except CudaOutOfMemoryError:
            return False
        return True

    def _allocate_for(self, spec: ModelSpec) -> None:
        """All or nothing: buffers for inputs and outputs, and scratch memory for the largest shapes."""
        largest = Bucket(*capacity(spec))
        inputs = _input_layout(spec, largest)
        outputs = _output_layout(spec)
        num_input_bytes, num_output_bytes = (t[-1].offset + t[-1].num_bytes for t in (inputs, outputs))
        host_inputs: PinnedMemory = self.cuda.allocate_pinned(num_input_bytes)
        host_outputs: PinnedMemory = self.cuda.allocate_pinned(num_output_bytes)
        device_inputs: DeviceMemory = self.cuda.allocate(num_input_bytes)
        device_outputs: DeviceMemory = self.cuda.allocate(num_output_bytes)
        context = self._context()
        for tensor in inputs:
            self._require(context.set_input_shape(tensor.name, tensor.shape), f"shape {tensor.shape} of {tensor.name}")
        scratch = self.cuda.allocate(int(context.update_device_memory_size_for_shapes()))
        self._largest, self._output_layout = largest, outputs
        self._host_inputs, self._host_outputs = host_inputs, host_outputs
        self._inputs, self._outputs, self._scratch = device_inputs, device_outputs, scratch


def import_tensorrt() -> Any:
    """The module ``tensorrt``, of a version that this works with.

    Raises:
        BackendError: it is missing or too old.
    """
    try:
        trt: Any = importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise BackendError(
            f"TensorRT cannot be imported ({error}); on a Jetson it comes with JetPack 6, on x86 install it: "
            "pip install tensorrt. Without it, onnxruntime runs the same file"
        ) from None
    if int(trt.__version__.split(".")[0]) < OLDEST_MAJOR:
        raise BackendError(
            f"TensorRT {trt.__version__} is installed; expected {OLDEST_MAJOR} or later (JetPack 6.1): "
            "update it, or use onnxruntime's TensorrtExecutionProvider"
        )
    return trt


def engine_key(trt: Any, file: ModelFile, gpu: str) -> EngineKey:
    """What an engine of this file, on this GPU, by this TensorRT is known by."""
    profile = "; ".join(f"{name} {shapes}" for name, shapes in profile_shapes(file.spec).items())
    return EngineKey(file.sha256, f"tensorrt {trt.__version__}", gpu, file.precision, profile)


def cached_engine(
    trt: Any, file: ModelFile, cache: EngineCache, gpu: str, on_progress: OnProgress | None = None
) -> bytes:
    """A model file's engine, from the cache or built into it."""

    def configure(config: Any) -> None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)

    def build(timings: bytes) -> tuple[bytes, bytes]:
        return build_engine(trt, file.onnx_bytes, file.spec, configure, timings=timings, on_progress=on_progress)

    return cache.get_or_build(engine_key(trt, file, gpu), build)


def _load(trt: Any, runtime: Any, file: ModelFile, cache: EngineCache, gpu: str, on_progress: OnProgress | None) -> Any:
    """The engine; one that the runtime refuses, e.g. after a driver's update, is built once more."""
    for _ in range(2):
        engine = runtime.deserialize_cuda_engine(cached_engine(trt, file, cache, gpu, on_progress))
        if engine is not None:
            return engine
        cache.discard(engine_key(trt, file, gpu))
    raise BackendError(
        f"tensorrt {trt.__version__} on {gpu} refuses the engine that it has just built; its messages are printed "
        "above. See `lidarloop doctor` for driver and CUDA versions"
    )


def _check_tensors(engine: Any, trt: Any, file: ModelFile, path: Path) -> None:
    names = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)}
    if names != {*INPUT_NAMES, *OUTPUT_NAMES}:
        raise ModelFileError(
            f"{path} has tensors {', '.join(sorted(names))}; expected inputs {', '.join(INPUT_NAMES)} and outputs "
            f"{', '.join(OUTPUT_NAMES)}: export it with `lidarloop export`"
        )
    bucket = Bucket(*capacity(file.spec))
    for tensor in (*_input_layout(file.spec, bucket), *_output_layout(file.spec)):
        found = np.dtype(trt.nptype(engine.get_tensor_dtype(tensor.name)))
        if found != tensor.dtype:
            raise ModelFileError(f"{path} has {tensor.name} of {found}; expected {tensor.dtype}: export it again")


def _input_layout(spec: ModelSpec, bucket: Bucket) -> list[Tensor]:
    return _layout(
        ("points", np.float32, (bucket.num_points, len(spec.point_columns))),
        ("slot", np.int64, (bucket.num_points,)),
        ("cell", np.int64, (bucket.num_pillars,)),
        ("count", np.int64, (bucket.num_pillars,)),
    )


def _output_layout(spec: ModelSpec) -> list[Tensor]:
    number = spec.max_detections
    return _layout(
        ("boxes", np.float32, (number, 9)), ("scores", np.float32, (number,)), ("labels", np.int64, (number,))
    )


def _layout(*tensors: tuple[str, Any, tuple[int, ...]]) -> list[Tensor]:
    """Tensors one after another, each where TensorRT wants a tensor to begin."""
    placed: list[Tensor] = []
    offset = 0
    for name, dtype, shape in tensors:
        tensor = Tensor(name, np.dtype(dtype), shape, offset)
        placed.append(tensor)
        offset += -(-tensor.num_bytes // _ALIGNMENT) * _ALIGNMENT
    return placed


def _views(memory: PinnedMemory, layout: list[Tensor]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    for tensor in layout:
        part = memory.bytes[tensor.offset : tensor.offset + tensor.num_bytes]
        yield tensor.name, part.view(tensor.dtype).reshape(tensor.shape)
