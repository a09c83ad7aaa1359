"""Who takes up which ground when: tracks are accepted one by one, each clear of all accepted before it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lidarloop_training.toytown.streets.motion import Parked, Track

FloatArray = npt.NDArray[np.float64]

_STEP_S = 0.1


class Occupancy:
    """Footprints of the accepted things at equally spaced times."""

    def __init__(self, start_s: float, end_s: float, capacity: int = 256) -> None:
        self.times_s = np.arange(start_s, end_s + _STEP_S, _STEP_S)
        self._pose = np.zeros((capacity, 4, len(self.times_s)))  # x, y, cos, sin
        self._half = np.zeros((capacity, 2))
        self._count = 0

    def add(self, track: Track | Parked, length_m: float, width_m: float) -> None:
        """Accepts a track with its footprint, margins included."""
        if self._count == len(self._pose):
            self._pose = np.concatenate([self._pose, np.zeros_like(self._pose)])
            self._half = np.concatenate([self._half, np.zeros_like(self._half)])
        self._pose[self._count] = self._footprint(track)
        self._half[self._count] = length_m / 2, width_m / 2
        self._count += 1

    def remove_last(self) -> None:
        self._count -= 1

    def first_conflict(self, track: Track | Parked, length_m: float, width_m: float) -> float | None:
        """The first time at which the footprint would overlap an accepted one; None where it never does.

        Overlap of two rectangles by separating axes: they are apart if they are along one of their four axes.
        """
        mine = self._footprint(track)
        others = self._pose[: self._count]
        half = np.array([length_m / 2, width_m / 2])
        offset = others[:, :2] - mine[:2]
        reach = np.linalg.norm(half) + np.linalg.norm(self._half[: self._count], axis=1)
        who, when = np.nonzero((offset**2).sum(axis=1) < reach[:, None] ** 2)
        if not len(who):
            return None
        a, b = mine[2:, when], others[who, 2:, when].T
        apart = offset[who, :, when].T
        half_b = self._half[who].T
        along = np.abs(a[0] * b[0] + a[1] * b[1])
        across = np.abs(a[0] * b[1] - a[1] * b[0])
        overlap = (
            (np.abs(apart[0] * a[0] + apart[1] * a[1]) < half[0] + half_b[0] * along + half_b[1] * across)
            & (np.abs(apart[1] * a[0] - apart[0] * a[1]) < half[1] + half_b[0] * across + half_b[1] * along)
            & (np.abs(apart[0] * b[0] + apart[1] * b[1]) < half_b[0] + half[0] * along + half[1] * across)
            & (np.abs(apart[1] * b[0] - apart[0] * b[1]) < half_b[1] + half[0] * across + half[1] * along)
        )
        return float(self.times_s[when[overlap].min()]) if overlap.any() else None

    def _footprint(self, track: Track | Parked) -> FloatArray:
        x, y, _, yaw = track.poses(self.times_s).T
        return np.stack([x, y, np.cos(yaw), np.sin(yaw)])
