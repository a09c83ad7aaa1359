"""A trained network over samples, before it is exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.inference.detector import Detector
from lidarloop_core.pointcloud.sweeps import merge_sweeps
from lidarloop_core.sample import Sample
from lidarloop_training.models.detector import PillarDetector


class TorchBackend:
    """A ``PillarDetector`` behind the core's ``Backend`` protocol: what export puts into a graph, run as it is.

    Args:
        detector: in eval mode, on any device. It is no file, so ``model_sha256`` is empty.
    """

    def __init__(self, detector: PillarDetector) -> None:
        self.detector = detector
        self.spec = detector.spec
        self.model_sha256 = ""
        self._device = next(detector.parameters()).device
        self.device = f"torch {torch.__version__} {self._device}"

    @torch.inference_mode()
    def infer(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        tensors = [torch.from_numpy(inputs[name]).to(self._device) for name in ("points", "slot", "cell", "count")]
        decoded = self.detector.head.decode(self.detector(*tensors))
        return {name: value.cpu().numpy() for name, value in decoded._asdict().items()}


class SampleDetector:
    """Finds the objects in samples as the vehicle would: its own grouping, thresholds and suppression.

    Args:
        detector: in eval mode.
        score_threshold: boxes below are left out; one value, or one per class.
    """

    def __init__(self, detector: PillarDetector, *, score_threshold: float | Sequence[float] = 0.1) -> None:
        self._onboard = Detector(TorchBackend(detector), score_threshold=score_threshold)

    def __call__(self, sample: Sample) -> Boxes3D:
        """Boxes in the frame of the keyframe LiDAR, best first."""
        spec = self._onboard.spec
        return self._onboard.detect(merge_sweeps(sample.sweeps[: spec.num_sweeps], spec.point_columns)).boxes
