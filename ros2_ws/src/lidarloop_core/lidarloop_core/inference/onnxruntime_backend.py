"""ONNX Runtime as a backend: the same file on any CPU, and on a GPU where its provider is installed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from lidarloop_core.errors import BackendError, ModelFileError
from lidarloop_core.model.model_file import read_model
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import Dimension, TensorSpec, names

_ORT_PLACE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (?:/\S+:\d+ .*?\(.*?\) )?", re.DOTALL)
_ONNX_TYPES = {
    "float32": "tensor(float)",
    "int32": "tensor(int32)",
    "int64": "tensor(int64)",
    "uint8": "tensor(uint8)",
}


class OnnxRuntimeBackend:
    """A model file in ONNX Runtime; see ``Backend`` for the attributes and ``open_backend`` for the arguments."""

    def __init__(
        self, model: Path, *, providers: Sequence[str] = ("CPUExecutionProvider",), num_threads: int = 0
    ) -> None:
        file = read_model(model)
        self.spec = file.spec
        self.model_sha256 = file.sha256
        self._output_names = names(file.spec.output_tensors)
        self._session = open_session(file.onnx_bytes, tuple(providers), num_threads, model)
        _check_tensors(self._session, self.spec, model)
        self.device = f"onnxruntime {_onnxruntime().__version__} {self._session.get_providers()[0]}"

    def infer(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Runs the graph once; arrays (N, …) as of ``Backend.infer``.

        Raises:
            BackendError: the runtime refused the inputs or failed.
        """
        try:
            outputs = self._session.run(self._output_names, dict(inputs))
        except Exception as error:  # onnxruntime raises its own types without a common base
            raise BackendError(f"onnxruntime failed on {self.spec.name}: {_reason(error)}") from error
        return dict(zip(self._output_names, outputs, strict=True))


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(f"onnxruntime cannot be imported ({error}); install it: pip install onnxruntime") from None
    return onnxruntime


def open_session(onnx_bytes: bytes, providers: tuple[str, ...], num_threads: int, path: Path) -> Any:
    """An ``onnxruntime.InferenceSession`` that runs on the providers asked for and on no others.

    Args:
        onnx_bytes: the file's bytes, which may have been verified.
        providers: names of execution providers in order of preference.
        num_threads: number of threads of one run; 0: as many as there are physical cores.
        path: names the file in errors.

    Raises:
        BackendError: onnxruntime or a provider is missing.
        ModelFileError: onnxruntime cannot load the file.
    """
    ort = _onnxruntime()
    available = ort.get_available_providers()
    if not providers or (missing := [p for p in providers if p not in available]):
        raise BackendError(
            f"onnxruntime {ort.__version__} received providers {', '.join(missing) if providers else 'none'}; "
            f"this build has {', '.join(available)}: name one of those, or install a build that has it "
            "(onnxruntime-gpu for CUDA)"
        )
    options = ort.SessionOptions()
    # Left to itself the runtime ties each thread to a core, where it waits although another core is free.
    options.intra_op_num_threads = num_threads or _num_physical_cores()
    options.log_severity_level = 3  # errors; warnings are about optimisations that were not asked for
    try:
        session = ort.InferenceSession(onnx_bytes, options, providers=list(providers))
    except Exception as error:  # onnxruntime raises its own types without a common base
        raise _damaged(path, error) from None
    in_use = session.get_providers()
    # onnxruntime quietly runs on the CPU when a provider's libraries fail to load.
    if tuple(in_use[: len(providers)]) != providers:
        raise BackendError(
            f"onnxruntime runs on {', '.join(in_use)} although {', '.join(providers)} was asked for; "
            "check the driver and the CUDA libraries, or ask for CPUExecutionProvider"
        )
    try:  # names of tensors and axes are decoded when they are looked at
        _ = [(value.name, value.shape) for value in (*session.get_inputs(), *session.get_outputs())]
    except UnicodeDecodeError as error:
        raise _damaged(path, error) from None
    return session


def _damaged(path: Path, error: Exception) -> ModelFileError:
    return ModelFileError(
        f"{path} cannot be loaded by onnxruntime {_onnxruntime().__version__}: {_reason(error)}; expected an intact "
        "ONNX file: export or copy it again"
    )


def _reason(error: Exception) -> str:
    """The runtime's words without their code and the place in its source files."""
    return _ORT_PLACE.sub("", str(error)).strip().rstrip(".")


def _num_physical_cores() -> int:
    """Number of cores that this process may run on."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    threads = (Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list") for cpu in os.sched_getaffinity(0))
    return len({path.read_text() if path.exists() else str(path) for path in threads})


def _check_tensors(session: Any, spec: ModelSpec, path: Path) -> None:
    """Names, types and fixed sizes of the graph's tensors against the model's spec."""
    inputs, outputs = names(spec.inputs), names(spec.output_tensors)
    graph = {tensor.name: tensor for tensor in (*session.get_inputs(), *session.get_outputs())}
    if set(graph) != {*inputs, *outputs}:
        raise ModelFileError(
            f"{path} has tensors {', '.join(sorted(graph))}; expected inputs {', '.join(inputs)} and outputs "
            f"{', '.join(outputs)}: export it with `lidarloop export`"
        )
    for tensor in (*spec.inputs, *spec.output_tensors):
        found = graph[tensor.name]
        if found.type != _ONNX_TYPES[tensor.dtype.name] or not _has_shape(found, tensor):
            raise ModelFileError(
                f"{path} has {tensor.name} {found.type} {list(found.shape)}; its spec promises {tensor}: "
                "export the model again"
            )


def _has_shape(found: Any, tensor: TensorSpec) -> bool:
    """Whether a graph's tensor has the spec's axes; the graph gives an axis that varies by name or as None."""
    return len(found.shape) == len(tensor.shape) and all(
        not isinstance(axis, int) or (not isinstance(expected, Dimension) and axis == expected)
        for axis, expected in zip(found.shape, tensor.shape, strict=True)
    )
