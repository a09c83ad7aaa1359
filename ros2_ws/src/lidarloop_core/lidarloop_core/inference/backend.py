"""Backend: runs the graph of one model file. Everything round it (grouping, thresholds, NMS) is the Detector's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from lidarloop_core.model.spec import ModelSpec

TENSORRT = "tensorrt"
"""Stands for ``TensorRtBackend`` among the providers."""


class Backend(Protocol):
    """A loaded model.

    Attributes:
        spec: the contract found inside the file.
        model_sha256: hash of the file's bytes, for provenance.
        device: what it runs on, as the runtime reports it, e.g. ``"onnxruntime 1.31.1 CPUExecutionProvider"``.
    """

    spec: ModelSpec
    model_sha256: str
    device: str

    def infer(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Runs the graph once.

        Args:
            inputs: ``spec.INPUT_NAMES`` → array; N ≥ 1 points, P ≥ 1 pillars.

        Returns:
            ``spec.OUTPUT_NAMES`` → array.
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
        BackendError: the runtime is not installed, or a provider asked for is not in use.
    """
    if tuple(providers) == (TENSORRT,):
        from lidarloop_core.inference.tensorrt.backend import TensorRtBackend

        return TensorRtBackend(model)
    from lidarloop_core.inference.onnxruntime_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(model, providers=providers, num_threads=num_threads)
