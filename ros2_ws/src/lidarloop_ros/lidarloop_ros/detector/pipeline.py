"""CloudPipeline: one PointCloud2 message → detections. No ROS in it: what the node adds is transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.stage_clock import StageClock
from lidarloop_core.inference.sweep_pipeline import SweepDetections, SweepPipeline
from lidarloop_core.io.messages import stamp_ns
from lidarloop_core.pointcloud.decode import DecodedPoints, read_points
from lidarloop_core.sample import Sweep
from lidarloop_ros.inputs.lidar_rig import LidarRig
from lidarloop_ros.inputs.motion import MotionUnavailableError, SensorPose

Locate = Callable[[int, str], SensorPose]
"""(stamp_ns, LiDAR frame) → pose; raises MotionUnavailableError."""


@dataclass(frozen=True)
class Frame:
    """What became of one cloud.

    Attributes:
        boxes: detections in the cloud's own frame.
        stage_ms: duration of each stage by name, in order.
        num_points: points of all merged sweeps that entered the detector.
        num_sweeps: sweeps merged.
        non_finite_share: share of the newest cloud's points left out because they had no finite position.
        overflow: what was left out for want of capacity, or "".
        motion_problem: why sweeps could not be merged, or "".
        missing_column: what was filled with zeros for want of a field, or "".
        newest_points: (N, C) of the newest cloud, in ``columns``.
        columns: of ``newest_points``.
        lidar_problems: a line for each further LiDAR that is missing or placed less well than it should be.
        world_SE3_lidar: where the LiDAR was; None where nobody knows.
    """

    boxes: Boxes3D
    stage_ms: dict[str, float]
    num_points: int
    num_sweeps: int
    non_finite_share: float
    overflow: str
    motion_problem: str
    missing_column: str
    newest_points: npt.NDArray[np.float32]
    columns: tuple[str, ...]
    lidar_problems: tuple[str, ...] = ()
    world_SE3_lidar: SE3 | None = None


class CloudPipeline:
    """Decodes a cloud, asks where the LiDAR was, and has the sweep detected in.

    Args:
        sweeps: keeps and merges sweeps and detects, warmed up.
        locate: gives the LiDAR's pose at a stamp; asked only by models that merge sweeps, and for tracking.
        requires_motion: clouds without a pose raise instead of being used alone.
        fills_intensity: clouds without intensity get zeros instead of being refused.
        rig: joins the clouds of further LiDARs.
        needs_pose: the pose is wanted whether sweeps are merged or not.
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
        self._needs_pose = needs_pose or sweeps.detector.spec.num_sweeps > 1

    @property
    def detector(self) -> Detector:
        """May be replaced at any time by one of the same backend, e.g. with other thresholds."""
        return self._sweeps.detector

    @detector.setter
    def detector(self, detector: Detector) -> None:
        self._sweeps.detector = detector

    def process(self, msg: Any, others: Mapping[str, Any] = MappingProxyType({})) -> Frame:
        """Detects the objects in one cloud, with the clouds of further LiDARs that belong to it, by topic.

        May be called again with the same cloud: it is kept as a sweep only when all has gone well.

        Raises:
            CloudFormatError: the message cannot be decoded or lacks a column of the model.
            MotionUnavailableError: no pose, where one is required.
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
        detections = self._sweeps.detect(newest)
        num_received = len(decoded.points) + decoded.num_dropped
        return Frame(
            boxes=detections.found.boxes,
            stage_ms={**clock.stage_ms, **detections.found.stage_ms},
            num_points=detections.num_points,
            num_sweeps=detections.num_sweeps,
            non_finite_share=decoded.num_dropped / num_received if num_received else 0.0,
            overflow=_overflow(detections, self.detector.grid.max_pillars),
            motion_problem=motion_problem,
            missing_column=missing_column,
            newest_points=new_points,
            columns=columns,
            lidar_problems=lidar_problems,
            world_SE3_lidar=newest.world_SE3_ego @ newest.ego_SE3_lidar if newest.world_SE3_ego else None,
        )

    def forget_sweeps(self) -> None:
        """To be called after a jump in time."""
        self._sweeps.forget()

    def adopt_sweeps(self, before: CloudPipeline) -> None:
        """Goes on with the sweeps of the pipeline this one takes the place of, which is closed."""
        self._sweeps.adopt(before._sweeps)
        before.close()

    def close(self) -> None:
        """Frees what the sweeps hold; the model goes with the last who refers to it. Nothing is detected afterwards."""
        self._sweeps.close()

    def _decoded(self, msg: Any) -> tuple[DecodedPoints, str]:
        """The points, and what had to be filled in for want of a field."""
        columns = self._sweeps.columns
        if not self._fills_intensity or "intensity" not in columns or any(f.name == "intensity" for f in msg.fields):
            return read_points(msg, columns), ""
        place = columns.index("intensity")
        decoded = read_points(msg, columns[:place] + columns[place + 1 :])
        filled = np.insert(decoded.points, place, 0.0, axis=1)
        reason = "clouds have no field intensity, zeros are used: scores will be lower than in training"
        return DecodedPoints(filled, decoded.num_dropped), reason

    def _located(self, sweep: Sweep, frame_id: str) -> tuple[Sweep, str]:
        try:
            pose = self._locate(sweep.stamp_ns, frame_id)
        except MotionUnavailableError as error:
            if self._requires_motion:
                raise
            return sweep, str(error)
        return Sweep(sweep.points, sweep.columns, sweep.stamp_ns, pose.ego_SE3_lidar, pose.world_SE3_ego), ""


def _overflow(detections: SweepDetections, max_pillars: int) -> str:
    reasons, found, num_points = [], detections.found, detections.num_points
    if found.num_points < num_points:
        reasons.append(f"{num_points - found.num_points} of {num_points} points left out: more than max_points")
    if found.num_thinned:
        reasons.append(
            f"{found.num_thinned} points thinned out: {found.num_pillars_found} pillars, the model takes {max_pillars}"
        )
    return "; ".join(reasons)
