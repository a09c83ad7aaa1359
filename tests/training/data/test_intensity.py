from __future__ import annotations

import numpy as np
import pytest

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.sample import Sample, Sweep
from lidarloop_training.data.intensity import intensity_deciles
from tests.training.sources import MadeSource

COLUMNS = ("x", "y", "z", "intensity")


class Ramps(MadeSource):
    """Sample i's intensities are i, i + 1, …, i + 10, and one that is not finite."""

    def __init__(self, num_samples: int, columns: tuple[str, ...] = COLUMNS) -> None:
        self.columns = columns
        self.num_samples = num_samples
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> Sample:
        self.read.append(index)
        points = np.zeros((12, len(self.columns)), np.float32)
        points[:, 0] = 1.0  # a point at the origin is no return
        points[:, -1] = [*range(index, index + 11), np.nan]
        return Sample(str(index), "drive", index, (Sweep(points, self.columns, index, SE3.identity(), None),))


def test_deciles_of_a_ramp_are_its_values() -> None:
    assert intensity_deciles(Ramps(1)) == pytest.approx(tuple(range(11)))


def test_samples_are_spread_over_the_whole_source_and_few() -> None:
    source = Ramps(1000)
    deciles = intensity_deciles(source)
    assert len(source.read) == 32
    assert (min(source.read), max(source.read)) == (0, 999)
    assert (deciles[0], deciles[-1]) == (0, 1009)
    assert deciles[5] == pytest.approx(504.5, abs=5)


def test_clouds_without_intensity_have_none() -> None:
    assert intensity_deciles(Ramps(2, ("x", "y", "z", "ring"))) == ()
    assert intensity_deciles(Ramps(0)) == ()
