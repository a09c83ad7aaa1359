"""Backend: runs the graph of one model file. Grouping, thresholds and suppression are the ``Detector``'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from lidarloop_core.model.spec import ModelSpec

TENSORRT = "tensorrt"
"""The name of ``TensorRtBackend`` among the providers."""


class Backend(Protocol):
    """A loaded model.

    Attributes:
        spec: the contract found inside the file.
        model_sha256: hash of the file's bytes, for provenance.
        device: device that it runs on, as the runtime reports it, e.g. ``"onnxruntime 1.31.1 CPUExecutionProvider"``.
    """

    spec: ModelSpec
    model_sha256: str
    device: str

    def infer(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Runs the graph once.

        Args:
            inputs: name of each of ``spec.inputs`` → array of its type and shape (N, …), N ≥ 1.

        Returns:
            Name of each of ``spec.output_tensors`` → array of its type and shape, e.g. boxes (K, 9).

        Raises:
            BackendError: the runtime refused the inputs or failed.
        """
        ...


def open_backend(model: Path, *, providers: Sequence[str] = ("CPUExecutionProvider",), num_threads: int = 0) -> Backend:
    """Opens a model file in ONNX Runtime or TensorRT.

    Args:
        model: ``model.onnx`` as ``lidarloop export`` wrote it; its seal is verified first.
        providers: ``("tensorrt",)`` for NVIDIA's engine, which is built where the cache has none; else onnxruntime's
            execution providers, all of which must really be in use afterwards.
        num_threads: intra-op threads, 0 for as many as there are cores.

    Raises:
        ModelFileError: the file is missing, foreign or corrupt.
        BackendError: the runtime is not installed, or a provider that was asked for is not in use.
    """
    if tuple(providers) == (TENSORRT,):
        from lidarloop_core.inference.tensorrt.backend import TensorRtBackend

        return TensorRtBackend(model)
    from lidarloop_core.inference.onnxruntime_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(model, providers=providers, num_threads=num_threads)
