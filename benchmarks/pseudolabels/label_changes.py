"""Labels that are changed on purpose: noise of one kind, or quality that counts for nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from lidarloop_core.geometry.boxes import Boxes3D, wrap_angle
from lidarloop_core.sample import Annotations, LidarPose, Sample, SampleKey, SampleSource

NoiseKind = Literal["centre", "size", "yaw", "class"]
NOISE: dict[NoiseKind, tuple[float, float]] = {
    "centre": (0.5, 1.5),
    "size": (0.15, 0.4),
    "yaw": (0.3, 1.0),
    "class": (0.15, 0.4),
}
"""Added to the pseudo-labels: metres in x and y, share of each side, radians (all standard deviations); probability."""


class Relabelled:
    """Labelled samples whose boxes are changed, the same way for a sample whenever it is read."""

    def __init__(self, source: SampleSource, change: Callable[[Boxes3D, np.random.Generator], Boxes3D]) -> None:
        self.source = source
        self.change = change

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        return dataclasses.replace(self.source[index], annotations=self.annotations(index))

    @property
    def keys(self) -> Sequence[SampleKey]:
        return self.source.keys

    def annotations(self, index: int) -> Annotations:
        annotations = self.source.annotations(index)
        assert annotations is not None
        boxes = self.change(annotations.boxes, np.random.default_rng((index, 0x9015E)))
        return dataclasses.replace(annotations, boxes=boxes)

    def pose(self, index: int) -> LidarPose:
        return self.source.pose(index)


def all_alike(boxes: Boxes3D, rng: np.random.Generator) -> Boxes3D:
    """Labels that count in full, whatever their quality."""
    return dataclasses.replace(boxes, scores=np.ones(len(boxes), np.float32))


def perturbed(boxes: Boxes3D, rng: np.random.Generator, *, kind: NoiseKind, level: float) -> Boxes3D:
    """Boxes with one kind of noise; see ``NOISE``."""
    values, labels = boxes.values.copy(), boxes.labels.copy()
    if kind == "centre":
        values[:, :2] += rng.normal(0, level, (len(boxes), 2))
    elif kind == "size":
        values[:, 3:6] *= np.exp(rng.normal(0, level, (len(boxes), 3)))
    elif kind == "yaw":
        values[:, 6] = wrap_angle(values[:, 6] + rng.normal(0, level, len(boxes)))
    else:
        wrong = rng.random(len(boxes)) < level
        labels[wrong] = (labels[wrong] + rng.integers(1, len(boxes.class_names), wrong.sum())) % len(boxes.class_names)
    return Boxes3D(values, boxes.scores, labels, boxes.class_names)
