"""TensorRT as a backend: a model file's engine from the cache, or built on first use; no torch.

One copy in, one launch, one copy out, all on one stream. Inputs are padded to buckets (``model.tensors``), and each
bucket gets an execution context and a CUDA graph of its own: a graph is tied to the context and the shapes it was
captured from. All contexts share one piece of scratch memory, since only one runs at a time.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import BackendError, ModelFileError
from lidarloop_core.gpu.cuda import Cuda, CudaOutOfMemoryError, DeviceMemory, Graph, PinnedMemory, import_runtime
from lidarloop_core.inference.tensorrt.builder import OnProgress, build_engine
from lidarloop_core.inference.tensorrt.cache import EngineCache, EngineKey
from lidarloop_core.inference.tensorrt.layout import Placed, layout, views
from lidarloop_core.model.model_file import ModelFile, read_model
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import Sizes, bucket_for, capacity, fill_padded, names, profile_shapes, sizes_of

OLDEST_MAJOR = 10
"""The first TensorRT with int64 tensors and with memory that contexts can share by this interface."""

_WORKSPACE_BYTES = 1 << 30
_NUM_BUCKETS_KEPT = 12

_log = logging.getLogger(__name__)


class _Prepared:
    """A bucket's context and graph, and where its tensors lie.

    Attributes:
        context: TensorRT's execution context, its shapes and addresses set.
        inputs: tensors that are copied in, in the host's block; none where the inputs are on the device.
        outputs: tensors that are copied out, in the host's block.
        has_run: whether the context has run once.
        graph: its work as a CUDA graph; None until it is captured.
    """

    def __init__(self, context: Any, inputs: list[Placed], outputs: list[Placed]) -> None:
        self.context = context
        self.inputs = inputs
        self.outputs = outputs
        self.has_run = False
        self.graph: Graph | None = None


class TensorRtBackend:
    """A model file on an NVIDIA GPU; see ``Backend`` for the attributes.

    Where the device's memory does not suffice for the model's capacity, half of it is tried; ``spec`` then has that
    capacity, and larger clouds are thinned and counted by the grouping.

    Args:
        model: a model file, fp32, fp16 or int8: the engine computes in the file's precision.
        cache: engine cache; the user's own by default.
        trt: the module ``tensorrt``; imported by default.
        runtime: the module ``cuda.bindings.runtime``; imported by default.
        device: number of the GPU.
        on_progress: takes reports of a build's progress.

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
        cache = EngineCache(report=_log.info) if cache is None else cache
        self._runtime = self._trt.Runtime(self._trt.Logger(self._trt.Logger.ERROR))
        self._engine = _load(self._trt, self._runtime, file, cache, self.cuda.gpu, on_progress)
        _check_tensors(self._engine, self._trt, file, model)
        self._prepared: OrderedDict[tuple[Any, ...], _Prepared] = OrderedDict()
        self._allocate()

    def infer(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Runs the engine once; arrays (N, …) and errors as of ``Backend.infer``."""
        prepared, sizes = self._fill(inputs)
        self._launch(prepared)
        return self._results(prepared, sizes)

    def infer_on_device(self, sizes: Sizes, addresses: Mapping[str, int]) -> dict[str, npt.NDArray[Any]]:
        """As ``infer``, of inputs that are on the device and padded already: only the outputs (K, …) are copied.

        Args:
            sizes: the cloud's own sizes; the inputs are padded to ``bucket(sizes)``.
            addresses: name of an input → its address, a multiple of 256, filled on this backend's stream.

        Raises:
            BackendError: the engine failed.
        """
        prepared = self._prepared_for(self.bucket(sizes), tuple(addresses[name] for name in names(self.spec.inputs)))
        self._launch(prepared)
        return self._results(prepared, sizes)

    def infer_timed(
        self, inputs: Mapping[str, npt.NDArray[Any]]
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, float]]:
        """As ``infer``, step by step without a graph.

        Returns:
            Name → output (K, …), and the milliseconds of ``copy_in``, ``network`` and ``copy_out``.
        """
        prepared, sizes = self._fill(inputs)
        marks = [self.cuda.event()]
        self._copy_in(prepared)
        marks.append(self.cuda.event())
        self._execute(prepared)
        marks.append(self.cuda.event())
        self._copy_out(prepared)
        marks.append(self.cuda.event())
        self.cuda.synchronize()
        between = [self.cuda.milliseconds_between(a, b) for a, b in pairwise(marks)]
        self.cuda.forget(*marks)
        return self._results(prepared, sizes), dict(zip(("copy_in", "network", "copy_out"), between, strict=True))

    def bucket(self, sizes: Sizes) -> dict[str, int]:
        """The sizes that a cloud's inputs are padded to.

        Raises:
            BackendError: a size is 0, or above the model's capacity.
        """
        if not all(0 < size <= self._largest[name] for name, size in sizes.items()):
            found, most = (", ".join(f"{n} {name.removeprefix('num_')}" for name, n in each.items())
                           for each in (sizes, self._largest))  # fmt: skip
            raise BackendError(
                f"{self.spec.name} received {found}; expected at least 1 of each and at most {most}: group with the "
                "backend's own spec"
            )
        return bucket_for(sizes, self._largest)

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
        self._copy_out(prepared)

    def _fill(self, inputs: Mapping[str, npt.NDArray[Any]]) -> tuple[_Prepared, Sizes]:
        """Pads the inputs into the pinned block."""
        sizes = sizes_of(self.spec.inputs, inputs)
        prepared = self._prepared_for(self.bucket(sizes), None)
        fill_padded(self.spec.inputs, inputs, dict(views(self._host_inputs.bytes, prepared.inputs)))
        return prepared, sizes

    def _prepared_for(self, bucket: Sizes, addresses: tuple[int, ...] | None) -> _Prepared:
        """The context of a bucket whose inputs lie at these addresses; by default in the block copied from the host."""
        key = (*bucket.values(), addresses)
        if key not in self._prepared:
            if len(self._prepared) >= _NUM_BUCKETS_KEPT:
                self._prepared.popitem(last=False)
            self._prepared[key] = self._prepare(bucket, addresses)
        self._prepared.move_to_end(key)
        return self._prepared[key]

    def _prepare(self, bucket: Sizes, addresses: tuple[int, ...] | None) -> _Prepared:
        inputs, outputs = layout(self.spec.inputs, bucket), layout(self.spec.output_tensors, bucket)
        at = addresses or tuple(self._inputs.address + tensor.offset for tensor in inputs)
        context = self._context()
        context.device_memory = self._scratch.address
        self._set_shapes(context, inputs)
        output_addresses = (self._outputs.address + tensor.offset for tensor in outputs)
        for tensor, address in zip((*inputs, *outputs), (*at, *output_addresses), strict=True):
            name = tensor.spec.name
            self._require(context.set_tensor_address(name, address), f"the address of {name}")
        return _Prepared(context, [] if addresses else inputs, outputs)

    def _set_shapes(self, context: Any, inputs: Sequence[Placed]) -> None:
        for tensor in inputs:
            name = tensor.spec.name
            self._require(context.set_input_shape(name, tensor.shape), f"shape {tensor.shape} of {name}")

    def _context(self) -> Any:
        context = self._engine.create_execution_context(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise CudaOutOfMemoryError(f"{self.device} made no execution context; its messages are printed above")
        return context

    def _copy_in(self, prepared: _Prepared) -> None:
        if prepared.inputs:
            self.cuda.copy_to_device(self._inputs.address, self._host_inputs.address, prepared.inputs[-1].end)

    def _execute(self, prepared: _Prepared) -> None:
        self._require(prepared.context.execute_async_v3(self.cuda.stream), "a launch")

    def _copy_out(self, prepared: _Prepared) -> None:
        self.cuda.copy_to_host(self._host_outputs.address, self._outputs.address, prepared.outputs[-1].end)

    def _results(self, prepared: _Prepared, sizes: Sizes) -> dict[str, npt.NDArray[Any]]:
        """Copies without the rows of the padding: the next run writes over the pinned block."""
        found = zip(prepared.outputs, views(self._host_outputs.bytes, prepared.outputs), strict=True)
        return {name: view[: tensor.spec.shape_at(sizes)[0]].copy() for tensor, (name, view) in found}

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise BackendError(f"{self.spec.name} on {self.device}: TensorRT refused {what}; its messages are above")

    def _allocate(self) -> None:
        """Memory for the model's capacity, or else for half of it."""
        if self._fits(self.spec):
            return
        grid = self.spec.grid.halved()
        _log.warning(
            "%s does not fit into the GPU's memory; trying with %s instead of %s: larger clouds are thinned",
            *(self.spec.name, grid.capacity_text, self.spec.grid.capacity_text),
        )
        smaller = dataclasses.replace(self.spec, grid=grid)
        if not self._fits(smaller):
            free, total = self.cuda.free_and_total_bytes()
            raise BackendError(
                f"{self.spec.name} needs more memory than {self.cuda.gpu} has left ({free / 2**20:.0f} of "
                f"{total / 2**20:.0f} MiB), even with {grid.capacity_text}: end what else uses the GPU, or export a "
                "model of a smaller capacity"
            )
        self.spec = smaller

    def _fits(self, spec: ModelSpec) -> bool:
        """Whether there was memory. What was allocated before the error is freed with it."""
        try:
            self._allocate_for(spec)
        except CudaOutOfMemoryError:
            return False
        return True

    def _allocate_for(self, spec: ModelSpec) -> None:
        """All or nothing: buffers for inputs and outputs, and scratch memory for the largest shapes."""
        largest = capacity(spec.inputs)
        inputs = layout(spec.inputs, largest)
        num_input_bytes, num_output_bytes = inputs[-1].end, layout(spec.output_tensors, largest)[-1].end
        host_inputs: PinnedMemory = self.cuda.allocate_pinned(num_input_bytes)
        host_outputs: PinnedMemory = self.cuda.allocate_pinned(num_output_bytes)
        device_inputs: DeviceMemory = self.cuda.allocate(num_input_bytes)
        device_outputs: DeviceMemory = self.cuda.allocate(num_output_bytes)
        context = self._context()
        self._set_shapes(context, inputs)
        scratch = self.cuda.allocate(int(context.update_device_memory_size_for_shapes()))
        self._largest = largest
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
    """The cache key of this file's engine on this GPU, by this TensorRT."""
    profile = "; ".join(f"{name} {shapes}" for name, shapes in profile_shapes(file.spec.inputs).items())
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
    """The engine; one that the runtime refuses, e.g. after an update of the driver, is built once more."""
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
    """Names and types of the engine's tensors against the model's spec."""
    inputs, outputs = file.spec.inputs, file.spec.output_tensors
    found = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)}
    if found != {*names(inputs), *names(outputs)}:
        raise ModelFileError(
            f"{path} has tensors {', '.join(sorted(found))}; expected inputs {', '.join(names(inputs))} and outputs "
            f"{', '.join(names(outputs))}: export it with `lidarloop export`"
        )
    for tensor in (*inputs, *outputs):
        dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(tensor.name)))
        if dtype != tensor.dtype:
            raise ModelFileError(f"{path} has {tensor.name} of {dtype}; expected {tensor.dtype}: export it again")
