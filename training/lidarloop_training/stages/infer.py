"""A trained network over clouds and samples, before it is exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from lidarloop_core.camera_bev.pictures import pictures_of
from lidarloop_core.errors import BackendError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.inference.backend import Backend
from lidarloop_core.inference.detector import Detector
from lidarloop_core.model.tensors import names
from lidarloop_core.pointcloud.sweeps import network_points
from lidarloop_core.sample import Sample
from lidarloop_training.stages.checkpoint import load_task
from lidarloop_training.tasks.export_view import ExportView


class TorchBackend:
    """What export puts into a graph, run by torch: for development and as the reference of other runtimes.

    See ``Backend`` for the attributes; there is no file, so ``model_sha256`` is empty.

    Args:
        view: deployable part of a network in eval mode; it is moved to ``device``.
        device: ``"cpu"`` or ``"cuda"``.

    Raises:
        BackendError: CUDA was asked for and is not there.
    """

    model_sha256 = ""

    def __init__(self, view: ExportView, device: str = "cpu") -> None:
        if device != "cpu" and not torch.cuda.is_available():
            raise BackendError(
                f"torch {torch.__version__} received device {device}, but sees no CUDA device; expected a CUDA build "
                "of torch and a driver: see `lidarloop doctor`, or use cpu"
            )
        self.spec = view.spec
        self._view = view.to(device)
        self._device = torch.device(device)
        name = torch.cuda.get_device_name() if device != "cpu" else "CPU"
        self.device = f"torch {torch.__version__} {name}"

    @staticmethod
    def of_checkpoint(path: Path, device: str = "cpu") -> TorchBackend:
        """The network of a run's newest checkpoint, or of one checkpoint.

        Raises:
            ConfigError: there is no checkpoint, or it is not readable.
            BackendError: CUDA was asked for and is not there.
        """
        task, network, _ = load_task(path)
        return TorchBackend(task.export_view(network), device)

    @torch.inference_mode()
    def infer(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Runs the network once.

        Args:
            inputs: name → array shaped like the input of that name in the spec; at least one point.

        Returns:
            Name → array shaped like the output of that name in the spec.
        """
        tensors = [torch.from_numpy(inputs[name]).to(self._device) for name in names(self.spec.inputs)]
        decoded = self._view.decode(*self._view.raw(*tensors))
        return {name: value.cpu().numpy() for name, value in zip(names(self.spec.output_tensors), decoded, strict=True)}


class SampleDetector:
    """Finds the objects in samples as the vehicle would: the same grouping, thresholds and suppression.

    Args:
        backend: the model.
        score_threshold: boxes below are left out; one value, or one per class.
    """

    def __init__(self, backend: Backend, *, score_threshold: float | Sequence[float] = 0.1) -> None:
        self._onboard = Detector(backend, score_threshold=score_threshold)

    def __call__(self, sample: Sample) -> Boxes3D:
        """Boxes in the frame of the keyframe LiDAR, best first; metres and radians."""
        spec = self._onboard.spec
        points = network_points(sample.sweeps[: spec.num_sweeps], spec.point_columns, spec.column_limits)
        pictures = None
        if spec.cameras is not None:
            pictures = pictures_of(sample.cameras, sample.keyframe, spec.cameras, spec.grid)
        return self._onboard.detect(points, pictures).boxes
