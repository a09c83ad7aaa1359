"""SweepBuffer: the recent sweeps, of which a model that takes several gets the ones it was trained with."""

from __future__ import annotations

from collections import deque

from lidarloop_core.sample import Sweep


class SweepBuffer:
    """Keeps sweeps for as long as they can be merged.

    Args:
        num_sweeps: how many the model merges, the newest included.
        interval_s: nominal time between them. A faster LiDAR's sweeps in between are passed over; a sweep that was
            lost leaves its place empty, since the ages the model saw in training matter more than their number.
    """

    def __init__(self, num_sweeps: int, interval_s: float) -> None:
        self._num_sweeps = num_sweeps
        self._interval_ns = round(interval_s * 1e9)
        self._older: deque[Sweep] = deque()

    def select(self, newest: Sweep) -> list[Sweep]:
        """``newest`` and, for each further place, the kept sweep nearest to its nominal age; newest first."""
        chosen = [newest]
        for place in range(1, self._num_sweeps):
            due_ns = newest.stamp_ns - place * self._interval_ns
            near = [s for s in self._older if -self._interval_ns < 2 * (s.stamp_ns - due_ns) <= self._interval_ns]
            if near:
                chosen.append(min(near, key=lambda sweep: abs(sweep.stamp_ns - due_ns)))
        return chosen

    def keep(self, sweep: Sweep) -> None:
        """Adds a sweep for the clouds to come, and forgets those too old for them."""
        self._older.append(sweep)
        oldest_ns = sweep.stamp_ns - self._num_sweeps * self._interval_ns
        while self._older[0].stamp_ns < oldest_ns:
            self._older.popleft()

    def adopt(self, other: SweepBuffer) -> None:
        """Takes over the sweeps of another buffer."""
        self._older = other._older.copy()

    def clear(self) -> None:
        self._older.clear()
