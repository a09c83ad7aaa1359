"""Clouds of a bag without the vehicle's motion during each sweep."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import BagError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.geometry.trajectory import Trajectory
from lidarloop_core.io.messages import stamp_ns
from lidarloop_core.pointcloud.decode import decode_cloud
from lidarloop_core.pointcloud.deskew import deskewed, motion_during
from lidarloop_core.pointcloud.point_time import TIME_COLUMN, PointTimeError, PointTimeReader, PointTimeSettings
from lidarloop_core.sample import Sweep

_MAX_BEYOND_NS = 200_000_000
"""A drive's first sweep begins before the pose at its stamp; there the motion is taken to be that right after."""


class BagDeskewing:
    """Reads clouds with the time of each point, and takes the motion out of sweeps made of them.

    Args:
        path: the bag, for messages.
        settings: what is known of the points' times.
        first_clouds: first cloud of each LiDAR; their times must be readable.
        trajectory: the ego's poses; None without any.
        max_gap_ns: largest time between two poses, nanoseconds.

    Raises:
        BagError: a cloud has no times, or they cannot be read; or there are no poses.
    """

    def __init__(
        self,
        path: Path,
        settings: PointTimeSettings,
        first_clouds: Sequence[Any],
        trajectory: Trajectory | None,
        max_gap_ns: int,
    ) -> None:
        if trajectory is None:
            raise BagError(f"{path} has no poses; expected them to deskew its clouds: name its odometry_topic")
        self._path, self._trajectory, self._max_gap_ns = path, trajectory, max_gap_ns
        self._readers = [PointTimeReader(settings) for _ in first_clouds]
        for reader, cloud in zip(self._readers, first_clouds, strict=True):
            try:
                times = reader.read(decode_cloud(cloud), stamp_ns(cloud.header))
            except PointTimeError as error:
                raise BagError(f"{path}: clouds of {cloud.header.frame_id} cannot be deskewed: {error}") from None
            warnings.warn(f"{path}: clouds of {cloud.header.frame_id} are deskewed by {times}", stacklevel=4)

    def read(self, number: int, cloud: Any, fields: Sequence[str]) -> npt.NDArray[np.float32]:
        """(N, C + 1) points of a LiDAR's cloud, as measured; the last column is the time after the cloud's stamp, s."""
        timed = self._readers[number].read_points(cloud, fields, stamp_ns(cloud.header))
        if timed.problem:
            self._warn(timed.problem)
        return timed.received.points

    def deskewed(self, points: npt.NDArray[np.float32], columns: Sequence[str], sweep: Sweep) -> Sweep:
        """The sweep with other points: (N, C + 1) in ``columns`` and times after its stamp, s; brought to its stamp."""
        measured = Sweep(points, (*columns, TIME_COLUMN), sweep.stamp_ns, sweep.ego_SE3_lidar, sweep.world_SE3_ego)
        times = points[:, -1]
        first_s, last_s = float(times.min(initial=0.0)), float(times.max(initial=0.0))

        def world_SE3_lidar(at_ns: int) -> SE3:
            pose = self._trajectory.at(at_ns, max_gap_ns=self._max_gap_ns, max_beyond_ns=_MAX_BEYOND_NS)
            return pose @ sweep.ego_SE3_lidar

        try:
            return deskewed(measured, motion_during(world_SE3_lidar, sweep.stamp_ns, first_s, last_s))
        except LookupError as error:
            self._warn(str(error))
            return deskewed(measured, None)

    def _warn(self, reason: str) -> None:
        warnings.warn(f"{self._path}: a cloud keeps its skew: {reason}", stacklevel=4)
