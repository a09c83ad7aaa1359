"""What a configured detector node holds, and how it is made of the parameters."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rclpy.subscription import Subscription

from lidarloop_core.errors import ConfigError
from lidarloop_core.inference.backend import TENSORRT, open_backend
from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.host_pipeline import HostPipeline
from lidarloop_core.inference.sweep_pipeline import SweepPipeline
from lidarloop_ros.detector.diagnostics import ModelInfo
from lidarloop_ros.detector.outputs import DetectionOutputs
from lidarloop_ros.detector.params import DetectorParams
from lidarloop_ros.detector.pipeline import CloudPipeline
from lidarloop_ros.detector.track_outputs import TrackOutput
from lidarloop_ros.inputs.lidar_rig import LidarRig
from lidarloop_ros.inputs.motion_sources import MotionSource, VehiclePoses
from lidarloop_ros.inputs.stamps import StampGate
from lidarloop_ros.inputs.time_join import TimeJoin


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

    def close(self) -> None:
        """Lets go of everything, the GPU's memory too."""
        with self.release:
            self.pipeline.close()


def open_model(settings: DetectorParams) -> SweepPipeline:
    """Opens the model that the settings name, with a place for its sweeps, and warms it up.

    Raises:
        LidarloopError: the model, its backend or a setting cannot be used.
    """
    if not settings.model:
        raise ConfigError("parameter 'model' received nothing; expected the path of a model.onnx")
    if settings.sweeps_on_gpu and settings.backend != TENSORRT:
        raise ConfigError(
            f"parameter 'sweeps_on_gpu' received true with backend '{settings.backend}'; expected backend "
            f"'{TENSORRT}', on whose GPU the sweeps lie: set that, or sweeps_on_gpu to false"
        )
    providers = settings.providers if settings.backend == "onnxruntime" else (settings.backend,)
    backend = open_backend(Path(settings.model), providers=providers, num_threads=settings.num_threads)
    detector = Detector(backend, postprocessing=settings.postprocessing())
    sweeps = _place_for_sweeps(detector, settings)
    sweeps.warm_up()
    return sweeps


def _place_for_sweeps(detector: Detector, settings: DetectorParams) -> SweepPipeline:
    if not settings.sweeps_on_gpu:
        return HostPipeline(detector, settings.max_points)
    from lidarloop_core.inference.gpu_pipeline import GpuPipeline

    return GpuPipeline(detector, settings.max_points)


def needs_poses(detector: Detector, settings: DetectorParams) -> bool:
    """Whether the motion of the vehicle or the mounting of its sensors is asked for at all."""
    return detector.spec.num_sweeps > 1 or settings.tracking or bool(settings.extra_lidars)


def make_pipeline(sweeps: SweepPipeline, motion: MotionSource, settings: DetectorParams) -> CloudPipeline:
    """From a message to detections, as the settings say."""
    topics = tuple(settings.extra_lidars)
    return CloudPipeline(
        sweeps,
        motion.locate,
        requires_motion=settings.without_motion == "drop",
        fills_intensity=settings.missing_intensity == "zeros",
        rig=LidarRig(cast(VehiclePoses, motion), sweeps.columns, topics) if topics else None,
        needs_pose=settings.tracking,
    )
