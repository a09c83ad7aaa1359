"""CloudPipeline: one PointCloud2 message → detections, or labels of its points. No ROS in it, the node adds that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.inference.detector import Detections, Detector
from lidarloop_core.inference.segmenter import PointLabels, Segmenter
from lidarloop_core.inference.stage_clock import StageClock
from lidarloop_core.inference.sweep_pipeline import SweepAnswer, SweepPipeline
from lidarloop_core.io.messages import stamp_ns
from lidarloop_core.pointcloud.decode import read_points
from lidarloop_core.pointcloud.guard import GuardedPoints
from lidarloop_core.sample import Sweep
from lidarloop_ros.inputs.lidar_rig import LidarRig
from lidarloop_ros.inputs.motion import ImplausibleMotionError, MotionUnavailableError, SensorPose

Locate = Callable[[int, str], SensorPose]
"""(stamp_ns, LiDAR frame) → the LiDAR's pose; raises MotionUnavailableError."""


@dataclass(frozen=True)
class CloudResult:
    """Detections in one cloud or labels of its points, and how they were made.

    Attributes:
        found: detections in the cloud's own frame, or a label for each of ``newest_points``.
        stage_ms: stage → its duration in milliseconds, in order.
        num_points: number of points of all merged sweeps.
        num_sweeps: number of merged sweeps.
        received: the newest cloud as the first LiDAR sent it: what was left out, clamped and kept.
        overflow: what was left out because capacity was exceeded, or "".
        motion_problem: why sweeps could not be merged, or "".
        missing_column: which missing field was filled with zeros, or "".
        newest_points: (N, C) float32 points of the newest cloud, LiDAR frame.
        columns: names of the C columns of ``newest_points``.
        lidar_problems: one line for each further LiDAR that is missing, or was joined without ego-motion.
        world_SE3_lidar: pose of the LiDAR; None if unknown.
    """

    found: Boxes3D | PointLabels
    stage_ms: dict[str, float]
    num_points: int
    num_sweeps: int
    received: GuardedPoints
    overflow: str
    motion_problem: str
    missing_column: str
    newest_points: npt.NDArray[np.float32]
    columns: tuple[str, ...]
    lidar_problems: tuple[str, ...] = ()
    world_SE3_lidar: SE3 | None = None

    @property
    def boxes(self) -> Boxes3D:
        """The detections of a detector."""
        assert isinstance(self.found, Boxes3D), "a segmenter finds no boxes"
        return self.found


