"""What a configured detector node holds, and how it is made from the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.subscription import Subscription

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.inference.backend import TENSORRT, open_backend
from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.host_pipeline import HostPipeline
from lidarloop_core.inference.model_on import model_on
from lidarloop_core.inference.segmenter import Segmenter
from lidarloop_core.inference.sweep_pipeline import SweepPipeline
from lidarloop_core.io.camera_messages import camera_name
from lidarloop_core.model.inputs import MAX_POINTS
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.crop import crop, parse_region
from lidarloop_core.pointcloud.deskew import warm_up_deskew
from lidarloop_core.pointcloud.guard import warm_up_guard
from lidarloop_ros.detector.cloud_health import inspect
from lidarloop_ros.detector.diagnostics import ModelInfo
from lidarloop_ros.detector.outputs import CloudOutputs, DetectionOutputs, SegmentationOutputs
from lidarloop_ros.detector.params import DetectorParams
from lidarloop_ros.detector.pipeline import CloudPipeline, FurtherSensors
from lidarloop_ros.detector.track_outputs import TrackOutput
from lidarloop_ros.inputs.cameras import CameraInputs
from lidarloop_ros.inputs.cropping import Cropping
from lidarloop_ros.inputs.deskewing import Deskewing
from lidarloop_ros.inputs.lidar_rig import LidarRig
from lidarloop_ros.inputs.motion_sources import MotionSource, VehiclePoses
from lidarloop_ros.inputs.rig_pictures import RigPictures
from lidarloop_ros.inputs.stamps import StampGate
from lidarloop_ros.inputs.time_join import TimeJoin


@dataclass(frozen=True)
class Loaded:
    """What a configured node holds.

    Attributes:
        model_path: value of the parameter ``model`` that named the model in use.
        pipeline: turns a cloud into detections, or labels of its points.
        motion: gives the LiDAR's poses.
        outputs: publishes what is found.
        points: subscription to the first LiDAR's clouds.
        extra_lidars: cloud topic of each further LiDAR → how long its cloud may be late, seconds.
        cameras: subscriptions to images and calibrations; None without image topics.
        camera_patience_s: how long a cloud waits for its pictures, seconds.
        lidars: joins the further LiDARs' clouds to the first one's; None without further LiDARs.
        tracks: publishes tracks; None where detections are not tracked.
        gate: judges the clouds' stamps.
        release: destroys the publishers and subscriptions.
    """

    model_path: str
    pipeline: CloudPipeline
    motion: MotionSource
    outputs: CloudOutputs
    points: Subscription
    extra_lidars: Mapping[str, float]
    cameras: CameraInputs | None
    camera_patience_s: float
    lidars: TimeJoin | None
    tracks: TrackOutput | None
    gate: StampGate
    release: ExitStack

    @property
    def model(self) -> ModelInfo:
        """The model in use, and the device it runs on."""
        backend = self.pipeline.model.backend
        return ModelInfo(backend.spec, backend.model_sha256, backend.device)

    @property
    def patience_s(self) -> dict[str, float]:
        """LiDAR's topic, or camera that the model takes → how long a cloud waits for it, seconds."""
        rig = self.pipeline.model.spec.cameras
        names = () if rig is None or self.cameras is None else self.cameras.names
        taken = [name for name in names if rig is not None and name in rig.names]
        return {**self.extra_lidars, **dict.fromkeys(taken, self.camera_patience_s)}

    def close(self) -> None:
        """Releases everything, the GPU's memory included."""
        with self.release:
            self.pipeline.close()


def open_model(settings: DetectorParams) -> SweepPipeline:
    """Opens the model that the settings name, with memory for its sweeps, and warms it up.

    Raises:
        LidarloopError: the model, its backend or a setting cannot be used.
    """
    if not settings.model:
        raise ConfigError("parameter 'model' received nothing; expected the path of a model.onnx")
    if settings.sweeps_on_gpu and settings.backend != TENSORRT:
        raise ConfigError(
            f"parameter 'sweeps_on_gpu' received true with backend '{settings.backend}'; expected backend "
            f"'{TENSORRT}', which keeps the sweeps on its GPU: set that, or sweeps_on_gpu to false"
        )
    providers = settings.providers if settings.backend == "onnxruntime" else (settings.backend,)
    backend = open_backend(Path(settings.model), providers=providers, num_threads=settings.num_threads)
    model = model_on(backend, settings.postprocessing())
    settings.require_motion_for_deskewing()
    _check_cameras(model.spec, settings)
    sweeps = _open_sweeps(model, settings)
    sweeps.warm_up()
    # What the pipeline does before and after the sweeps is compiled here too.
    warm_up_guard(len(sweeps.columns))
    if settings.deskew:
        warm_up_deskew()
    crop(np.zeros((1, len(sweeps.columns) + settings.deskew), np.float32), settings.crop_limits, SE3.identity())
    inspect(np.zeros((1, len(sweeps.columns)), np.float32), sweeps.columns)
    return sweeps


