"""CloudPipeline: one PointCloud2 message → detections, or labels of its points. No ROS in it, the node adds that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.camera_bev.pictures import Pictures
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.inference.detector import Detections, Detector
from lidarloop_core.inference.segmenter import PointLabels, Segmenter
from lidarloop_core.inference.stage_clock import StageClock
from lidarloop_core.inference.sweep_pipeline import SweepAnswer, SweepPipeline
from lidarloop_core.io.messages import stamp_ns
from lidarloop_core.pointcloud.decode import field_of, read_points
from lidarloop_core.pointcloud.deskew import SweepMotion
from lidarloop_core.pointcloud.guard import NO_LIMITS, GuardedPoints, Limits
from lidarloop_core.pointcloud.point_time import TIME_COLUMN, PointTimes, TimedPoints
from lidarloop_core.sample import Sweep
from lidarloop_ros.inputs.cropping import Cropping
from lidarloop_ros.inputs.deskewing import Deskewing, moment_of
from lidarloop_ros.inputs.lidar_rig import LidarRig
from lidarloop_ros.inputs.motion import ImplausibleMotionError, MotionUnavailableError, SensorPose
from lidarloop_ros.inputs.rig_pictures import RigPictures

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
        newest_points: (N, C) float32 points of the newest cloud, in their order, metres, LiDAR frame at the cloud's
            stamp; of a detector whose sweeps are on the GPU each at its own time.
        columns: names of the C columns of ``newest_points``.
        lidar_problems: one line for each further LiDAR that is missing, or was joined without ego-motion.
        camera_problems: one line for each camera of the model that gave no picture.
        world_SE3_lidar: pose of the LiDAR at the cloud's stamp; None if unknown.
        point_times: how the driver gives the time of each point; "" where it is not read.
        skew_problem: why the cloud was used with its skew, or "".
        crop_problem: why not all limits of points hold, or "".
        num_cropped: number of points of the first LiDAR's cloud that limits left out.
        intensity_field: the field that intensity was read from; "" where none was.
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
    camera_problems: tuple[str, ...] = ()
    world_SE3_lidar: SE3 | None = None
    point_times: str = ""
    skew_problem: str = ""
    crop_problem: str = ""
    num_cropped: int = 0
    intensity_field: str = ""

    @property
    def boxes(self) -> Boxes3D:
        """The detections of a detector."""
        assert isinstance(self.found, Boxes3D), "a segmenter finds no boxes"
        return self.found


@dataclass(frozen=True)
class _Placed:
    """A sweep with its poses, as far as they are known.

    Attributes:
        sweep: the sweep, stamped at the moment that its points are brought to.
        motion: the motion during the sweep; None where it is not taken out.
        stamp_SE3_moment: from the LiDAR at that moment to the LiDAR at the cloud's stamp; None where they are one.
        world_SE3_lidar: pose of the LiDAR at the cloud's stamp; None if unknown.
        problem: why the pose is unknown, or "".
    """

    sweep: Sweep
    motion: SweepMotion | None = None
    stamp_SE3_moment: SE3 | None = None
    world_SE3_lidar: SE3 | None = None
    problem: str = ""


@dataclass(frozen=True)
class FurtherSensors:
    """What belongs to the first LiDAR's clouds.

    Attributes:
        lidars: joins the clouds of further LiDARs; None without any.
        cameras: what the model's cameras see; None for a model without cameras.
    """

    lidars: LidarRig | None = None
    cameras: RigPictures | None = None


class CloudPipeline:
    """Decodes a cloud, looks up the LiDAR's pose, and runs the model on the merged sweeps.

    Args:
        sweeps: keeps and merges sweeps and runs the model on them; warmed up.
        locate: gives the LiDAR's pose at a stamp; called only for models that merge sweeps, and for tracking.
        requires_motion: whether a cloud without a pose raises instead of being used alone.
        fills_intensity: whether a cloud without intensity gets zeros instead of being refused.
        further: further LiDARs and cameras.
        needs_pose: whether the pose is needed even by a model of a single sweep.
        deskewing: takes the motion during a sweep out of it; None: clouds are used as they come.
        cropping: leaves out points and detections by limits; None without any.
    """

    def __init__(
        self,
        sweeps: SweepPipeline,
        locate: Locate,
        *,
        requires_motion: bool = False,
        fills_intensity: bool = False,
        further: FurtherSensors = FurtherSensors(),
        needs_pose: bool = False,
        deskewing: Deskewing | None = None,
        cropping: Cropping | None = None,
    ) -> None:
        self._sweeps = sweeps
        self._locate = locate
        self._requires_motion = requires_motion
        self._fills_intensity = fills_intensity
        self._further = further
        self._deskewing = deskewing
        self._cropping = cropping
        self._needs_pose = needs_pose or sweeps.model.spec.num_sweeps > 1 or deskewing is not None

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
            others: topic → sensor_msgs/PointCloud2 of the further LiDARs' clouds that belong to it, and camera →
                sensor_msgs/Image or sensor_msgs/CompressedImage of its pictures.

        Raises:
            CloudFormatError: the message cannot be decoded or lacks a column of the model, or a model on cameras alone
                has no picture.
            MotionUnavailableError: the pose is unknown, and required.
            BackendError: the network failed.
        """
        clock = StageClock()
        read, missing_column = self._decoded(msg)
        new_points, crop_problem = read.received.points, ""
        if self._cropping is not None:
            new_points, crop_problem = self._cropping.points(new_points, msg.header.frame_id)
        num_cropped = len(read.received.points) - len(new_points)
        lidar_problems: tuple[str, ...] = ()
        if self._further.lidars is not None:
            new_points, lidar_problems = self._further.lidars.joined(new_points, msg.header, others)
        pictures: Pictures | None = None
        camera_problems: tuple[str, ...] = ()
        if self._further.cameras is not None:
            pictures, camera_problems = self._further.cameras.seen(msg.header.frame_id, others)
        clock.stop("decode")
        columns = self._sweeps.columns if self._deskewing is None else (*self._sweeps.columns, TIME_COLUMN)
        placed = _Placed(Sweep(new_points, columns, stamp_ns(msg.header), SE3.identity(), None))
        if self._needs_pose:
            placed = self._placed(placed.sweep, msg.header.frame_id, read.times)
        clock.stop("motion")
        answer = self._sweeps.answer(placed.sweep, placed.motion, pictures)
        found, newest = _at_the_stamp(answer, placed.stamp_SE3_moment)
        if self._cropping is not None and isinstance(found, Boxes3D):
            found = self._cropping.boxes(found, msg.header.frame_id)
        return CloudResult(
            found=found,
            stage_ms={**clock.stage_ms, **answer.found.stage_ms},
            num_points=answer.num_points,
            num_sweeps=answer.num_sweeps,
            received=read.received,
            overflow=_overflow(answer),
            motion_problem=placed.problem,
            missing_column=missing_column,
            newest_points=newest.points,
            columns=newest.columns,
            lidar_problems=lidar_problems,
            camera_problems=camera_problems,
            world_SE3_lidar=placed.world_SE3_lidar,
            point_times="" if read.times is None else str(read.times),
            skew_problem=self._skew_problem(read, placed),
            crop_problem=crop_problem,
            num_cropped=num_cropped,
            intensity_field=self._intensity_field(msg),
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

    def _intensity_field(self, msg: Any) -> str:
        names = [f.name for f in msg.fields]
        field = field_of("intensity", names)
        return field if "intensity" in self._sweeps.columns and field in names else ""

    def _skew_problem(self, read: TimedPoints, placed: _Placed) -> str:
        """Why the cloud was used with its skew, or ""."""
        if self._deskewing is None or not placed.problem:
            return read.problem
        return "the ego-motion is unknown"

    def _decoded(self, msg: Any) -> tuple[TimedPoints, str]:
        """The points, and which missing field was filled with zeros, or ""."""
        columns, names = self._sweeps.columns, [f.name for f in msg.fields]
        if not self._fills_intensity or "intensity" not in columns or field_of("intensity", names) in names:
            return self._read(msg, columns, self.model.spec.column_limits), ""
        place = columns.index("intensity")
        read = self._read(msg, columns[:place] + columns[place + 1 :], NO_LIMITS)
        filled = replace(read.received, points=np.insert(read.received.points, place, 0.0, axis=1))
        reason = "clouds have no field intensity, zeros are used: scores will be lower than in training"
        return replace(read, received=filled), reason

    def _read(self, msg: Any, columns: tuple[str, ...], limits: Limits) -> TimedPoints:
        if self._deskewing is None:
            return TimedPoints(read_points(msg, columns, limits), None, "")
        return self._deskewing.reader.read_points(msg, columns, stamp_ns(msg.header), limits)

    def _placed(self, sweep: Sweep, frame_id: str, times: PointTimes | None) -> _Placed:
        """The sweep at its place in time and space."""
        try:
            pose = self._locate(sweep.stamp_ns, frame_id)
            if self._deskewing is None:
                return _Placed(_at(sweep, pose), world_SE3_lidar=pose.world_SE3_ego @ pose.ego_SE3_lidar)
            return self._timed(sweep, frame_id, times, pose, self._deskewing)
        except MotionUnavailableError as error:
            if isinstance(error, ImplausibleMotionError):
                self._sweeps.forget()
            if self._requires_motion:
                raise
            return _Placed(sweep, problem=str(error))

    def _timed(
        self, sweep: Sweep, frame_id: str, times: PointTimes | None, pose: SensorPose, deskewing: Deskewing
    ) -> _Placed:
        """The sweep and its motion, at the moment of a sweep that the model was trained with."""
        at_stamp, stamp_SE3_moment = pose.world_SE3_ego @ pose.ego_SE3_lidar, None
        moment_s = moment_of(times, self.model.spec.sweep_stamp)
        if moment_s:
            moment_ns = sweep.stamp_ns + round(1e9 * moment_s)
            pose = deskewing.pose(moment_ns, frame_id)
            stamp_SE3_moment = at_stamp.inverse() @ pose.world_SE3_ego @ pose.ego_SE3_lidar
            sweep.points[:, -1] -= np.float32(moment_s)
            sweep = replace(sweep, stamp_ns=moment_ns)
        return _Placed(_at(sweep, pose), deskewing.motion(sweep, frame_id), stamp_SE3_moment, at_stamp)


def _at(sweep: Sweep, pose: SensorPose) -> Sweep:
    return replace(sweep, ego_SE3_lidar=pose.ego_SE3_lidar, world_SE3_ego=pose.world_SE3_ego)


def _at_the_stamp(answer: SweepAnswer, stamp_SE3_moment: SE3 | None) -> tuple[Boxes3D | PointLabels, Sweep]:
    """What was found, and the newest points, as seen from the LiDAR at the cloud's stamp."""
    found = answer.found.boxes if isinstance(answer.found, Detections) else answer.found
    newest = answer.newest
    if stamp_SE3_moment is None:
        return found, newest
    if isinstance(found, Boxes3D):
        found = found.transformed(stamp_SE3_moment)
    if TIME_COLUMN not in newest.columns:  # with times, points are where they were measured
        points = newest.points.copy()
        points[:, :3] = stamp_SE3_moment.transform(points[:, :3])
        newest = replace(newest, points=points)
    return found, newest


def _overflow(answer: SweepAnswer) -> str:
    reasons, found, num_points = [], answer.found, answer.num_points
    if found.num_points < num_points:
        reasons.append(f"{num_points - found.num_points} of {num_points} points left out: more than max_points")
    if found.overfull:
        what = f"{found.num_thinned} points thinned out" if found.num_thinned else "thinned"  # below the first level
        reasons.append(f"{what}: {', '.join(found.overfull)}")
    return "; ".join(reasons)
