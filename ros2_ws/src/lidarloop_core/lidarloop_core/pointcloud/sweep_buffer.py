"""SweepBuffer: keeps recent sweeps and selects those that a model merges, at the ages it was trained with."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from lidarloop_core.pointcloud.sweeps import Posed

Kept = TypeVar("Kept", bound=Posed)


class SweepBuffer(Generic[Kept]):
    """Keeps sweeps, their points on the host or on the GPU, for as long as they can be merged.

    A faster LiDAR's sweeps in between are passed over. A lost sweep leaves its place empty, since the ages that the
    model saw in training matter more than the number of sweeps. A sweep whose pose is unknown is used alone, and not
    for later clouds.

    Args:
        num_sweeps: number of sweeps that the model merges, the newest included.
        interval_s: nominal time between them, seconds.
    """

    def __init__(self, num_sweeps: int, interval_s: float) -> None:
        self._num_sweeps = num_sweeps
        self._interval_ns = round(interval_s * 1e9)
        self._older: deque[Kept] = deque()

    def select(self, newest: Kept) -> list[Kept]:
        """``newest`` and, for each further place, the kept sweep nearest to its nominal age; newest first."""
        chosen = [newest]
        if newest.world_SE3_ego is None:
            return chosen
        for place in range(1, self._num_sweeps):
            due_ns = newest.stamp_ns - place * self._interval_ns
            near = [s for s in self._older if -self._interval_ns < 2 * (s.stamp_ns - due_ns) <= self._interval_ns]
            if near:
                chosen.append(min(near, key=lambda sweep: abs(sweep.stamp_ns - due_ns)))
        return chosen

    def keep(self, sweep: Kept) -> list[Kept]:
        """Adds a sweep for the clouds to come.

        Returns:
            The sweeps that are of no more use: those too old for these clouds, or this one if its pose is unknown.
        """
        if sweep.world_SE3_ego is None:
            return [sweep]
        self._older.append(sweep)
        oldest_ns = sweep.stamp_ns - self._num_sweeps * self._interval_ns
        forgotten = []
        while self._older[0].stamp_ns < oldest_ns:
            forgotten.append(self._older.popleft())
        return forgotten

    def adopt(self, other: SweepBuffer[Kept]) -> None:
        """Takes over the sweeps of another buffer, which has none afterwards."""
        self._older, other._older = other._older, deque()

    def clear(self) -> list[Kept]:
        """Removes all sweeps, and returns them."""
        forgotten, self._older = self._older, deque()
        return list(forgotten)
