"""Sweeps of a vehicle that turns as it drives, far from the world's origin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.sample import Sweep

COLUMNS = ("x", "y", "z", "intensity")
MS = 1_000_000


def drive(places: Sequence[int], *, num_points: int = 2000) -> list[Sweep]:
    """Sweeps at these multiples of 100 ms, on a curve far from the world's origin."""
    sweeps = []
    for place in places:
        random = np.random.default_rng(place)
        points = random.uniform((-50, -50, -4, 0), (50, 50, 2, 200), (num_points + place, 4)).astype(np.float32)
        pose = SE3.from_yaw(0.02 * place, (4000 + 0.5 * place, -2500, 0))
        sweeps.append(Sweep(points, COLUMNS, 10**18 + place * 100 * MS, SE3.identity(), pose))
    return sweeps
