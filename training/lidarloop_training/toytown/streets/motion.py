"""Paths, speeds along them, and the poses that follow: every moving thing's place is a function of time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

STEP_S = 0.1
"""Time step of the tables of motion."""
_SPACING_M = 0.25
_LATERAL_MPSS = 2.0
_BRAKING_MPSS = 1.8
_ACCELERATION_MPSS = 1.5


@dataclass(frozen=True)
class Path:
    """A polyline at equal spacing.

    Attributes:
        points: (K, 3) metres, on the ground, world frame.
        limit_mps: (K,) greatest speed at each point that its bends, and braking for those ahead, allow.
    """

    points: FloatArray
    limit_mps: FloatArray

    @staticmethod
    def along(polyline: FloatArray, height: Callable[[FloatArray], FloatArray], cruise_mps: float) -> Path:
        """Resamples a (K, 2) polyline, lays it on the ground and finds the speed its bends allow."""
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(polyline, axis=0), axis=1))])
        at = np.arange(0.0, length[-1], _SPACING_M)
        xy = np.column_stack([np.interp(at, length, polyline[:, 0]), np.interp(at, length, polyline[:, 1])])
        return Path(np.column_stack([xy, height(xy)]), _speed_limit(xy, cruise_mps))

    @property
    def length_m(self) -> float:
        return (len(self.points) - 1) * _SPACING_M

    def at(self, s: FloatArray) -> FloatArray:
        """(N, 3) points at arc lengths ``s`` (N,); straight on beyond the ends."""
        place = s / _SPACING_M
        index = np.clip(place.astype(np.int64), 0, len(self.points) - 2)
        start = self.points[index]
        points: FloatArray = start + (place - index)[:, None] * (self.points[index + 1] - start)
        return points

    @cached_property
    def _limits(self) -> list[float]:
        """As plain numbers: reading one of them from an array costs more than all the rest of a step."""
        limits: list[float] = self.limit_mps.tolist()
        return limits

    def limit_at(self, s: float) -> float:
        return self._limits[min(max(int(s / _SPACING_M), 0), len(self._limits) - 1)]


def _speed_limit(xy: FloatArray, cruise_mps: float) -> FloatArray:
    heading = np.unwrap(np.arctan2(np.gradient(xy[:, 1]), np.gradient(xy[:, 0])))
    window = 9  # two metres: the kinks of a resampled polyline are no bends
    smooth = np.convolve(np.pad(heading, window // 2, mode="edge"), np.ones(window) / window, mode="valid")
    bend = np.abs(np.gradient(smooth, _SPACING_M))
    limit = np.minimum(cruise_mps, np.sqrt(_LATERAL_MPSS / np.maximum(bend, 1e-6)))
    energy = limit**2 + 2 * _BRAKING_MPSS * _SPACING_M * np.arange(len(limit))  # braking keeps it from growing ahead
    lowest_ahead = np.minimum.accumulate(energy[::-1])[::-1]
    allowed: FloatArray = np.sqrt(limit**2 - energy + lowest_ahead)
    return allowed


@dataclass(frozen=True)
class Stop:
    """Wait at ``s`` until ``until_s``."""

    s: float
    until_s: float


@dataclass(frozen=True)
class Motion:
    """Arc length over time, constant acceleration within each step.

    Attributes:
        start_s: time of the first row, seconds.
        s: (T,) arc lengths, metres, ``STEP_S`` apart in time.
        speed_mps: (T,) derivatives of ``s``.
    """

    start_s: float
    s: FloatArray
    speed_mps: FloatArray

    @staticmethod
    def planned(path: Path, s: float, start_s: float, end_s: float, stops: Sequence[Stop] = ()) -> Motion:
        """Drives along ``path`` from ``s``, slowing for bends, halting at ``stops`` and at the path's end."""
        num_steps = int(np.ceil((end_s - start_s) / STEP_S)) + 1
        places, speeds = np.empty(num_steps), np.empty(num_steps)
        end = Stop(path.length_m - 1.0, np.inf)

        def allowed(now_s: float, place: float) -> float:
            speed = path.limit_at(place)
            for stop in (*stops, end):
                if now_s < stop.until_s and place < stop.s + 1.0:
                    speed = min(speed, math.sqrt(2 * _BRAKING_MPSS * max(stop.s - place, 0.0)))
            return speed

        speed = allowed(start_s, s)
        for k in range(num_steps):
            places[k], speeds[k] = s, speed
            now_s = start_s + (k + 1) * STEP_S
            target = allowed(now_s, s + speed * STEP_S)
            new_speed = min(speed + _ACCELERATION_MPSS * STEP_S, target)
            s += (speed + new_speed) / 2 * STEP_S
            speed = new_speed
        return Motion(start_s, places, speeds)

    def at(self, times_s: FloatArray) -> FloatArray:
        """(N,) arc lengths at ``times_s`` (N,)."""
        place = (times_s - self.start_s) / STEP_S
        index = np.clip(place.astype(np.int64), 0, len(self.s) - 2)
        part = place - index
        speed = self.speed_mps[index]
        travelled = STEP_S * part * (speed + part / 2 * (self.speed_mps[index + 1] - speed))
        travelled_to: FloatArray = self.s[index] + travelled
        return travelled_to


@dataclass(frozen=True)
class Track:
    """Where a thing is at any time.

    A vehicle rolls on two axles, both on the path: its heading is the line between them, so long ones cut corners.

    Attributes:
        path: polyline that it follows.
        motion: arc length along ``path`` over time.
        rear_m: arc length from the reference point back to the rear axle, metres.
        front_m: arc length from the reference point ahead to the front axle, metres.
        share: place of the reference point between the axles, 0 rear … 1 front.
        lag_m: distance behind the motion's own point, metres: a trailer's behind its truck.
    """

    path: Path
    motion: Motion
    rear_m: float
    front_m: float
    share: float = 0.5
    lag_m: float = 0.0

    @property
    def moves(self) -> bool:
        return True

    def poses(self, times_s: FloatArray) -> FloatArray:
        """(N, 4) x, y, z of the ground below the reference point, yaw: world frame."""
        s = self.motion.at(times_s) - self.lag_m
        rear, front = self.path.at(s - self.rear_m), self.path.at(s + self.front_m)
        along = front - rear
        place = rear + self.share * along
        return np.column_stack([place, np.arctan2(along[:, 1], along[:, 0])])

    def velocity(self, time_s: float) -> FloatArray:
        """(2,) m/s over the ground: derivative of the position."""
        half_s = 1e-3
        early, late = self.poses(np.array([time_s - half_s, time_s + half_s]))
        velocity: FloatArray = (late[:2] - early[:2]) / (2 * half_s)
        return velocity


@dataclass(frozen=True)
class Parked:
    """A thing that stays: the same interface as Track.

    Attributes:
        pose: (4,) x, y, z of the ground below it, yaw: world frame.
    """

    pose: FloatArray

    @property
    def moves(self) -> bool:
        return False

    def poses(self, times_s: FloatArray) -> FloatArray:
        return np.broadcast_to(self.pose, (len(times_s), 4))

    def velocity(self, time_s: float) -> FloatArray:
        return np.zeros(2)
