"""``lidar_detector``: a lifecycle node round ``lidarloop_core``'s detector, or its segmenter.

The executor's thread only receives: it leaves the newest cloud for the detection thread and hands odometry and TF to
the motion source. So odometry, services and diagnostics go on during detection, and a slow detector drops clouds
instead of lagging behind.

In:  ``~/input/points`` (sensor_msgs/PointCloud2), ``~/input/odometry`` (nav_msgs/Odometry), ``/tf_static``, ``/tf``;
for a model with cameras the images of the parameter ``image_topics`` and the sensor_msgs/CameraInfo beside them.
Service: ``~/load_model`` (std_srvs/Trigger), see ``model_swap``.
Out: ``~/detections`` (vision_msgs/Detection3DArray), ``~/boxes`` (sensor_msgs/PointCloud2, a point per box, with its
velocity), ``~/markers`` (visualization_msgs/MarkerArray), ``~/class_names`` (latched std_msgs/String, a JSON list),
``~/debug/latency_ms/<stage>`` (std_msgs/Float64), ``/diagnostics``; with the parameter ``tracking`` also ``~/tracks``
and ``~/track_boxes`` (see ``track_outputs``), with ``autoware_objects`` also ``~/objects``
(autoware_perception_msgs/DetectedObjects). Detections, boxes, tracks, objects and markers have the cloud's header.
Of a segmenter, in the place of these: ``~/points/labelled`` (sensor_msgs/PointCloud2, see ``SegmentationOutputs``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import message_filters
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import PointCloud2

from lidarloop_core.errors import ConfigError
from lidarloop_core.inference.detector import Detector
from lidarloop_core.inference.model_on import model_on
from lidarloop_core.inference.segmenter import Segmenter
from lidarloop_core.inference.sweep_pipeline import SweepPipeline
from lidarloop_ros.detector.cloud_statistics import CloudStatistics
from lidarloop_ros.detector.diagnostics import Limits, Report, status
from lidarloop_ros.detector.loaded import Loaded, make_pipeline, needs_poses, open_model, open_outputs
from lidarloop_ros.detector.model_swap import ModelSwap
from lidarloop_ros.detector.params import DetectorParams
from lidarloop_ros.detector.track_outputs import TrackOutput
from lidarloop_ros.detector.worker import DetectionWorker
from lidarloop_ros.inputs.cameras import CameraInputs
from lidarloop_ros.inputs.motion_sources import MotionSource, NoMotion, open_vehicle_poses
from lidarloop_ros.inputs.stamps import StampGate
from lidarloop_ros.inputs.time_join import TimeJoin
from lidarloop_ros.node import params
from lidarloop_ros.node.diagnostics import SILENT_AFTER_S
from lidarloop_ros.node.graph_check import input_problems, output_problems, silence_hint
from lidarloop_ros.node.runner import run
from lidarloop_ros.node.shell import LifecycleShell

# A simulation or a looped recording that starts over, not the jitter of a synchronised clock.
CLOCK_JUMP_NS = 100_000_000
# Clouds of two LiDARs whose stamps differ by less belong together: half a revolution at 10 Hz.
LIDAR_SLOP_S = 0.05


class LidarDetector(LifecycleShell):
    """The node; configuring it loads the model and warms it up."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("lidar_detector", DetectorParams, **kwargs)
        self._statistics = CloudStatistics()
        self._loaded: Loaded | None = None
        self._worker: DetectionWorker | None = None
        self._swap = ModelSwap(self, self)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_live_parameters)
        backwards = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-CLOCK_JUMP_NS), on_clock_change=False
        )
        self._clock_jumps = self.get_clock().create_jump_callback(backwards, post_callback=self._on_clock_jump)

    # --- lifecycle ----------------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """See ``LifecycleShell``. Raises LidarloopError: the model or a parameter cannot be used."""
        self.refuse_overrides(but_qos=True)
        settings = params.read(self, DetectorParams)
        sweeps = open_model(settings)
        model = sweeps.model
        with ExitStack() as release:
            outputs = open_outputs(self, model, settings)
            release.callback(outputs.destroy)
            outputs.publish_class_names(model.class_names)
            motion: MotionSource = NoMotion()
            if needs_poses(model, settings):
                motion = open_vehicle_poses(self, settings)
            release.callback(motion.destroy)
            tracks = TrackOutput(self) if settings.tracking else None
            if tracks is not None:
                release.callback(tracks.destroy)
            points = message_filters.Subscriber(
                self,
                PointCloud2,
                "~/input/points",
                qos_profile=QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
            release.callback(self.destroy_subscription, points.sub)
            # Before the further LiDARs' synchronisers, which receive each cloud after this callback.
            points.registerCallback(self._on_points)
            lidars = None
            if settings.extra_lidars:
                sensors = {topic: (PointCloud2, topic) for topic in settings.extra_lidars}
                lidars = TimeJoin(self, points, sensors, slop_s=LIDAR_SLOP_S, on_part=self._on_part)
                release.callback(lidars.destroy)
            cameras = None
            if settings.cameras:
                cameras = CameraInputs(
                    self, points, settings.cameras, slop_s=settings.camera_slop_s, on_image=self._on_part
                )
                release.callback(cameras.destroy)
            self.refuse_overrides()
            gate = StampGate(lambda: int(self.get_clock().now().nanoseconds), max_age_s=settings.max_age_s)
            pipeline = make_pipeline(sweeps, motion, settings, cameras)
            self._loaded = Loaded(
                model_path=settings.model,
                pipeline=pipeline,
                motion=motion,
                outputs=outputs,
                points=points.sub,
                extra_lidars=settings.extra_lidars,
                cameras=cameras,
                camera_patience_s=settings.camera_patience_s,
                lidars=lidars,
                tracks=tracks,
                gate=gate,
                release=release.pop_all(),
            )
        self._swap.problem = ""
        ready = self._loaded.model
        self.get_logger().info(f"{ready.spec.name} ({ready.sha256[:12]}) on {ready.device}: ready")

    def start(self) -> None:
        loaded = self._loaded
        assert loaded is not None  # the state machine comes here from `inactive` alone
        self._statistics.reset()
        loaded.pipeline.forget_sweeps()
        loaded.gate.reset()
        self._worker = DetectionWorker(
            loaded, self._statistics, self.get_logger(), on_backend_failure=self._on_backend_failure
        )

    def stop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    def release(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.close()

    def _on_backend_failure(self, reason: str) -> None:
        self.ended.set_result(f"the backend failed twice on one cloud: {reason}")

    # --- input --------------------------------------------------------------------------------------------------------

    def _on_points(self, cloud: PointCloud2) -> None:
        if self._worker is not None:
            self._worker.submit(cloud)

    def _on_part(self, cloud_stamp_ns: int, sensor: str, message: Any) -> None:
        if self._worker is not None:
            self._worker.add_part(cloud_stamp_ns, sensor, message)

    def _on_clock_jump(self, _: Any) -> None:
        if self._worker is not None and self._loaded is not None:
            self._worker.forget()
            self._loaded.motion.time_jumped_back_to(self.get_clock().now().nanoseconds)
            self._statistics.time_jumped()

    # --- parameters and model swap ------------------------------------------------------------------------------------

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        reason = params.refusal(DetectorParams, changes, configured=self._loaded is not None)
        if reason is None and self._loaded is not None:
            reason = self._refusal_while_configured(changes, self._loaded)
        return SetParametersResult(successful=reason is None, reason=reason or "")

    def _refusal_while_configured(self, changes: list[Parameter], loaded: Loaded) -> str | None:
        models = [change.value for change in changes if change.name == "model"]
        if self._swap.is_loading and any(model != loaded.model_path for model in models):
            return "parameter 'model': a model is being loaded; set it again when ~/load_model has answered"
        try:
            settings = params.read(self, DetectorParams, changes)
            settings.postprocessing().require_classes(loaded.model.spec.class_names)
        except ConfigError as error:
            return str(error)
        return None

    def _apply_live_parameters(self, changes: list[Parameter]) -> None:
        loaded = self._loaded
        if loaded is None:
            return
        settings = params.read(self, DetectorParams)
        before = loaded.pipeline.model
        after = model_on(before.backend, settings.postprocessing())
        loaded.pipeline.model = after
        if after.class_names != before.class_names:
            loaded.outputs.publish_class_names(after.class_names)
        if settings.model != loaded.model_path:
            self._swap.start()

    def model_in_use(self) -> tuple[str, Detector | Segmenter] | None:
        """Path of the model in use and its detector or segmenter; None while not configured. For ``ModelSwap``."""
        loaded = self._loaded
        return None if loaded is None else (loaded.model_path, loaded.pipeline.model)

    def model_wanted(self) -> str:
        """The parameter ``model``. For ``ModelSwap``."""
        return str(self.get_parameter("model").value)

    def swap_timeout_s(self) -> float:
        """The parameter ``model_swap_timeout_s``, seconds. For ``ModelSwap``."""
        return float(self.get_parameter("model_swap_timeout_s").value)

    def opener(self, model: str) -> Callable[[], SweepPipeline]:
        """A function that opens a model with the present settings. For ``ModelSwap``."""
        settings = replace(params.read(self, DetectorParams), model=model)
        return lambda: open_model(settings)

    def install(self, model: str, sweeps: SweepPipeline) -> None:
        """Takes another model for the clouds from the next one on. For ``ModelSwap``."""
        before = self._loaded
        assert before is not None  # the swap has just checked
        settings = params.read(self, DetectorParams)
        motion = before.motion
        if needs_poses(sweeps.model, settings) and isinstance(motion, NoMotion):
            motion = open_vehicle_poses(self, settings)
            before.release.callback(motion.destroy)
        # The parameters may have changed while the model was loading.
        sweeps.model = successor = model_on(sweeps.model.backend, settings.postprocessing())
        pipeline = make_pipeline(sweeps, motion, settings, before.cameras)
        self._loaded = replace(before, model_path=model, pipeline=pipeline, motion=motion)
        if self._worker is not None:
            self._worker.swap(self._loaded)  # which closes the previous pipeline after its last cloud
        else:
            before.pipeline.close()
        self.get_logger().info(f"{successor.spec.name} ({successor.backend.model_sha256[:12]}): swapped in")

    # --- diagnostics --------------------------------------------------------------------------------------------------

    def callback_failed(self, error: Exception) -> None:
        """Counts the exception; called by ``runner.run``."""
        self._statistics.failed(f"a callback: {type(error).__name__}: {error}")

    def diagnose(self, *, name: str, hardware_id: str) -> DiagnosticStatus:
        return status(self._report(), name=name, hardware_id=hardware_id)

    def _report(self) -> Report:
        loaded = self._loaded
        statistics = self._statistics.report()
        is_active = self._worker is not None
        about_model: dict[str, Any] = {}
        if loaded is not None:
            others = loaded.lidars.inputs if loaded.lidars is not None else []
            of_cameras = loaded.cameras.inputs if loaded.cameras is not None else []
            # Publishers and subscribers come and go: they are checked again for each report.
            about_model = {
                "model": loaded.model,
                "has_cameras": loaded.cameras is not None,
                "clock_problem": loaded.gate.clock_problem,
                "input_problems": input_problems(self, (loaded.points, *others, *of_cameras, *loaded.motion.inputs)),
                "output_problems": output_problems(self, loaded.outputs.checked),
                "silence_hint": silence_hint(self, loaded.points.topic_name)
                if statistics.silent_s > SILENT_AFTER_S
                else "",
            }
        live = ("non_finite_warn_share", "expected_rate_hz", "motion_error_after_s")
        return Report(
            state=self.state,
            active=is_active,
            statistics=statistics,
            limits=Limits(**{name: self.get_parameter(name).value for name in live}),
            configure_problem=self.configure_problem,
            backend_problem=f"the node ends: {self.ended.result()}" if self.ended.done() else "",
            engine=self._swap.engine,
            load_problem=self._swap.problem,
            **about_model,
        )


def main(args: list[str] | None = None) -> int:
    """Runs the node; exit code 0 after SIGINT or SIGTERM, 3 after the backend has failed twice on one cloud."""
    return run(LidarDetector, args)


if __name__ == "__main__":
    sys.exit(main())
