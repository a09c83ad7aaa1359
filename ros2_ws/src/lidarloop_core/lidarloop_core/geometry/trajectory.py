"""Ego poses over time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from lidarloop_core.geometry.se3 import SE3, interpolate


class Trajectory:
    """Poses by time stamp, with interpolation between them.

    Args:
        max_poses: the oldest poses beyond this number are forgotten; None keeps all.
    """

    def __init__(self, *, max_poses: int | None = None) -> None:
        self._max_poses = max_poses
        self._stamps_ns: list[int] = []
        self._poses: list[SE3] = []

    @staticmethod
    def from_poses(stamps_ns: Iterable[int], world_SE3_egos: Iterable[SE3]) -> Trajectory:
        trajectory = Trajectory()
        for stamp_ns, pose in zip(stamps_ns, world_SE3_egos, strict=True):
            trajectory.add(stamp_ns, pose)
        return trajectory

    def __len__(self) -> int:
        return len(self._stamps_ns)

    def add(self, stamp_ns: int, world_SE3_ego: SE3) -> None:
        """Adds one pose, in any order; one with the same stamp is replaced."""
        i = bisect_left(self._stamps_ns, stamp_ns)
        if i < len(self) and self._stamps_ns[i] == stamp_ns:
            self._poses[i] = world_SE3_ego
            return
        self._stamps_ns.insert(i, stamp_ns)
        self._poses.insert(i, world_SE3_ego)
        if self._max_poses is not None and len(self) > self._max_poses:
            del self._stamps_ns[0], self._poses[0]

    def at(self, stamp_ns: int, *, max_gap_ns: int, max_beyond_ns: int = 0) -> SE3:
        """``world_SE3_ego`` at a time, at constant velocity between the two poses around it; see ``interpolate``.

        Args:
            stamp_ns: the time, nanoseconds.
            max_gap_ns: largest time between the two poses, nanoseconds.
            max_beyond_ns: how far before the first pose or after the last the motion between the two nearest goes on.

        Raises:
            LookupError: the time is before the first or after the last pose by more than ``max_beyond_ns``, or the two
                poses are further than ``max_gap_ns`` apart.
        """
        i = bisect_left(self._stamps_ns, stamp_ns)
        if i < len(self) and self._stamps_ns[i] == stamp_ns:
            return self._poses[i]
        if len(self) > 1 and self._stamps_ns[0] - max_beyond_ns <= stamp_ns <= self._stamps_ns[-1] + max_beyond_ns:
            i = min(max(i, 1), len(self) - 1)
        if i == 0 or i == len(self):
            known = f"{self._stamps_ns[0]}…{self._stamps_ns[-1]}" if len(self) else "none"
            raise LookupError(f"no pose at {stamp_ns} ns; known: {known}")
        before_ns, after_ns = self._stamps_ns[i - 1], self._stamps_ns[i]
        if after_ns - before_ns > max_gap_ns:
            raise LookupError(f"no pose at {stamp_ns} ns: a gap of {after_ns - before_ns} ns; allowed: {max_gap_ns} ns")
        return interpolate(self._poses[i - 1], self._poses[i], (stamp_ns - before_ns) / (after_ns - before_ns))

    def span(self) -> str:
        """First and last stamp in words, seconds."""
        return f"{self._stamps_ns[0] * 1e-9:.3f}…{self._stamps_ns[-1] * 1e-9:.3f} s" if len(self) else "none"

    def clear(self) -> None:
        """Forgets all poses, e.g. after a jump in time."""
        self._stamps_ns.clear()
        self._poses.clear()
