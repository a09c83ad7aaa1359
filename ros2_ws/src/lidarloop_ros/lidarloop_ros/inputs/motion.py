"""Ego-motion for one cloud: a pose at its stamp, after a bounded wait, and extrapolated by 50 ms at most."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lidarloop_core.geometry.se3 import SE3, interpolate
from lidarloop_core.geometry.trajectory import Trajectory
from lidarloop_ros.inputs.stamps import TIME_JUMP_NS, StampCourse

# 20 s at 100 Hz: far more than the sweeps that are merged, and a fixed bound.
MAX_POSES = 2_000
# Between two odometry messages further apart than this the motion is unknown.
MAX_GAP_NS = 500_000_000
# A cloud may be this much younger than the newest odometry without waiting: at 3 m/s² of acceleration the straight
# continuation is 4 mm off after 50 ms, while waiting for the next message would cost up to its period.
MAX_AHEAD_NS = 50_000_000


class MotionUnavailableError(Exception):
    """No pose for a cloud; the message gives the reason and the remedy."""


class ImplausibleMotionError(MotionUnavailableError):
    """The pose is known, but no vehicle moves so; poses before it belong to another course."""


class Poses(Protocol):
    """Where sensors are on the vehicle, and where the vehicle is in the world. Both raise MotionUnavailableError."""

    def mounting(self, frame: str) -> SE3:
        """``ego_SE3_sensor`` of the sensor with this frame."""
        ...

    def motion(self, stamp_ns: int) -> SE3:
        """``world_SE3_ego`` at a time in nanoseconds."""
        ...


@dataclass(frozen=True)
class SensorPose:
    """Pose of the LiDAR at a cloud's stamp, in two parts."""

    world_SE3_ego: SE3
    ego_SE3_lidar: SE3


class OdometryTrack:
    """Poses of the vehicle over time: the executor's thread adds them, the working thread looks them up.

    Args:
        topic: topic that they come from, for messages.
    """

    def __init__(self, topic: str = "~/input/odometry") -> None:
        self._topic = topic
        self._changed = threading.Condition()
        self._trajectory = Trajectory(max_poses=MAX_POSES)
        self._newest_ns: int | None = None
        self._course = StampCourse()

    def add(self, stamp_ns: int, world_SE3_ego: SE3) -> str:
        """Adds a pose. One from long before the newest clears the others: a bag was looped.

        Returns:
            What to say of two publishers whose clocks are far apart; "" with one.
        """
        with self._changed:
            if self._course.follow(stamp_ns) == "back":
                self._clear()
            self._trajectory.add(stamp_ns, world_SE3_ego)
            self._newest_ns = max(stamp_ns, self._newest_ns or stamp_ns)
            self._changed.notify_all()
            return self._course.problem(self._topic)

    def time_jumped_back_to(self, stamp_ns: int) -> None:
        """Clears the poses of the previous pass, unless those of the new one have already arrived."""
        with self._changed:
            if self._newest_ns is not None and self._newest_ns > stamp_ns + TIME_JUMP_NS:
                self._clear()

    def at(self, stamp_ns: int, *, timeout_s: float) -> SE3:
        """``world_SE3_ego`` at a time, waiting up to ``timeout_s`` for it to become known.

        Raises:
            MotionUnavailableError: the pose did not become known in time.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                try:
                    return self._known(stamp_ns)
                except LookupError as error:
                    reason = str(error)
                has_stopped = self._newest_ns is not None and stamp_ns - self._newest_ns > MAX_GAP_NS
                if has_stopped or not self._changed.wait(deadline - time.monotonic()):
                    raise MotionUnavailableError(
                        f"no odometry for the cloud ({reason}); check that {self._topic} is published and that its "
                        "stamps share the LiDAR's clock"
                    )

    def _known(self, stamp_ns: int) -> SE3:
        newest_ns = self._newest_ns
        if newest_ns is None or not newest_ns < stamp_ns <= newest_ns + MAX_AHEAD_NS:
            return self._trajectory.at(stamp_ns, max_gap_ns=MAX_GAP_NS)
        # Continued from as far back as it may reach ahead, so that the noise of a pose at most doubles.
        before_ns = newest_ns - MAX_AHEAD_NS
        before = self._trajectory.at(before_ns, max_gap_ns=MAX_GAP_NS)
        newest = self._trajectory.at(newest_ns, max_gap_ns=MAX_GAP_NS)
        return interpolate(before, newest, (stamp_ns - before_ns) / (newest_ns - before_ns))

    def _clear(self) -> None:
        self._trajectory.clear()
        self._newest_ns = None


def poll(attempt: Callable[[], SE3], error: type[Exception], *, timeout_s: float) -> SE3:
    """Repeats ``attempt`` until it no longer raises ``error``; tf2's own wait would need a spinning node.

    Raises:
        MotionUnavailableError: it still raised after ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return attempt()
        except error as reason:
            if time.monotonic() >= deadline:
                raise MotionUnavailableError(f"{reason}; check what is published on /tf and /tf_static") from None
        time.sleep(0.002)
