"""LabelPipeline: a cloud and its pictures → pseudo-labels. No ROS in it: what the node adds is transport."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lidarloop_core.errors import LidarloopError
from lidarloop_core.inference.stage_clock import StageClock
from lidarloop_core.io.camera_messages import Calibration, MessagePicture
from lidarloop_core.io.messages import stamp_ns
from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.labelling.lifting.lift import lift
from lidarloop_core.labelling.lifting_config import LiftingConfig
from lidarloop_core.labelling.mask_models.mask_model import MaskModel
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_core.pointcloud.decode import read_points
from lidarloop_core.pointcloud.sweep_buffer import SweepBuffer
from lidarloop_core.sample import CameraImage, LaneMap, Sample, Sweep
from lidarloop_ros.inputs.motion import MotionUnavailableError, Poses

COLUMNS = ("x", "y", "z", "intensity")
SWEEP_INTERVAL_S = 0.1


@dataclass(frozen=True)
class LabelledFrame:
    """What became of a cloud and its pictures.

    Attributes:
        sample: as the labels were made from it.
        degraded: what was missing, one line each; empty where nothing was.
        stage_ms: durations by name, in order.
    """

    sample: Sample
    labels: PseudoLabels
    left_out: LeftOut
    degraded: tuple[str, ...]
    stage_ms: dict[str, float]


class LabelPipeline:
    """Decodes, accumulates sweeps with ego-motion, asks the mask model and lifts its masks.

    Args:
        mask_model: the 2D model.
        priors: sizes of its classes.
        config: the steps of lifting.
        poses: a camera without a mounting pose is left out; without ego-motion there is a single sweep, and pictures
            are taken to be as old as it.
        scene: name of the drive in the samples.
    """

    def __init__(
        self, mask_model: MaskModel, priors: ShapePriors, config: LiftingConfig, poses: Poses, *, scene: str
    ) -> None:
        self.mask_model = mask_model
        self._priors = priors
        self._config = config
        self._poses = poses
        self._scene = scene
        self._recent: deque[Any] = deque(maxlen=2 * config.num_sweeps)
        self._lane_map: LaneMap | None = None
        self._lanes: LaneLookup | None = None

    def use_lane_map(self, lane_map: LaneMap) -> None:
        """The map that yaws may be taken from, in the frame that poses are given in."""
        self._lane_map, self._lanes = lane_map, LaneLookup(lane_map)

    def remember(self, cloud: Any) -> None:
        """Every PointCloud2, in order: the sweeps before the one that is labelled come from among them."""
        self._recent.append(cloud)

    def forget_sweeps(self) -> None:
        """To be called after a jump in time."""
        self._recent.clear()

    def label(
        self, cloud: Any, pictures: Mapping[str, Any], calibrations: Mapping[str, Calibration | None]
    ) -> LabelledFrame:
        """Labels one cloud.

        Args:
            cloud: the PointCloud2.
            pictures: camera → sensor_msgs/Image or sensor_msgs/CompressedImage.
            calibrations: of all cameras that there should be; None where there is none that can be used.

        Raises:
            CloudFormatError: the cloud cannot be decoded.
            MotionUnavailableError: nobody says where the LiDAR is mounted.
        """
        clock = StageClock()
        sweeps, degraded = self._sweeps(cloud)
        images = []
        has_motion = sweeps[0].world_SE3_ego is not None
        for name, calibration in calibrations.items():
            image, problem = self._image(name, pictures.get(name), calibration, has_motion=has_motion)
            images += [] if image is None else [image]
            degraded += [] if problem is None else [f"{name}: {problem}"]
        newest = sweeps[0]
        token = str(newest.stamp_ns)
        sample = Sample(token, self._scene, newest.stamp_ns, tuple(sweeps), tuple(images), lane_map=self._lane_map)
        clock.stop("assemble")
        found, failures = self._find(sample)
        clock.stop("shelf")
        labels, left_out = lift(sample, found, self._priors, self._config, self._lanes)
        clock.stop("lift")
        return LabelledFrame(sample, labels, left_out, tuple(degraded + failures), clock.stage_ms)

    def _sweeps(self, cloud: Any) -> tuple[list[Sweep], list[str]]:
        newest, problem = self._sweep(cloud)
        if problem is not None:
            return [newest], [f"single sweep: {problem}"]
        buffer: SweepBuffer[Sweep] = SweepBuffer(self._config.num_sweeps, SWEEP_INTERVAL_S)
        recent = list(self._recent)  # a copy: the receiving thread goes on adding
        for older in [c for c in recent if stamp_ns(c.header) < newest.stamp_ns]:
            try:
                sweep, problem = self._sweep(older)
            except (LidarloopError, MotionUnavailableError):
                continue  # it was reported when it came; this cloud can do without it
            if problem is None:
                buffer.keep(sweep)
        sweeps = buffer.select(newest)
        lacking = self._config.num_sweeps - len(sweeps)
        return sweeps, [f"{lacking} of {self._config.num_sweeps} sweeps missing"] if lacking else []

    def _sweep(self, cloud: Any) -> tuple[Sweep, str | None]:
        """The cloud, and why it cannot be merged with others, if so."""
        points = read_points(cloud, COLUMNS).points
        stamp = stamp_ns(cloud.header)
        mounting = self._poses.mounting(cloud.header.frame_id)
        try:
            return Sweep(points, COLUMNS, stamp, mounting, self._poses.motion(stamp)), None
        except MotionUnavailableError as error:
            return Sweep(points, COLUMNS, stamp, mounting, None), str(error)

    def _image(
        self, name: str, message: Any, calibration: Calibration | None, *, has_motion: bool
    ) -> tuple[CameraImage | None, str | None]:
        """The picture of a message, or why there is none."""
        if message is None:
            return None, "no picture"
        if calibration is None:
            return None, "no usable camera_info"
        stamp = stamp_ns(message.header)
        try:
            mounting = self._poses.mounting(message.header.frame_id)
            world_SE3_ego = self._poses.motion(stamp) if has_motion else None
        except MotionUnavailableError as error:
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

    def _find(self, sample: Sample) -> tuple[dict[str, InstanceMasks], list[str]]:
        """The masks of each picture; one that cannot be decoded costs itself alone."""
        found, failures = {}, []
        for image in sample.cameras:
            try:
                (found[image.name],) = self.mask_model.find(sample.token, [image])
            except LidarloopError as error:
                failures.append(f"{image.name}: {error}")
        return found, failures
