"""A checkpoint as a backend: torch on the CPU or on CUDA, for development and as the reference of others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from lidarloop_core.errors import BackendError
from lidarloop_core.model.tensors import names
from lidarloop_training.stages.checkpoint import load_detector


class TorchBackend:
    """A run's folder or checkpoint, in eval mode; see ``Backend`` for the attributes.

    Args:
        checkpoint: as `lidarloop export` takes it.
        device: ``"cpu"`` or ``"cuda"``.

    Raises:
        BackendError: CUDA was asked for and is not there.
    """

    model_sha256 = ""

    def __init__(self, checkpoint: Path, device: str = "cpu") -> None:
        if device != "cpu" and not torch.cuda.is_available():
            raise BackendError(
                f"torch {torch.__version__} received device {device}, but sees no CUDA device; expected a CUDA build "
                "of torch and a driver: see `lidarloop doctor`, or use cpu"
            )
        detector, _ = load_detector(checkpoint)
        self._detector = detector.eval().to(device)
        self.spec = detector.spec
        name = torch.cuda.get_device_name() if device != "cpu" else "CPU"
        self.device = f"torch {torch.__version__} {name}"
        self._device = torch.device(device)

    def infer(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Runs the network once; see ``Backend.infer``."""
        with torch.inference_mode():
            tensors = [torch.from_numpy(inputs[name]).to(self._device) for name in names(self.spec.inputs)]
            decoded = self._detector.head.decode(self._detector(*tensors))
        return {name: value.cpu().numpy() for name, value in zip(names(self.spec.output_tensors), decoded, strict=True)}
