"""SweepBuffer: the recent sweeps, of which a model that takes several gets the ones it was trained with."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from lidarloop_core.pointcloud.sweeps import Posed

Kept = TypeVar("Kept", bound=Posed)


class SweepBuffer(Generic[Kept]):
    """Keeps sweeps, wherever their points lie, for as long as they can be merged.

    Args:
        num_sweeps: how many the model merges, the newest included.
        interval_s: nominal time between them. A faster LiDAR's sweeps in between are passed over; a sweep that was
            lost leaves its place empty, since the ages the model saw in training matter more than their number. One
            whose pose is unknown is used alone, and is of no use to later ones.
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
            What is of no use from now on: sweeps too old for those clouds, or this one if nobody knows where it was.
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
        """Forgets all sweeps, and returns them."""
        forgotten, self._older = self._older, deque()
        return list(forgotten)
