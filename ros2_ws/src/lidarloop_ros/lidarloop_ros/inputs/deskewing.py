"""Deskewing in a node: the parameters, and where the LiDAR was during a sweep. No ROS in it, but the parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from lidarloop_core.pointcloud.deskew import SweepMotion, motion_during
from lidarloop_core.pointcloud.point_time import PointTimeReader, PointTimes, PointTimeSettings, StampAt, Unit
from lidarloop_core.sample import Sweep
from lidarloop_ros.inputs.motion import Poses, SensorPose
from lidarloop_ros.node.params import NodeParams, param


@dataclass(frozen=True)
class DeskewParams(NodeParams):
    """Parameters of deskewing."""

    deskew: bool = param(
        False,
        "Take the vehicle's motion during a revolution out of the clouds, by the time of each point. Leave it off "
        "where the driver does so already. Needs ego-motion. What moves by itself stays where it was measured.",
    )
    point_time_field: str = param(
        "",
        "The clouds' field with the time of each point; empty: the first of t, time, timestamp, time_stamp, "
        "offset_time, time_offset.",
    )
    point_time_unit: str = param(
        "auto", "Unit of that field; `auto` finds it by the length of a sweep.", choices=("auto", "s", "ms", "us", "ns")
    )
    point_time_stamp: str = param(
        "auto",
        "Where in the sweep the clouds' stamp lies: at its first point (`start`) or its last (`end`), whatever the "
        "times count from; `auto` takes times as relative to the stamp or as absolute, whichever they are.",
        choices=("auto", "start", "end"),
    )

    @property
    def point_times(self) -> PointTimeSettings:
        """What the parameters say of the points' times."""
        return PointTimeSettings(
            self.point_time_field, cast(Unit, self.point_time_unit), cast(StampAt, self.point_time_stamp)
        )


def moment_of(times: PointTimes | None, sweep_stamp: str) -> float:
    """When a model's training has its points in a sweep, seconds after the cloud's stamp.

    Args:
        times: the times of the sweep's points; the stamp is taken where they are unknown.
        sweep_stamp: see ``ModelSpec``.
    """
    if times is None:
        return 0.0
    moment_s = {
        "start": times.first_s, "middle": (times.first_s + times.last_s) / 2, "end": times.last_s
    }[sweep_stamp]  # fmt: skip
    # A few columns without a return at either end shift the moment by little: then the cloud's own stamp is meant.
    return 0.0 if abs(moment_s) < 0.2 * (times.last_s - times.first_s) else moment_s


class Deskewing:
    """What deskewing needs of one LiDAR.

    Args:
        settings: what is known of the points' times.
        poses: the vehicle's motion and its sensors' mounting poses.

    Attributes:
        reader: reads the times of the LiDAR's points.
    """

    def __init__(self, settings: PointTimeSettings, poses: Poses) -> None:
        self.reader = PointTimeReader(settings)
        self._poses = poses

    def pose(self, stamp_ns: int, lidar_frame: str) -> SensorPose:
        """The LiDAR's pose at a time; raises MotionUnavailableError."""
        return SensorPose(self._poses.motion(stamp_ns), self._poses.mounting(lidar_frame))

    def motion(self, sweep: Sweep, lidar_frame: str) -> SweepMotion | None:
        """The LiDAR's motion during a sweep; None where all points have the time of its stamp.

        Args:
            sweep: ``TIME_COLUMN`` is its last column.
            lidar_frame: frame of the LiDAR.

        Raises:
            MotionUnavailableError: a pose during the sweep, or the mounting pose, is unknown.
        """
        times = sweep.points[:, -1]
        first_s, last_s = float(times.min(initial=0.0)), float(times.max(initial=0.0))
        if first_s == last_s:
            return None
        ego_SE3_lidar = self._poses.mounting(lidar_frame)
        return motion_during(lambda ns: self._poses.motion(ns) @ ego_SE3_lidar, sweep.stamp_ns, first_s, last_s)
