"""What a configured detector node holds, and how it is made of the parameters."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rclpy.subscription import Subscription

from lidarloop_core.errors import ConfigError
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.inference.detector import Detector
from lidarloop_ros.cloud_pipeline import CloudPipeline
from lidarloop_ros.diagnostics import ModelInfo
from lidarloop_ros.lidar_rig import LidarRig
from lidarloop_ros.motion_sources import MotionSource, VehiclePoses
from lidarloop_ros.outputs import DetectionOutputs
from lidarloop_ros.params import DetectorParams
from lidarloop_ros.stamps import StampGate
from lidarloop_ros.time_join import TimeJoin
from lidarloop_ros.track_output import TrackOutput


@dataclass(frozen=True)
class Loaded:
    """What a configured node holds.

    Attributes:
        model_path: of the model in use, as the parameter gave it.
        lidars: the further ones; None where there are none.
        tracks: None where detections are not followed.
        release: destroys the publishers and subscriptions.
    """

    model_path: str
    pipeline: CloudPipeline
    motion: MotionSource
    outputs: DetectionOutputs
    points: Subscription
    lidars: TimeJoin | None
    tracks: TrackOutput | None
    gate: StampGate
    release: ExitStack

    @property
    def model(self) -> ModelInfo:
        backend = self.pipeline.detector.backend
        return ModelInfo(backend.spec, backend.model_sha256, backend.device)


def open_detector(settings: DetectorParams) -> Detector:
    """Opens the model that the settings name, and warms it up.

    Raises:
        LidarloopError: the model, its backend or a setting cannot be used.
    """
    if not settings.model:
        raise ConfigError("parameter 'model' received nothing; expected the path of a model.onnx")
    providers = settings.providers if settings.backend == "onnxruntime" else (settings.backend,)
    backend = open_backend(Path(settings.model), providers=providers, num_threads=settings.num_threads)
    detector = Detector(backend, postprocessing=settings.postprocessing())
    detector.warm_up()
    return detector


def needs_poses(detector: Detector, settings: DetectorParams) -> bool:
    """Whether the motion of the vehicle or the mounting of its sensors is asked for at all."""
    return detector.spec.num_sweeps > 1 or settings.tracking or bool(settings.extra_lidars)


def make_pipeline(detector: Detector, motion: MotionSource, settings: DetectorParams) -> CloudPipeline:
    """From a message to detections, as the settings say."""
    columns = tuple(name for name in detector.spec.point_columns if name != "dt")
    topics = tuple(settings.extra_lidars)
    return CloudPipeline(
        detector,
        motion.locate,
        max_points=settings.max_points,
        requires_motion=settings.without_motion == "drop",
        fills_intensity=settings.missing_intensity == "zeros",
        rig=LidarRig(cast(VehiclePoses, motion), columns, topics) if topics else None,
        needs_pose=settings.tracking,
    )
