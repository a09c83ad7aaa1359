"""DeadReckoning: poses from velocities, where a vehicle publishes a speed and an IMU, but no odometry. No ROS in it."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.se3 import SE3, from_twist
from lidarloop_ros.inputs.stamps import TIME_JUMP_NS

Vector = npt.NDArray[np.float64]

MAX_PAUSE_NS = 500_000_000
"""Between two messages further apart than this the motion is unknown."""


class _Rate(NamedTuple):
    stamp_ns: int
    value: Vector


class DeadReckoning:
    """Integrates velocities in the vehicle's frame: the mean of two messages, for the time between them, on SE(3).

    Its pose drifts without bound. For a second or two of sweeps that does not matter: 1 % of the speed is 0.25 m after
    a second at 25 m/s.

    Args:
        turns_by_imu: whether rates of turning come from an IMU, in messages of their own; else they come with speeds.
    """

    def __init__(self, *, turns_by_imu: bool) -> None:
        self._turns_by_imu = turns_by_imu
        self._lock = threading.Lock()
        self._speed: _Rate | None = None
        self._turn: _Rate | None = None
        self._pose: tuple[int, SE3] | None = None
        self._pause_s = 0.0

    def add_twist(self, stamp_ns: int, linear_mps: Vector, angular_radps: Vector) -> SE3 | None:
        """Takes a velocity, (3,) m/s and (3,) rad/s in the vehicle's frame.

        Returns:
            The pose at the stamp; None where an IMU's next message gives it, or the stamp goes back.
        """
        with self._lock:
            before, self._speed = self._speed, _Rate(stamp_ns, linear_mps)
            if self._turns_by_imu:
                return None
            turn_before, self._turn = self._turn, _Rate(stamp_ns, angular_radps)
            if before is None or turn_before is None:
                return self._start(stamp_ns)
            return self._advance(stamp_ns, (before.value + linear_mps) / 2, (turn_before.value + angular_radps) / 2)

    def add_turn(self, stamp_ns: int, angular_radps: Vector) -> SE3 | None:
        """Takes an IMU's rate of turning, (3,) rad/s in the vehicle's frame; the speed is the last one received.

        Returns:
            The pose at the stamp; None while no speed has been received lately, or the stamp goes back.
        """
        with self._lock:
            before, self._turn = self._turn, _Rate(stamp_ns, angular_radps)
            speed = self._speed
            if speed is None or abs(stamp_ns - speed.stamp_ns) > MAX_PAUSE_NS:
                return None
            if before is None:
                return self._start(stamp_ns)
            return self._advance(stamp_ns, speed.value, (before.value + angular_radps) / 2)

    def take_pause(self) -> float:
        """Length of a pause since the last call that was too long to be bridged, seconds; 0.0 without one."""
        with self._lock:
            pause_s, self._pause_s = self._pause_s, 0.0
            return pause_s

    def _start(self, stamp_ns: int) -> SE3:
        pose = SE3.identity() if self._pose is None else self._pose[1]
        self._pose = stamp_ns, pose
        return pose

    def _advance(self, stamp_ns: int, linear_mps: Vector, angular_radps: Vector) -> SE3 | None:
        if self._pose is None:
            return self._start(stamp_ns)
        last_ns, pose = self._pose
        if last_ns - TIME_JUMP_NS <= stamp_ns <= last_ns:
            return None
        seconds = (stamp_ns - last_ns) * 1e-9
        if not 0 < stamp_ns - last_ns <= MAX_PAUSE_NS:
            self._pause_s = max(seconds, 0.0)
            return self._start(stamp_ns)
        self._pose = stamp_ns, pose @ from_twist(seconds * linear_mps, seconds * angular_radps)
        return self._pose[1]
