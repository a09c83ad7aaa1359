"""Pseudo-labels of one sample, with the evidence for each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import Boxes3D

KNOWS_FRONT = frozenset({"lane", "box_fit_on_lane", "track", "vote"})
"""Sources of headings that tell front from back; other headings are right modulo half a turn at best."""


@dataclass(frozen=True)
class PseudoLabels:
    """M labels, in the frame of the keyframe LiDAR.

    Attributes:
        boxes: M boxes. Scores are those of the 2D detections, multiplied by the support of the points if lifting
            rescores. Velocity is 0 until a drive is refined.
        quality: (M,) float32 in [0, 1], trust in each label: a weight for training.
        num_points: (M,) int64, number of LiDAR points of each label.
        cameras: M tuples of camera names, best view first.
        yaw_sources: M of "lane", "box_fit_on_lane", "track" (the object's motion), "vote" (profile, road, neighbours),
            "box_fit" (the axis alone: right modulo half a turn), "none".
    """

    boxes: Boxes3D
    quality: npt.NDArray[np.float32]
    num_points: npt.NDArray[np.int64]
    cameras: tuple[tuple[str, ...], ...]
    yaw_sources: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "quality", np.asarray(self.quality, np.float32).reshape(-1))
        object.__setattr__(self, "num_points", np.asarray(self.num_points, np.int64).reshape(-1))
        columns = (self.boxes, self.quality, self.num_points, self.cameras, self.yaw_sources)
        lengths = [len(column) for column in columns]
        if len(set(lengths)) != 1:
            raise ValueError(f"PseudoLabels received columns of {lengths} entries; expected as many of each")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: npt.NDArray[Any]) -> PseudoLabels:
        """The labels that a bool mask or an index array selects."""
        chosen = np.arange(len(self))[index]
        return PseudoLabels(
            self.boxes[chosen],
            self.quality[chosen],
            self.num_points[chosen],
            tuple(self.cameras[i] for i in chosen),
            tuple(self.yaw_sources[i] for i in chosen),
        )

    @staticmethod
    def empty(class_names: tuple[str, ...]) -> PseudoLabels:
        return PseudoLabels(Boxes3D.empty(class_names), np.zeros(0, np.float32), np.zeros(0, np.int64), (), ())


@dataclass
class LeftOut:
    """Numbers of inputs that gave no label, by reason: nothing is dropped silently.

    Attributes:
        cameras: reason → number of pictures, e.g. "zero or broken intrinsics".
        masks: reason → number of masks, e.g. "no points in the mask".
        sweeps: reason → number of sweeps, e.g. "no ego-motion".
    """

    cameras: Counter[str] = field(default_factory=Counter)
    masks: Counter[str] = field(default_factory=Counter)
    sweeps: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: LeftOut) -> LeftOut:
        return LeftOut(self.cameras + other.cameras, self.masks + other.masks, self.sweeps + other.sweeps)
