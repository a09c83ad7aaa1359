"""Ego-motion for recordings that have none: LiDAR odometry by KISS-ICP.

I. Vizzo et al., "KISS-ICP: In Defense of Point-to-Point ICP – Simple, Accurate, and Robust Registration If Done the
Right Way", RA-L 2023: the authors' library with its own defaults, except that it runs in one thread, so that equal
clouds give equal poses.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.geometry.se3 import SE3, interpolate
from lidarloop_core.sample import Annotations, LidarPose, Sample, SampleKey, SampleSource, Sweep


class LidarOdometry:
    """The ego pose of one drive, cloud by cloud.

    All points of a cloud are taken as seen at its stamp: sources give no time for each point, or have compensated the
    motion already.

    Raises:
        ConfigError: kiss-icp is not installed.
    """

    def __init__(self) -> None:
        try:
            from kiss_icp.config import load_config
            from kiss_icp.kiss_icp import KissICP
        except ImportError as error:
            raise ConfigError(
                f"ego-motion by KISS-ICP received no usable kiss-icp ({error}); expected it installed: "
                "pip install kiss-icp"
            ) from None
        config = load_config(None)
        config.registration.max_num_threads = 1
        self._odometry: Any = KissICP(config)

    def register(self, sweep: Sweep) -> SE3:
        """``world_SE3_ego`` at the next sweep of the drive; the world is the ego frame at the first.

        Raises:
            DatasetError: the cloud has no point.
        """
        if not len(sweep.points):
            raise DatasetError(f"received an empty cloud at {sweep.stamp_ns} ns; expected points: leave it out")
        self._odometry.register_frame(sweep.points[:, :3].astype(np.float64), np.empty(0))
        first_SE3_lidar = _rigid(self._odometry.last_pose)
        return sweep.ego_SE3_lidar @ first_SE3_lidar @ sweep.ego_SE3_lidar.inverse()


class WithEgoMotion:
    """A source without poses, with those estimated from its clouds: its sweeps' and, interpolated, its images'.

    The constructor reads every cloud once; ``[i]`` reads the source again. The world of each scene is the ego frame at
    its first sweep.
    """

    def __init__(self, source: SampleSource, on_sample: Callable[[Sample], None] = lambda _: None) -> None:
        """Estimates the motion.

        Args:
            source: samples scene after scene and in order of time, one sweep each.
            on_sample: called with each sample when its pose is known.

        Raises:
            ConfigError: kiss-icp is not installed.
            DatasetError: the source has poses of its own, an empty cloud, or samples that are not in order of time.
        """
        self._source = source
        self._scenes: dict[str, _Scene] = {}
        for index in range(len(source)):
            sample = source[index]
            if sample.keyframe.world_SE3_ego is not None:
                raise DatasetError(f"sample {sample.token} has a pose already; expected a source without ego-motion")
            self._scenes.setdefault(sample.scene, _Scene()).add(sample)
            on_sample(sample)

    def __len__(self) -> int:
        return len(self._source)

    @property
    def keys(self) -> Sequence[SampleKey]:
        return self._source.keys

    def __getitem__(self, index: int) -> Sample:
        sample = self._source[index]
        scene = self._scenes[sample.scene]
        return dataclasses.replace(
            sample,
            sweeps=tuple(dataclasses.replace(s, world_SE3_ego=scene.pose(s.stamp_ns)) for s in sample.sweeps),
            cameras=tuple(dataclasses.replace(c, world_SE3_ego=scene.pose(c.stamp_ns)) for c in sample.cameras),
        )

    def annotations(self, index: int) -> Annotations | None:
        return self._source.annotations(index)

    def pose(self, index: int) -> LidarPose:
        key = self._source.keys[index]
        return LidarPose(self._source.pose(index).ego_SE3_lidar, self._scenes[key.drive].pose(key.stamp_ns))


class _Scene:
    """The poses of one drive."""

    def __init__(self) -> None:
        self._odometry: LidarOdometry | None = LidarOdometry()
        self._stamps_ns: list[int] = []
        self._poses: list[SE3] = []

    def add(self, sample: Sample) -> None:
        if self._stamps_ns and sample.stamp_ns <= self._stamps_ns[-1]:
            raise DatasetError(
                f"{sample.token} is at {sample.stamp_ns} ns, the one before it at {self._stamps_ns[-1]} ns; expected "
                "the samples of a drive in order of time"
            )
        assert self._odometry is not None
        self._stamps_ns.append(sample.stamp_ns)
        self._poses.append(self._odometry.register(sample.keyframe))

    def pose(self, stamp_ns: int) -> SE3:
        """Between two sweeps at constant velocity; before the first and after the last the motion continues.

        A picture at either end of a drive lies at most a sweep's time outside.
        """
        if len(self._poses) == 1:
            return self._poses[0]
        after = min(max(bisect_left(self._stamps_ns, stamp_ns), 1), len(self._poses) - 1)
        before_ns, after_ns = self._stamps_ns[after - 1], self._stamps_ns[after]
        if stamp_ns == after_ns:
            return self._poses[after]
        return interpolate(self._poses[after - 1], self._poses[after], (stamp_ns - before_ns) / (after_ns - before_ns))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_odometry": None}  # it lives in C++; a copy in another process needs the poses only


def _rigid(matrix: Any) -> SE3:
    """A (4, 4) pose as SE3, its rotation made orthogonal: products over a long drive add up rounding errors."""
    u, _, vt = np.linalg.svd(np.asarray(matrix)[:3, :3])
    return SE3(u @ vt, np.asarray(matrix)[:3, 3])
