"""PlausibleMotion: whether successive poses can be a vehicle's. A localisation that jumps is finite, but wrong."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from lidarloop_core.geometry.se3 import SE3
from lidarloop_ros.inputs.motion import ImplausibleMotionError

# What the noise of two poses may add to the way between them.
NOISE_M = 0.1
NOISE_RAD = 0.02
# Poses closer in time than this are not compared: their noise would outweigh the motion.
MIN_INTERVAL_NS = 10_000_000


@dataclass(frozen=True)
class MotionLimits:
    """What the vehicle can do; see the parameters of the same names.

    Attributes:
        max_speed_mps: largest speed, m/s.
        max_acceleration_mps2: largest change of velocity, m/s².
        max_turn_rate_radps: largest rate of turning about any axis, rad/s.
    """

    max_speed_mps: float
    max_acceleration_mps2: float
    max_turn_rate_radps: float


class PlausibleMotion:
    """Compares each pose with the two before it. Poses must come in the order of their stamps.

    The pose after one that was refused begins anew: a jump is refused once, not for ever.

    Args:
        limits: what the vehicle can do.
    """

    def __init__(self, limits: MotionLimits) -> None:
        self._limits = limits
        self._before: deque[tuple[int, SE3]] = deque(maxlen=2)

    def clear(self) -> None:
        """Forgets the poses, after a jump in time."""
        self._before.clear()

    def require(self, stamp_ns: int, world_SE3_sensor: SE3) -> None:
        """Takes the pose at a stamp, nanoseconds; one that is not newer by a little is taken as it is.

        Raises:
            ImplausibleMotionError: the vehicle cannot have moved so since the poses before.
        """
        if self._before and stamp_ns - self._before[-1][0] < MIN_INTERVAL_NS:
            return
        problem = self._problem(stamp_ns, world_SE3_sensor)
        if problem:
            self._before.clear()
        self._before.append((stamp_ns, world_SE3_sensor))
        if problem:
            raise ImplausibleMotionError(
                f"implausible motion: {problem}. Check the odometry or TF for jumps, or set the parameter to what the "
                "vehicle can do"
            )

    def _problem(self, stamp_ns: int, pose: SE3) -> str:
        """Why the way from the poses before is none of a vehicle, or ""."""
        if not self._before:
            return ""
        last_ns, last = self._before[-1]
        seconds = (stamp_ns - last_ns) * 1e-9
        step_m = pose.translation - last.translation
        way_m, limits = float(np.linalg.norm(step_m)), self._limits
        if way_m > limits.max_speed_mps * seconds + NOISE_M:
            return f"{way_m:.2f} m in {seconds:.3f} s is {way_m / seconds:.0f} m/s, max_speed_mps is " + (
                f"{limits.max_speed_mps:g}"
            )
        turn_rad = _angle_rad(last, pose)
        if turn_rad > limits.max_turn_rate_radps * seconds + NOISE_RAD:
            return (
                f"{turn_rad:.2f} rad in {seconds:.3f} s is {turn_rad / seconds:.1f} rad/s, max_turn_rate_radps is "
                + (f"{limits.max_turn_rate_radps:g}")
            )
        if len(self._before) < 2:
            return ""
        first_ns, first = self._before[0]
        seconds_before = (last_ns - first_ns) * 1e-9
        # How far the pose lies from where an unchanged velocity leads; the noise of that velocity grows with the time.
        aside_m = float(np.linalg.norm(step_m - (last.translation - first.translation) * (seconds / seconds_before)))
        reach = seconds * (seconds_before + seconds) / 2
        if aside_m > limits.max_acceleration_mps2 * reach + NOISE_M * (1 + seconds / seconds_before) / 2:
            return f"the velocity changed by {aside_m / reach:.0f} m/s², max_acceleration_mps2 is " + (
                f"{limits.max_acceleration_mps2:g}"
            )
        return ""


def _angle_rad(a: SE3, b: SE3) -> float:
    """Angle of the rotation from ``a`` to ``b``, 0 to π."""
    cosine = (float(np.sum(a.rotation * b.rotation)) - 1) / 2  # trace(Aᵀ B) = 1 + 2 cos
    return float(np.arccos(min(max(cosine, -1.0), 1.0)))
