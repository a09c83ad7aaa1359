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
from lidarloop_ros.inputs.motion import MotionUnavailableError, Poses


class LidarRig:
    """Joins clouds by where their LiDARs are mounted, and by how the vehicle moved between their stamps.

    Args:
        poses: of the vehicle and its sensors.
        columns: of the points, x y z first.
        topics: of the LiDARs besides the first: what should be there.
    """

    def __init__(self, poses: Poses, columns: tuple[str, ...], topics: tuple[str, ...]) -> None:
        self._poses = poses
        self._columns = columns
        self._topics = topics

    def joined(
        self, points: npt.NDArray[np.float32], header: Any, others: Mapping[str, Any]
    ) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
        """The points of all LiDARs.

        Args:
            points: (N, C) of the first LiDAR, in its own frame.
            header: of its cloud.
            others: topic → sensor_msgs/PointCloud2, as far as they have come.

        Returns:
            (M, C) points in the first LiDAR's frame at its stamp, and a line for each LiDAR that is missing or is
            placed less well than it should be.
        """
        clouds, problems = [points], []
        for topic in self._topics:
            message = others.get(topic)
            if message is None:
                problems.append(f"{topic}: no cloud in time")
                continue
            try:
                first_SE3_other, problem = self._between(header, message.header)
                cloud = read_points(message, self._columns).points
            except (CloudFormatError, MotionUnavailableError) as error:
                problems.append(f"{topic}: left out, {error}")
                continue
            problems += [f"{topic}: {problem}"] if problem else []
            cloud[:, :3] = first_SE3_other.transform(cloud[:, :3])
            clouds.append(cloud)
        return np.concatenate(clouds) if len(clouds) > 1 else points, tuple(problems)

    def _between(self, first: Any, other: Any) -> tuple[SE3, str]:
        """Pose of another LiDAR at its stamp, in the first one's frame at its own; and what is lacking for it."""
        ego_SE3_first = self._poses.mounting(first.frame_id)
        ego_SE3_other = self._poses.mounting(other.frame_id)
        if stamp_ns(first) == stamp_ns(other):
            return ego_SE3_first.inverse() @ ego_SE3_other, ""
        try:
            moved = self._poses.motion(stamp_ns(first)).inverse() @ self._poses.motion(stamp_ns(other))
        except MotionUnavailableError as error:
            return ego_SE3_first.inverse() @ ego_SE3_other, f"joined as if standing still, {error}"
        return ego_SE3_first.inverse() @ moved @ ego_SE3_other, ""