def _open_sweeps(model: Detector | Segmenter, settings: DetectorParams) -> SweepPipeline:
    max_points = settings.max_points
    if isinstance(model, Segmenter):
        _refuse_settings_of_detectors(model.spec, settings)
        max_points = min(max_points, MAX_POINTS)
    if not settings.sweeps_on_gpu:
        return HostPipeline(model, max_points)
    from lidarloop_core.inference.gpu_pipeline import GpuPipeline

    return GpuPipeline(model, max_points, deskews=settings.deskew)


def _check_cameras(spec: ModelSpec, settings: DetectorParams) -> None:
    """Refuses settings with which a model with cameras cannot run, or topics of cameras that it does not have."""
    rig, given = spec.cameras, [camera_name(topic) for topic in settings.cameras]
    if rig is None:
        return
    if unknown := [name for name in given if name not in rig.names]:
        raise ConfigError(
            f"parameter 'image_topics' received topics of {', '.join(unknown)} with {spec.name}; expected those of "
            f"{', '.join(rig.names)}. The part before the last is the camera's name: /camera/<name>/image"
        )
    if not given and not rig.takes_points:
        raise ConfigError(
            f"parameter 'image_topics' received nothing with {spec.name}, a model on cameras alone; expected topics of "
            f"{', '.join(rig.names)}"
        )
    if settings.sweeps_on_gpu:
        raise ConfigError(
            f"parameter 'sweeps_on_gpu' received true with {spec.name}, a model with cameras; expected false, for "
            "pictures come from the host: set it to false"
        )


def _refuse_settings_of_detectors(spec: ModelSpec, settings: DetectorParams) -> None:
    for name, off in (("tracking", "false"), ("autoware_objects", "false"), ("output_region", "''")):
        if received := getattr(settings, name):
            shown = "true" if received is True else f"'{received}'"
            raise ConfigError(
                f"parameter '{name}' received {shown} with {spec.name}, a model for {spec.outputs.kind}; expected "
                f"{off}, for it finds no boxes: set it to {off}, or take a detector"
            )


def open_outputs(node: LifecycleNode, model: Detector | Segmenter, settings: DetectorParams) -> CloudOutputs:
    """The publishers of what a model finds.

    Raises:
        ConfigError: Autoware's messages are asked for, and not installed; no publisher has been made then.
    """
    if isinstance(model, Segmenter):
        return SegmentationOutputs(node)
    return DetectionOutputs(node, publish_markers=settings.publish_markers, autoware_objects=settings.autoware_objects)


def needs_poses(model: Detector | Segmenter, settings: DetectorParams) -> bool:
    """Whether the vehicle's motion, or the mounting poses of its sensors, are needed."""
    in_base_frame = settings.crop_limits.needs_mounting or bool(settings.output_region)
    takes_pictures = model.spec.cameras is not None and bool(settings.cameras)
    wanted = takes_pictures or settings.tracking or settings.deskew or bool(settings.extra_lidars) or in_base_frame
    return model.spec.num_sweeps > 1 or wanted


def make_pipeline(
    sweeps: SweepPipeline, motion: MotionSource, settings: DetectorParams, cameras: CameraInputs | None = None
) -> CloudPipeline:
    """The pipeline from a message to detections, with the options of the settings.

    Args:
        sweeps: keeps and merges sweeps and runs the model on them.
        motion: gives the poses that ``needs_poses`` asks for.
        settings: the parameters.
        cameras: subscriptions to images and calibrations; None without image topics.
    """
    spec = sweeps.model.spec
    topics = tuple(settings.extra_lidars)
    limits = spec.column_limits
    poses = cast(VehiclePoses, motion)  # where one of those below is wanted
    point_times = settings.point_times if settings.deskew else None
    cropping = None
    if settings.crops:
        cropping = Cropping(settings.crop_limits, parse_region(settings.output_region), poses)
    return CloudPipeline(
        sweeps,
        motion.locate,
        requires_motion=settings.without_motion == "drop",
        fills_intensity=settings.missing_intensity == "zeros",
        further=FurtherSensors(
            LidarRig(poses, sweeps.columns, topics, limits, point_times, cropping) if topics else None,
            _pictures(spec, poses, cameras),
        ),
        needs_pose=settings.tracking,
        deskewing=None if point_times is None else Deskewing(point_times, poses),
        cropping=cropping,
    )


def _pictures(spec: ModelSpec, poses: VehiclePoses, cameras: CameraInputs | None) -> RigPictures | None:
    if spec.cameras is None:
        return None
    return RigPictures(spec.cameras, spec.grid, poses, dict if cameras is None else cameras.calibrations)