class CloudPipeline:
    """Decodes a cloud, looks up the LiDAR's pose, and runs the model on the merged sweeps.

    Args:
        sweeps: keeps and merges sweeps and runs the model on them; warmed up.
        locate: gives the LiDAR's pose at a stamp; called only for models that merge sweeps, and for tracking.
        requires_motion: whether a cloud without a pose raises instead of being used alone.
        fills_intensity: whether a cloud without intensity gets zeros instead of being refused.
        rig: joins the clouds of further LiDARs; None without any.
        needs_pose: whether the pose is needed even by a model of a single sweep.
    """

    def __init__(
        self,
        sweeps: SweepPipeline,
        locate: Locate,
        *,
        requires_motion: bool = False,
        fills_intensity: bool = False,
        rig: LidarRig | None = None,
        needs_pose: bool = False,
    ) -> None:
        self._sweeps = sweeps
        self._locate = locate
        self._requires_motion = requires_motion
        self._fills_intensity = fills_intensity
        self._rig = rig
        self._needs_pose = needs_pose or sweeps.model.spec.num_sweeps > 1

    @property
    def model(self) -> Detector | Segmenter:
        """The detector or segmenter; at any time it may be replaced by one of the same backend."""
        return self._sweeps.model

    @model.setter
    def model(self, model: Detector | Segmenter) -> None:
        self._sweeps.model = model

    def process(self, msg: Any, others: Mapping[str, Any] = MappingProxyType({})) -> CloudResult:
        """Detects the objects in one cloud, or labels its points.

        May be called again with the same cloud: it is kept as a sweep only after success.

        Args:
            msg: sensor_msgs/PointCloud2.
            others: topic → sensor_msgs/PointCloud2 of the further LiDARs' clouds that belong to it.

        Raises:
            CloudFormatError: the message cannot be decoded or lacks a column of the model.
            MotionUnavailableError: the pose is unknown, and required.
            BackendError: the network failed.
        """
        clock = StageClock()
        decoded, missing_column = self._decoded(msg)
        new_points = decoded.points
        lidar_problems: tuple[str, ...] = ()
        if self._rig is not None:
            new_points, lidar_problems = self._rig.joined(new_points, msg.header, others)
        clock.stop("decode")
        columns = self._sweeps.columns
        newest = Sweep(new_points, columns, stamp_ns(msg.header), SE3.identity(), None)
        motion_problem = ""
        if self._needs_pose:
            newest, motion_problem = self._located(newest, msg.header.frame_id)
        clock.stop("motion")
        answer = self._sweeps.answer(newest)
        return CloudResult(
            found=answer.found.boxes if isinstance(answer.found, Detections) else answer.found,
            stage_ms={**clock.stage_ms, **answer.found.stage_ms},
            num_points=answer.num_points,
            num_sweeps=answer.num_sweeps,
            received=decoded,
            overflow=_overflow(answer),
            motion_problem=motion_problem,
            missing_column=missing_column,
            newest_points=new_points,
            columns=columns,
            lidar_problems=lidar_problems,
            world_SE3_lidar=newest.world_SE3_ego @ newest.ego_SE3_lidar if newest.world_SE3_ego else None,
        )

    def forget_sweeps(self) -> None:
        """Drops all sweeps, after a jump in time."""
        self._sweeps.forget()

    def adopt_sweeps(self, before: CloudPipeline) -> None:
        """Takes the sweeps over from the pipeline that this one replaces, and closes that one."""
        self._sweeps.adopt(before._sweeps)
        before.close()

    def close(self) -> None:
        """Frees the memory of the sweeps; the model is freed with its last reference. Ends the pipeline's use."""
        self._sweeps.close()

    def _decoded(self, msg: Any) -> tuple[GuardedPoints, str]:
        """The points, and which missing field was filled with zeros, or ""."""
        columns = self._sweeps.columns
        if not self._fills_intensity or "intensity" not in columns or any(f.name == "intensity" for f in msg.fields):
            return read_points(msg, columns, self.model.spec.column_limits), ""
        place = columns.index("intensity")
        decoded = read_points(msg, columns[:place] + columns[place + 1 :])
        filled = np.insert(decoded.points, place, 0.0, axis=1)
        reason = "clouds have no field intensity, zeros are used: scores will be lower than in training"
        return replace(decoded, points=filled), reason

    def _located(self, sweep: Sweep, frame_id: str) -> tuple[Sweep, str]:
        try:
            pose = self._locate(sweep.stamp_ns, frame_id)
        except MotionUnavailableError as error:
            if isinstance(error, ImplausibleMotionError):
                self._sweeps.forget()
            if self._requires_motion:
                raise
            return sweep, str(error)
        return Sweep(sweep.points, sweep.columns, sweep.stamp_ns, pose.ego_SE3_lidar, pose.world_SE3_ego), ""


def _overflow(answer: SweepAnswer) -> str:
    reasons, found, num_points = [], answer.found, answer.num_points
    if found.num_points < num_points:
        reasons.append(f"{num_points - found.num_points} of {num_points} points left out: more than max_points")
    if found.overfull:
        what = f"{found.num_thinned} points thinned out" if found.num_thinned else "thinned"  # below the first level
        reasons.append(f"{what}: {', '.join(found.overfull)}")
    return "; ".join(reasons)
