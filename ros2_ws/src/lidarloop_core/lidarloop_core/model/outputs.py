"""What a model gives: boxes, or a class for each point or voxel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from lidarloop_core import bounds
from lidarloop_core.geometry.boxes import BOX_COLUMNS
from lidarloop_core.model.tensors import TensorSpec

_FLOAT, _INDEX = np.dtype(np.float32), np.dtype(np.int64)


@dataclass(frozen=True)
class Detection:
    """The best boxes of a cloud.

    Attributes:
        max_detections: number of boxes K that the graph gives, good or bad.
        raw_names: tensors of the graph that the outputs are computed from.

    Raises:
        ModelFileError: ``max_detections`` is no whole number in its bounds.
    """

    raw_names: ClassVar[tuple[str, ...]] = ("heatmap", "regression")

    max_detections: int
    kind: str = field(default="detection", init=False)

    def __post_init__(self) -> None:
        number = bounds.whole_number("Detection.max_detections", self.max_detections, 1, 10_000)
        bounds.set_fields(self, [("max_detections", number)])

    def tensors(self, inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """boxes (K, 9) in ``BOX_COLUMNS``, scores (K,) in [0, 1], labels (K,): whatever the inputs."""
        number = self.max_detections
        return (
            TensorSpec("boxes", _FLOAT, (number, len(BOX_COLUMNS))),
            TensorSpec("scores", _FLOAT, (number,)),
            TensorSpec("labels", _INDEX, (number,)),
        )


@dataclass(frozen=True)
class Segmentation:
    """A class for each point: for each row of the graph's first input.

    Attributes:
        raw_names: tensors of the graph that the outputs are computed from.
    """

    raw_names: ClassVar[tuple[str, ...]] = ("logits",)

    kind: str = field(default="segmentation", init=False)

    def tensors(self, inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """scores (N,) in [0, 1] and labels (N,) of the N rows of the first of ``inputs``."""
        rows = inputs[0].shape[0]
        return TensorSpec("scores", _FLOAT, (rows,)), TensorSpec("labels", _INDEX, (rows,))


Outputs = Detection | Segmentation
