"""LidarRig: the clouds of several LiDARs as one, in the frame of the first. No ROS in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import CloudFormatError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.messages import stamp_ns
from lidarloop_core.pointcloud.decode import read_points
from lidarloop_core.pointcloud.guard import NO_LIMITS, Limits
from lidarloop_core.pointcloud.point_time import PointTimeReader, PointTimeSettings
from lidarloop_ros.inputs.cropping import Cropping
from lidarloop_ros.inputs.motion import MotionUnavailableError, Poses


class LidarRig:
    """Joins clouds by the mounting poses of their LiDARs and the vehicle's motion between their stamps.

    Args:
        poses: gives the vehicle's motion and its sensors' mounting poses.
        columns: names of the points' columns, x y z first.
        topics: cloud topic of each further LiDAR.
        limits: limits of single columns, see ``guard_points``.
        point_times: with it, clouds are joined as they were measured, with the time of each point as last column; the
            vehicle's motion is left for deskewing.
        cropping: leaves out points of each LiDAR by limits; None without any.
    """

    def __init__(
        self,
        poses: Poses,
        columns: tuple[str, ...],
        topics: tuple[str, ...],
        limits: Limits = NO_LIMITS,
        point_times: PointTimeSettings | None = None,
        cropping: Cropping | None = None,
    ) -> None:
        self._poses = poses
        self._columns = columns
        self._topics = topics
        self._limits = limits
        self._cropping = cropping
        self._time_readers = {topic: PointTimeReader(point_times) for topic in topics if point_times is not None}

    def joined(
        self, points: npt.NDArray[np.float32], header: Any, others: Mapping[str, Any]
    ) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
        """The points of all LiDARs.

        Args:
            points: (N, C) points of the first LiDAR, in its own frame; with times (seconds after its stamp) as last
                column where the rig was made for them.
            header: std_msgs/Header of the first LiDAR's cloud.
            others: topic → sensor_msgs/PointCloud2 of the further LiDARs whose cloud came in time.

        Returns:
            (M, C) points in the first LiDAR's frame, at its stamp or at each one's time; and one line for each LiDAR
            that is missing, was joined without ego-motion, or gave values that the network must not be given.
        """
        clouds, problems = [points], []
        for topic in self._topics:
            message = others.get(topic)
            if message is None:
                problems.append(f"{topic}: no cloud in time")
                continue
            try:
                cloud, reasons = self._brought(topic, message, header)
            except (CloudFormatError, MotionUnavailableError) as error:
                problems.append(f"{topic}: left out, {error}")
                continue
            problems += [f"{topic}: {reason}" for reason in reasons if reason]
            clouds.append(cloud)
        return np.concatenate(clouds) if len(clouds) > 1 else points, tuple(problems)

    def _brought(self, topic: str, message: Any, first: Any) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
        """The points of one further LiDAR in the first one's frame, and what was wrong with them."""
        reader = self._time_readers.get(topic)
        if reader is None:
            first_SE3_other, problem = self._between(first, message.header)
            guarded = read_points(message, self._columns, self._limits)
        else:
            first_SE3_other = self._poses.mounting(first.frame_id).inverse() @ self._poses.mounting(
                message.header.frame_id
            )
            timed = reader.read_points(message, self._columns, stamp_ns(message.header), self._limits)
            guarded, problem = timed.received, timed.problem and f"not deskewed: {timed.problem}"
            guarded.points[:, -1] += np.float32(1e-9 * (stamp_ns(message.header) - stamp_ns(first)))
        points, crop_problem = guarded.points, ""
        if self._cropping is not None:
            points, crop_problem = self._cropping.points(points, message.header.frame_id)
        points[:, :3] = first_SE3_other.transform(points[:, :3])
        return points, (problem, guarded.problem, crop_problem)

    def _between(self, first: Any, other: Any) -> tuple[SE3, str]:
        """``first_SE3_other``, each at its own stamp; and why ego-motion was left out, or ""."""
        ego_SE3_first = self._poses.mounting(first.frame_id)
        ego_SE3_other = self._poses.mounting(other.frame_id)
        if stamp_ns(first) == stamp_ns(other):
            return ego_SE3_first.inverse() @ ego_SE3_other, ""
        try:
            moved = self._poses.motion(stamp_ns(first)).inverse() @ self._poses.motion(stamp_ns(other))
        except MotionUnavailableError as error:
            return ego_SE3_first.inverse() @ ego_SE3_other, f"joined as if standing still, {error}"
        return ego_SE3_first.inverse() @ moved @ ego_SE3_other, ""
