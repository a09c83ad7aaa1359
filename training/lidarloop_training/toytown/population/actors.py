"""An actor: one of the ten classes, with a body and a place at any time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lidarloop_training.toytown.solids.actor_shapes import Shape
from lidarloop_training.toytown.streets.motion import Parked, Track

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Actor:
    """One instance.

    Attributes:
        instance_id: e.g. ``"car-07"``, unique in its drive.
        label: index into ``NUSCENES_CLASSES``.
        shape: its body.
        track: where its middle is, on the ground.
    """

    instance_id: str
    label: int
    shape: Shape
    track: Track | Parked

    @cached_property
    def radius_m(self) -> float:
        """Of the sphere around its box."""
        return float(np.linalg.norm(self.shape.size) / 2)

    def poses(self, times_s: FloatArray) -> FloatArray:
        """(N, 4) x, y, z of the box centre, yaw: world frame."""
        poses: FloatArray = self.track.poses(times_s) + np.array([0.0, 0.0, self.shape.size[2] / 2, 0.0])
        return poses
