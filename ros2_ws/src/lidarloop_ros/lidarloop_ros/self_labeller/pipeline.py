"""LabelPipeline: a cloud and its images → pseudo-labels. No ROS in it: the node adds transport."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lidarloop_core.errors import ImageFormatError, LidarloopError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.inference.stage_clock import StageClock
from lidarloop_core.io.camera_messages import Calibration, MessagePicture, picture_size
from lidarloop_core.io.messages import stamp_ns
from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.labelling.lifting.lift import lift
from lidarloop_core.labelling.lifting_config import LiftingConfig
from lidarloop_core.labelling.mask_models.mask_model import MaskModel
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.points.frustum import why_unfit
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_core.pointcloud.decode import read_points
from lidarloop_core.pointcloud.deskew import deskewed
from lidarloop_core.pointcloud.point_time import TIME_COLUMN, PointTimeSettings
from lidarloop_core.pointcloud.sweep_buffer import SweepBuffer
from lidarloop_core.sample import CameraImage, LaneMap, Sample, Sweep
from lidarloop_ros.inputs.deskewing import Deskewing
from lidarloop_ros.inputs.motion import ImplausibleMotionError, MotionUnavailableError, Poses
from lidarloop_ros.inputs.plausibility import PlausibleMotion

COLUMNS = ("x", "y", "z", "intensity")
SWEEP_INTERVAL_S = 0.1
NO_IMAGE = "no image"
MOST_MEGAPIXELS = 64.0
"""The largest cameras of a car have 8 megapixels."""


@dataclass(frozen=True)
class LabelledSample:
    """Pseudo-labels of one cloud, and what they were made from.

    Attributes:
        sample: the sweeps, images and poses used.
        labels: the pseudo-labels, in the cloud's frame.
        left_out: masks and cameras that were not lifted, by reason.
        degraded: one line for each input that was missing.
        stage_ms: stage → its duration in milliseconds, in order.
    """

    sample: Sample
    labels: PseudoLabels
    left_out: LeftOut
    degraded: tuple[str, ...]
    stage_ms: dict[str, float]


class LabelPipeline:
    """Decodes a cloud, accumulates sweeps with ego-motion, runs the mask model and lifts its masks to 3D.

    Args:
        mask_model: the 2D network that labels, or what takes its place.
        priors: sizes of the mask model's classes.
        config: the steps of lifting.
        poses: the vehicle's motion and its sensors' mounting poses. A camera without a mounting pose is left out;
            without ego-motion a single sweep is used, and images count as taken at its stamp.
        scene: name of the drive, written into the samples.
        plausible: judges the vehicle's motion from cloud to cloud; None: all is believed.
        most_megapixels: a camera whose picture is larger is left out.
        point_times: what is known of the points' times; with it, the vehicle's motion during a sweep is taken out.
    """

    def __init__(
        self,
        mask_model: MaskModel,
        priors: ShapePriors,
        config: LiftingConfig,
        poses: Poses,
        *,
        scene: str,
        plausible: PlausibleMotion | None = None,
        most_megapixels: float = MOST_MEGAPIXELS,
        point_times: PointTimeSettings | None = None,
    ) -> None:
        self.mask_model = mask_model
        self._priors = priors
        self._config = config
        self._poses = poses
        self._scene = scene
        self._plausible = plausible
        self._course_began_ns = 0  # clouds before belong to a course that a jump of the ego-motion has ended
        self._most_megapixels = most_megapixels
        self._skew_problem = ""  # of the last cloud
        self._deskewing = None if point_times is None else Deskewing(point_times, poses)
        self._recent: deque[Any] = deque(maxlen=2 * config.num_sweeps)
        self._lane_map: LaneMap | None = None
        self._lanes: LaneLookup | None = None

    def use_lane_map(self, lane_map: LaneMap) -> None:
        """Takes yaws from this lane map from now on; its frame is that of the poses (world)."""
        self._lane_map, self._lanes = lane_map, LaneLookup(lane_map)

    def problems(self) -> list[str]:
        """One line for each setting that spoils the labels."""
        reasons = [f"not deskewed: {self._skew_problem}"] if self._skew_problem else []
        if self._lanes is None and self._config.yaw == ("lane",):
            reasons.append("headings are 0 in the world: the recipe takes them from lanes, and no lane map has come")
        return reasons

    def remember(self, cloud: Any) -> None:
        """Adds a sensor_msgs/PointCloud2, in order; accumulated sweeps are taken from the recent ones."""
        self._recent.append(cloud)

    def forget_sweeps(self) -> None:
        """Drops all sweeps, after a jump in time."""
        self._recent.clear()
        self._course_began_ns = 0
        if self._plausible is not None:
            self._plausible.clear()

    def label(
        self, cloud: Any, images: Mapping[str, Any], calibrations: Mapping[str, Calibration | None]
    ) -> LabelledSample:
        """Labels one cloud.

        Args:
            cloud: sensor_msgs/PointCloud2.
            images: camera → sensor_msgs/Image or sensor_msgs/CompressedImage.
            calibrations: every camera → its calibration; None without a usable one.

        Raises:
            CloudFormatError: the cloud cannot be decoded.
            MotionUnavailableError: the LiDAR's mounting pose is unknown.
        """
        clock = StageClock()
        sweeps, degraded = self._sweeps(cloud)
        found_images = []
        has_motion = sweeps[0].world_SE3_ego is not None
        for name, calibration in calibrations.items():
            image, problem = self._image(name, images.get(name), calibration, has_motion=has_motion)
            found_images += [] if image is None else [image]
            degraded += [] if problem is None else [f"{name}: {problem}"]
        newest = sweeps[0]
        token = str(newest.stamp_ns)
        sample = Sample(
            token, self._scene, newest.stamp_ns, tuple(sweeps), tuple(found_images), lane_map=self._lane_map
        )
        clock.stop("assemble")
        found, failures = self._find(sample)
        clock.stop("masks")
        labels, left_out = lift(sample, found, self._priors, self._config, self._lanes)
        clock.stop("lift")
        failures += _unfit(sample, found)
        return LabelledSample(sample, labels, left_out, tuple(degraded + failures), clock.stage_ms)

    def _sweeps(self, cloud: Any) -> tuple[list[Sweep], list[str]]:
        newest, problem = self._judged(self._sweep(cloud))
        if problem is not None:
            return [newest], [f"single sweep: {problem}"]
        buffer: SweepBuffer[Sweep] = SweepBuffer(self._config.num_sweeps, SWEEP_INTERVAL_S)
        recent = list(self._recent)  # a copy: the receiving thread goes on adding
        for older in [c for c in recent if self._course_began_ns <= stamp_ns(c.header) < newest.stamp_ns]:
            try:
                sweep, problem = self._sweep(older)
            except (LidarloopError, MotionUnavailableError):
                continue  # it was reported when it came
            if problem is None:
                buffer.keep(sweep)
        sweeps = buffer.select(newest)
        lacking = self._config.num_sweeps - len(sweeps)
        return sweeps, [f"{lacking} of {self._config.num_sweeps} sweeps missing"] if lacking else []

    def _judged(self, found: tuple[Sweep, str | None]) -> tuple[Sweep, str | None]:
        """The sweep, without its pose where no vehicle moves so; the sweeps before it are of another course then."""
        sweep, problem = found
        if self._plausible is None or sweep.world_SE3_ego is None:
            return found
        try:
            self._plausible.require(sweep.stamp_ns, sweep.world_SE3_ego)
        except ImplausibleMotionError as error:
            self._course_began_ns = sweep.stamp_ns + 1
            return replace(sweep, world_SE3_ego=None), str(error)
        return sweep, problem

    def _sweep(self, cloud: Any) -> tuple[Sweep, str | None]:
        """The sweep, and why it cannot be merged with others, or None."""
        stamp = stamp_ns(cloud.header)
        mounting = self._poses.mounting(cloud.header.frame_id)
        if self._deskewing is not None:
            return self._deskewed(cloud, stamp, mounting, self._deskewing)
        points = read_points(cloud, COLUMNS).points
        try:
            return Sweep(points, COLUMNS, stamp, mounting, self._poses.motion(stamp)), None
        except MotionUnavailableError as error:
            return Sweep(points, COLUMNS, stamp, mounting, None), str(error)

    def _deskewed(self, cloud: Any, stamp: int, mounting: SE3, deskewing: Deskewing) -> tuple[Sweep, str | None]:
        """The sweep with its points at its stamp, and why it cannot be merged with others, or None."""
        timed = deskewing.reader.read_points(cloud, COLUMNS, stamp)
        sweep = Sweep(timed.received.points, (*COLUMNS, TIME_COLUMN), stamp, mounting, None)
        try:
            sweep = replace(sweep, world_SE3_ego=self._poses.motion(stamp))
            motion = deskewing.motion(sweep, cloud.header.frame_id)
        except MotionUnavailableError as error:
            return deskewed(sweep, None), str(error)
        self._skew_problem = timed.problem
        return deskewed(sweep, motion), None

    def _image(
        self, name: str, message: Any, calibration: Calibration | None, *, has_motion: bool
    ) -> tuple[CameraImage | None, str | None]:
        """The image of a message; or None, and the reason."""
        if message is None:
            return None, NO_IMAGE
        if calibration is None:
            return None, "no usable camera_info"
        stamp = stamp_ns(message.header)
        try:
            self._check_size(message, calibration)
            mounting = self._poses.mounting(message.header.frame_id)
            world_SE3_ego = self._poses.motion(stamp) if has_motion else None
        except (ImageFormatError, MotionUnavailableError) as error:
            return None, str(error)
        image = CameraImage(
            name,
            MessagePicture(message, calibration),
            calibration.intrinsics,
            calibration.width,
            calibration.height,
            stamp,
            mounting,
            world_SE3_ego,
        )
        return image, None

    def _check_size(self, message: Any, calibration: Calibration) -> None:
        """Refuses a picture that cannot be used, by its header: before it takes time and memory to decode."""
        width, height = picture_size(message)
        if width < 1 or height < 1 or width * height > self._most_megapixels * 1e6:
            raise ImageFormatError(
                f"a picture of {width} × {height} pixels; expected at least one, and at most {self._most_megapixels:g} "
                "megapixels: check the camera's driver, or raise max_picture_mpx"
            )
        calibration.require_size(width, height)

    def _find(self, sample: Sample) -> tuple[dict[str, InstanceMasks], list[str]]:
        """Camera → masks; and one line for each image that could not be decoded."""
        found, failures = {}, []
        for image in sample.cameras:
            try:
                (found[image.name],) = self.mask_model.find(sample.token, [image])
            except LidarloopError as error:
                failures.append(f"{image.name}: {error}")
        return found, failures


def _unfit(sample: Sample, found: Mapping[str, InstanceMasks]) -> list[str]:
    """One line for each picture whose masks could not be lifted."""
    reasons = [
        (image.name, why_unfit(image, found[image.name], sample.keyframe))
        for image in sample.cameras
        if image.name in found
    ]
    return [f"{name}: {reason}" for name, reason in reasons if reason is not None]
