"""A stand-in for a 2D vision model: true masks, degraded in the ways such models fail, at given rates.

Missed objects, neighbours of one class merged into one, wrong class names, loose masks and boxes. Seeded: the same
picture always gets the same faults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import binary_dilation

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_training.toytown.camera import CAMERAS
from lidarloop_training.toytown.drive import ToyTownDrive
from lidarloop_training.toytown.faults.rates import FaultRates
from lidarloop_training.toytown.masks import InstanceMask, union

_CONFUSED_WITH = {
    "car": "truck",
    "truck": "bus",
    "bus": "trailer",
    "trailer": "truck",
    "construction_vehicle": "truck",
    "pedestrian": "bicycle",
    "motorcycle": "bicycle",
    "bicycle": "motorcycle",
    "traffic_cone": "barrier",
    "barrier": "traffic_cone",
}
_SMALL_PIXELS = 60
_TOUCHING_PIXELS = 3


class DegradedMasks:
    """Degraded instance masks of a toy-town drive.

    Args:
        drive: whose pictures it looks at.
        rates: how it fails.
        seed: seed of the faults; another seed is another model of the same quality.
    """

    def __init__(self, drive: ToyTownDrive, rates: FaultRates | None = None, *, seed: int = 0) -> None:
        self.drive = drive
        self.rates = rates or FaultRates()
        self.seed = seed

    def masks(self, index: int, camera_name: str) -> tuple[InstanceMask, ...]:
        """What the model sees in one picture, without instance ids."""
        camera = [c.name for c in CAMERAS].index(camera_name)
        rng = np.random.default_rng([self.seed, 0x5E1F, self.drive.seed, index, camera])
        return degraded(self.drive.instance_masks(index, camera_name), self.rates, rng)


def degraded(masks: Sequence[InstanceMask], rates: FaultRates, rng: np.random.Generator) -> tuple[InstanceMask, ...]:
    """True masks with faults, best score first."""
    found = [m for m in masks if rng.random() >= _miss_rate(m, rates)]
    result = []
    for mask in _merged(found, rates.merged, rng):
        mislabelled = rng.random() < rates.mislabelled
        loose = rng.random() < rates.loose
        if mislabelled:
            name = _CONFUSED_WITH[NUSCENES_CLASSES[mask.label]]
            mask = replace(mask, label=NUSCENES_CLASSES.index(name))
        if loose:
            mask = _loosened(mask, rates.looseness, rng)
        score = rng.beta(3, 4) if mislabelled else rng.beta(7, 2)
        result.append(replace(mask, score=float(score), instance_id=""))
    return tuple(sorted(result, key=lambda m: -m.score))


def _miss_rate(mask: InstanceMask, rates: FaultRates) -> float:
    return min(1.0, rates.missed * (2 if mask.num_pixels < _SMALL_PIXELS else 1))


def _merged(masks: Sequence[InstanceMask], rate: float, rng: np.random.Generator) -> list[InstanceMask]:
    """Objects in order; some swallow the first later one of their class that touches them."""
    waiting = list(masks)
    result = []
    while waiting:
        mask = waiting.pop(0)
        if rng.random() < rate:
            for other in waiting:
                if other.label == mask.label and _touch(mask, other):
                    waiting.remove(other)
                    mask = InstanceMask.of(union((mask, other)), mask.label)
                    break
        result.append(mask)
    return result


def _touch(a: InstanceMask, b: InstanceMask) -> bool:
    return all(max(a.box[k], b.box[k]) - min(a.box[k + 2], b.box[k + 2]) <= _TOUCHING_PIXELS for k in (0, 1))


def _loosened(mask: InstanceMask, looseness: float, rng: np.random.Generator) -> InstanceMask:
    grown = binary_dilation(mask.mask, iterations=int(rng.integers(1, 3)))
    tight = InstanceMask.of(grown, mask.label)
    x_min, y_min, x_max, y_max = tight.box
    left, top, right, bottom = rng.uniform(0, looseness, 4) * np.tile((x_max - x_min, y_max - y_min), 2)
    height, width = mask.size
    box = (
        max(x_min - left, 0.0),
        max(y_min - top, 0.0),
        min(x_max + right, float(width)),
        min(y_max + bottom, float(height)),
    )
    return replace(tight, box=box)
