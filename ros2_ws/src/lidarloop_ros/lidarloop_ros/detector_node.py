"""``lidar_detector``: a lifecycle node round ``lidarloop_core``'s detector.

The executor's thread only receives: it leaves the newest cloud for the detection thread and feeds odometry and TF to
the motion source. So odometry, services and diagnostics go on while a cloud is worked on, and a slow detector drops
clouds instead of lagging behind.

In:  ``~/input/points`` (sensor_msgs/PointCloud2), ``~/input/odometry`` (nav_msgs/Odometry), ``/tf_static``, ``/tf``.
Out: ``~/detections`` (vision_msgs/Detection3DArray), ``~/boxes`` (sensor_msgs/PointCloud2, a point per box, with its
velocity), ``~/markers`` (visualization_msgs/MarkerArray), ``~/class_names`` (latched std_msgs/String, a JSON list),
``~/debug/latency_ms/<stage>`` (std_msgs/Float64), ``/diagnostics``. What is about a cloud has that cloud's header.
"""

from __future__ import annotations

import gc
import platform
import signal
import sys
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.utilities import try_shutdown
from sensor_msgs.msg import PointCloud2

from lidarloop_core.errors import ConfigError, LidarloopError
from lidarloop_core.inference.backend import Backend, open_backend
from lidarloop_core.inference.detector import Detector
from lidarloop_ros import fastdds, params
from lidarloop_ros.cloud_pipeline import CloudPipeline
from lidarloop_ros.detection_worker import DetectionWorker
from lidarloop_ros.diagnostics import FrameStatistics, ModelInfo, status
from lidarloop_ros.motion_sources import MotionSource, NoMotion, open_motion_source
from lidarloop_ros.outputs import DetectionOutputs
from lidarloop_ros.params import DetectorParams

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@dataclass(frozen=True)
class Loaded:
    """What a configured node holds.

    Attributes:
        points_topic: the clouds', remapping applied.
        release: destroys the publishers and subscriptions.
    """

    model: ModelInfo
    pipeline: CloudPipeline
    motion: MotionSource
    outputs: DetectionOutputs
    points_topic: str
    release: ExitStack


