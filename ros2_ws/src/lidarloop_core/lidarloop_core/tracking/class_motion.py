"""Motion of each class, precision of its measurements, and the classes it is confused with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassMotion:
    """Motion of one class.

    Attributes:
        reach_mps: growth of the gate around the predicted place, m/s.
        speed_mps: standard deviation of the speed of a new object, m/s.
        acceleration_mpss: standard deviation of the acceleration over a second, m/s².
        position_m: standard deviation of a measured centre along each axis, metres.
    """

    reach_mps: float
    speed_mps: float
    acceleration_mpss: float
    position_m: float


_STILL = 1e-3  # practically zero, but safe to divide by
_VEHICLE = ClassMotion(reach_mps=14.0, speed_mps=4.0, acceleration_mpss=2.0, position_m=0.4)
_LONG_VEHICLE = ClassMotion(reach_mps=12.0, speed_mps=3.0, acceleration_mpss=1.5, position_m=0.8)
_CYCLE = ClassMotion(reach_mps=10.0, speed_mps=3.0, acceleration_mpss=2.0, position_m=0.25)
_THING = ClassMotion(reach_mps=2.0, speed_mps=0.1, acceleration_mpss=0.1, position_m=0.2)

NUSCENES_MOTIONS: Mapping[str, ClassMotion] = {
    "car": _VEHICLE,
    "truck": _LONG_VEHICLE,
    "bus": _LONG_VEHICLE,
    "trailer": _LONG_VEHICLE,
    "construction_vehicle": ClassMotion(reach_mps=8.0, speed_mps=1.0, acceleration_mpss=1.0, position_m=0.8),
    "pedestrian": ClassMotion(reach_mps=3.0, speed_mps=1.2, acceleration_mpss=1.0, position_m=0.2),
    "motorcycle": _CYCLE,
    "bicycle": _CYCLE,
    "traffic_cone": _THING,
    "barrier": _THING,
}

NUSCENES_ALIKE: tuple[frozenset[str], ...] = (
    frozenset({"car", "truck", "bus", "trailer", "construction_vehicle"}),
    frozenset({"pedestrian", "motorcycle", "bicycle"}),
    frozenset({"traffic_cone", "barrier"}),
)
"""Groups of classes that detectors confuse."""


@dataclass(frozen=True)
class MotionTable:
    """Motion of all classes of a tracker.

    Attributes:
        motions: class name → its motion.
        alike: groups of classes that are confused with each other.
        other: motion of a class that ``motions`` lacks.
    """

    motions: Mapping[str, ClassMotion] = field(default_factory=lambda: dict(NUSCENES_MOTIONS))
    alike: Sequence[frozenset[str]] = NUSCENES_ALIKE
    other: ClassMotion = _VEHICLE

    def column(self, attribute: str, class_names: Sequence[str]) -> FloatArray:
        """(C,) one attribute of ``ClassMotion`` for each class."""
        return np.array([getattr(self.motions.get(name, self.other), attribute) for name in class_names], np.float64)

    def change_cost(self, class_names: Sequence[str], cost: float) -> FloatArray:
        """(C, C) cost of a change from one class to another: 0 for none, ``cost`` within a group, else infinite."""
        costs = np.full((len(class_names), len(class_names)), np.inf)
        for i, a in enumerate(class_names):
            for j, b in enumerate(class_names):
                if a == b:
                    costs[i, j] = 0.0
                elif any(a in group and b in group for group in self.alike):
                    costs[i, j] = cost
        return costs

    def standing(self) -> MotionTable:
        """The same classes, without motion."""
        still = {
            name: replace(m, reach_mps=_STILL, speed_mps=_STILL, acceleration_mpss=_STILL)
            for name, m in self.motions.items()
        }
        other = replace(self.other, reach_mps=_STILL, speed_mps=_STILL, acceleration_mpss=_STILL)
        return MotionTable(still, self.alike, other)
