"""Scenes in which what a point lies on follows from its height and its intensity: there is something to learn."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import Sample, Sweep
from tests.builders import VOXEL_SEGMENTER
from tests.training.sources import MadeSource

CLASSES = ("ground", "wall", "sign")
SPEC = dataclasses.replace(VOXEL_SEGMENTER, class_names=CLASSES, num_sweeps=2)
SAMPLE_CLASSES = ("nothing", "wall", "fog", "ground", "sign")
"""What the samples' labels 0 to 4 are called: another order than the model's, and one class that it does not have."""

COLUMNS = ("x", "y", "z", "intensity", "label")


@dataclasses.dataclass(frozen=True)
class LabelledScenes(MadeSource):
    """Two sweeps of points; scene i depends on (seed, i) alone. The older sweep has no labels."""

    num_samples: int = 4
    num_points: int = 800
    seed: int = 0
    labelled: bool = True

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng((self.seed, index))
        sweeps = tuple(self._sweep(rng, age) for age in range(2))
        return Sample(
            f"scene-{index}",
            "drive",
            sweeps[0].stamp_ns,
            sweeps,
            point_classes=SAMPLE_CLASSES if self.labelled else (),
        )

    def _sweep(self, rng: np.random.Generator, age: int) -> Sweep:
        points = self._points(rng)
        if age > 0:
            points[:, 4] = 0
        if not self.labelled:
            points = points[:, :4]
        columns = COLUMNS[: points.shape[1]]
        stamp_ns = 1_700_000_000_000_000_000 - age * 100_000_000
        return Sweep(points, columns, stamp_ns, SE3.identity(), SE3.identity())

    def _points(self, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """A tenth out of range, a tenth fog, the others ground, wall or sign."""
        number = self.num_points
        points = np.zeros((number, 5), np.float32)
        points[:, :2] = rng.uniform((-9.6, -6.4), (9.6, 6.4), (number, 2))
        kind = rng.choice(5, number, p=[0.4, 0.3, 0.1, 0.1, 0.1])
        points[:, 2] = np.where(kind == 0, -1.8, rng.uniform(-1.0, 2.5, number))
        points[:, 3] = np.where(kind == 2, 250.0, 60.0)
        points[kind == 4, 0] += 30.0
        points[:, 4] = np.array([3, 1, 4, 2, 3])[kind]
        return points


def segmenter_spec() -> ModelSpec:
    """A segmenter of ``CLASSES`` on two sweeps."""
    return SPEC