class LidarDetector(LifecycleNode):
    """The node. Unconfigured it holds nothing but its parameters and diagnostics; ``on_configure`` loads the model.

    Attributes:
        configure_problem: why configuring failed last time, or "".
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("lidar_detector", **kwargs)
        self._answer_impossible_transitions()
        self._bad_overrides = params.declare(self, DetectorParams)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_live_parameters)
        self._statistics = FrameStatistics()
        self.configure_problem = ""
        self._loaded: Loaded | None = None
        self._worker: DetectionWorker | None = None
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady: a paused or missing /clock must not silence the diagnostics.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics_timer = self.create_timer(1.0, self._publish_diagnostics, clock=steady)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Checks the parameters, loads the model and warms it up. What is wrong is logged once, and the node stays."""
        try:
            self._configure()
        except LidarloopError as error:
            return self._refuse_to_configure(str(error))
        except Exception:  # rclpy would swallow it without a word
            return self._refuse_to_configure(traceback.format_exc())
        self.configure_problem = ""
        # What was imported and loaded so far lives as long as the process: a full garbage collection need not walk
        # through it, which would take tens of milliseconds in the middle of a frame.
        gc.collect()
        gc.freeze()
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts to take clouds."""
        self._statistics.reset()
        result = super().on_activate(state)
        assert self._loaded is not None  # the state machine comes here from `inactive` alone
        self._start(self._loaded)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops taking clouds; the model stays loaded."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lets go of the model."""
        result = super().on_cleanup(state)
        self._release()
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ends the work in any state."""
        self._stop()
        self._release()
        return SUCCESS

    def destroy_node(self) -> None:
        self._stop()
        super().destroy_node()

    def _configure(self) -> None:
        self._refuse_overrides([*self._bad_overrides, *params.unknown_overrides(self, but_qos=True)])
        settings = params.read(self, DetectorParams)
        if not settings.model:
            raise ConfigError("parameter 'model' received nothing; expected the path of a model.onnx")
        backend = open_backend(Path(settings.model), providers=settings.providers, num_threads=settings.num_threads)
        spec = backend.spec
        detector = _detector(backend, settings)
        detector.warm_up()
        with ExitStack() as release:
            outputs = DetectionOutputs(self, spec.class_names, publish_markers=settings.publish_markers)
            release.callback(outputs.destroy)
            motion = open_motion_source(self, settings) if spec.num_sweeps > 1 else NoMotion()
            release.callback(motion.destroy)
            points = self.create_subscription(
                PointCloud2,
                "~/input/points",
                self._on_points,
                QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
            release.callback(self.destroy_subscription, points)
            self._refuse_overrides(params.unknown_overrides(self))
            model = ModelInfo(spec.name, backend.model_sha256, backend.device, spec.num_sweeps)
            pipeline = CloudPipeline(detector, motion.locate, max_points=settings.max_points)
            self._loaded = Loaded(model, pipeline, motion, outputs, points.topic_name, release.pop_all())
        self.get_logger().info(f"{model.name} ({model.sha256[:12]}) on {model.device}: ready")

    def _refuse_overrides(self, problems: list[str]) -> None:
        if problems:
            raise ConfigError("; ".join(problems))

    def _refuse_to_configure(self, reason: str) -> TransitionCallbackReturn:
        self.configure_problem = f"not configured: {reason}"
        self.get_logger().error(self.configure_problem)
        return FAILURE

    def _start(self, loaded: Loaded) -> None:
        loaded.pipeline.forget_sweeps()
        self._worker = DetectionWorker(
            loaded.pipeline,
            loaded.motion,
            loaded.outputs,
            self._statistics,
            self.get_logger(),
            num_sweeps=loaded.model.num_sweeps,
        )

    def _stop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    def _release(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.release.close()
            gc.unfreeze()

    def _on_points(self, cloud: PointCloud2) -> None:
        if self._worker is not None:
            self._worker.submit(cloud)

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        reason = params.refusal(DetectorParams, changes, configured=self._loaded is not None)
        return SetParametersResult(successful=reason is None, reason=reason or "")

    def _apply_live_parameters(self, changes: list[Parameter]) -> None:
        if self._loaded is not None:
            settings = params.read(self, DetectorParams)
            pipeline = self._loaded.pipeline
            pipeline.detector = _detector(pipeline.detector.backend, settings)

    def _publish_diagnostics(self) -> None:
        report = self._statistics.report(
            state=self._state_machine.current_state[1],
            active=self._worker is not None,
            configure_problem=self.configure_problem,
            model=self._loaded.model if self._loaded else None,
            silence_hint=self._silence_hint(),
        )
        entry = status(report, name=self.get_fully_qualified_name().lstrip("/"), hardware_id=platform.node())
        array = DiagnosticArray(status=[entry])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _silence_hint(self) -> str:
        if self._loaded is None:
            return ""
        topic = self._loaded.points_topic
        num_publishers = self.count_publishers(topic)
        if num_publishers == 0:
            return f"nobody publishes {topic}; check the LiDAR driver and the remapping of ~/input/points"
        return (
            f"{num_publishers} publishers on {topic}, but nothing arrives. Fast DDS loses clouds above 0.5 MB unless "
            f"the publisher too runs with FASTRTPS_DEFAULT_PROFILES_FILE={fastdds.profile_path()}"
        )

    def _answer_impossible_transitions(self) -> None:
        """Lets a transition that the present state does not have be refused; rclpy would let it end the process."""
        service = self._service_change_state
        change_state = service.callback

        def guarded(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            try:
                return change_state(request, response)
            except rclpy_implementation.RCLError as error:
                self.get_logger().warning(f"transition refused: {error}")
                response.success = False
                return response

        service.callback = guarded


def _detector(backend: Backend, settings: DetectorParams) -> Detector:
    return Detector(backend, score_threshold=settings.score_threshold, nms_iou=settings.nms_iou)


def main(args: list[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM; both end it cleanly, with 0."""
    try:
        rclpy.init(args=args)
        executor = SingleThreadedExecutor()
        node = LidarDetector()
        try:
            executor.add_node(node)
            executor.spin()
        finally:
            # A second, impatient SIGINT must not interrupt the cleaning up.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            executor.shutdown()
            node.destroy_node()
            try_shutdown()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
