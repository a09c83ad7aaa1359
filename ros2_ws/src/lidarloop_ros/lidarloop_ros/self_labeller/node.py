"""``self_labeller``: a lifecycle node that labels the drive while it is driven, from clouds and cameras.

The executor's thread only receives. Labelling has a thread of its own and takes the newest cloud whose images have
come; writing frames has another. A slow mask model labels fewer clouds, and delays nothing else.

In:  ``~/input/points`` (sensor_msgs/PointCloud2), an image topic of each camera with its camera_info (see the
parameter ``image_topics``), ``~/input/odometry`` (nav_msgs/Odometry), ``/tf_static``, ``/tf``, ``~/input/lane_map``
(latched std_msgs/String: JSON of ``lidarloop_core.io.lane_map``), ``~/input/detections`` (the detector's
vision_msgs/Detection3DArray).
Out: ``~/labels`` (vision_msgs/Detection3DArray), ``~/boxes`` (sensor_msgs/PointCloud2: a point per label, with its
quality), ``~/overlay/<camera>/compressed``, ``~/class_names`` (latched), ``/diagnostics``; frames in ``keep_folder``.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import message_filters
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String
from vision_msgs.msg import Detection3DArray

from lidarloop_core import __version__
from lidarloop_core.errors import DatasetError
from lidarloop_core.io import outside
from lidarloop_core.io.lane_map import lane_map_from_json
from lidarloop_core.labelling.lifting.warm_up import warm_up
from lidarloop_ros.inputs.cameras import CameraInputs
from lidarloop_ros.inputs.motion_sources import open_vehicle_poses
from lidarloop_ros.inputs.plausibility import PlausibleMotion
from lidarloop_ros.node import params
from lidarloop_ros.node.graph_check import input_problems
from lidarloop_ros.node.runner import run
from lidarloop_ros.node.shell import LifecycleShell
from lidarloop_ros.self_labeller.diagnostics import LabelReport, status
from lidarloop_ros.self_labeller.frame_keeper import FrameKeeper
from lidarloop_ros.self_labeller.label_statistics import LabelStatistics
from lidarloop_ros.self_labeller.loaded import Loaded
from lidarloop_ros.self_labeller.outputs import LabelOutputs
from lidarloop_ros.self_labeller.params import SelfLabelParams
from lidarloop_ros.self_labeller.pipeline import LabelPipeline
from lidarloop_ros.self_labeller.worker import LabelWorker


class SelfLabeller(LifecycleShell):
    """The node; configuring it loads the mask model and warms lifting up. It never ends by itself."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("self_labeller", SelfLabelParams, **kwargs)
        self._callback_problem = ""
        self._loaded: Loaded | None = None
        self._worker: LabelWorker | None = None
        self._keeper: FrameKeeper | None = None
        self._last_cloud_s = time.monotonic()
        self.add_on_set_parameters_callback(self._check_parameters)

    # --- lifecycle ----------------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """See ``LifecycleShell``. Raises LidarloopError: the mask model or a parameter cannot be used."""
        self.refuse_overrides(but_qos=True)
        settings = params.read(self, SelfLabelParams)
        settings.require_motion_for_deskewing()
        mask_model = settings.open_mask_model()
        self.get_logger().info("warming up; after an installation this takes about twenty seconds")
        warm_up(settings.lifting())
        best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        with ExitStack() as release:
            poses = open_vehicle_poses(self, settings)
            release.callback(poses.destroy)
            pipeline = LabelPipeline(
                mask_model,
                settings.priors(),
                settings.lifting(),
                poses,
                scene=self._scene(),
                plausible=PlausibleMotion(settings.motion_limits),
                most_megapixels=settings.max_picture_mpx,
                point_times=settings.point_times if settings.deskew else None,
            )
            clouds = message_filters.Subscriber(self, PointCloud2, "~/input/points", qos_profile=best_effort)
            release.callback(self.destroy_subscription, clouds.sub)
            # Before the cameras' synchronisers, which receive each cloud after this callback.
            clouds.registerCallback(self._on_points)
            cameras = CameraInputs(
                self, clouds, settings.cameras, slop_s=settings.camera_slop_s, on_image=self._on_image
            )
            release.callback(cameras.destroy)
            for message, topic, callback, qos in (
                (String, "~/input/lane_map", self._on_lane_map, latched),
                (Detection3DArray, "~/input/detections", self._on_detections, best_effort),
            ):
                release.callback(self.destroy_subscription, self.create_subscription(message, topic, callback, qos))
            outputs = LabelOutputs(self, mask_model.class_names, cameras.names, overlays=settings.publish_overlays)
            release.callback(outputs.destroy)
            self.refuse_overrides()
            self._loaded = Loaded(settings, pipeline, poses, cameras, clouds, outputs, release.pop_all())
        self.get_logger().info(f"{mask_model.name}, {len(cameras.names)} cameras: ready")

    def _scene(self) -> str:
        """Name of the drive that begins now, from the time in UTC."""
        return time.strftime("drive-%Y%m%d-%H%M%S", time.gmtime())

    def start(self) -> None:
        loaded = self._loaded
        assert loaded is not None  # the state machine comes here from `inactive` alone
        settings = loaded.settings
        loaded.pipeline.forget_sweeps()
        self._last_cloud_s = time.monotonic()
        if settings.keep_folder:
            provenance = {
                "mask_model": loaded.pipeline.mask_model.name,
                "recipe": settings.recipe,
                "lidarloop_core": __version__,
            }
            self._keeper = FrameKeeper(Path(settings.keep_folder), settings.quota(), settings.keep_rule(), provenance)
        self._worker = LabelWorker(loaded, self._keeper, self.get_logger())

    def stop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.stop()

    def release(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.release.close()

    # --- input --------------------------------------------------------------------------------------------------------

    def _on_points(self, cloud: PointCloud2) -> None:
        self._last_cloud_s = time.monotonic()
        if self._worker is not None:
            self._worker.add_cloud(cloud)

    def _on_image(self, cloud_stamp_ns: int, camera: str, image: Any) -> None:
        if self._worker is not None:
            self._worker.add_image(cloud_stamp_ns, camera, image)

    def _on_detections(self, message: Detection3DArray) -> None:
        if self._worker is not None:
            self._worker.add_detections(message)

    def _on_lane_map(self, message: String) -> None:
        loaded = self._loaded
        if loaded is None:
            return
        try:
            loaded.pipeline.use_lane_map(lane_map_from_json(outside.parse_json(message.data), "~/input/lane_map"))
        except (ValueError, DatasetError) as error:
            self.get_logger().error(f"lane map left out: {error}")

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        reason = params.refusal(SelfLabelParams, changes, configured=self._loaded is not None)
        return SetParametersResult(successful=reason is None, reason=reason or "")

    # --- diagnostics --------------------------------------------------------------------------------------------------

    def callback_failed(self, error: Exception) -> None:
        """Keeps the exception for the diagnostics; called by ``runner.run``."""
        self._callback_problem = f"a callback failed: {type(error).__name__}: {error}"

    def diagnose(self, *, name: str, hardware_id: str) -> DiagnosticStatus:
        return status(self._report(), name=name, hardware_id=hardware_id)

    def _report(self) -> LabelReport:
        loaded, worker, keeper = self._loaded, self._worker, self._keeper
        inputs = [] if loaded is None else [loaded.clouds.sub, *loaded.cameras.inputs, *loaded.poses.inputs]
        callback_problem, self._callback_problem = self._callback_problem, ""
        return LabelReport(
            state=self.state,
            active=worker is not None,
            configure_problem=self.configure_problem,
            callback_problem=callback_problem,
            mask_model=loaded.pipeline.mask_model.name if loaded else "",
            statistics=worker.take_statistics() if worker else LabelStatistics(),
            silent_s=time.monotonic() - self._last_cloud_s,
            missing_images=loaded.cameras.missing() if loaded else {},
            input_problems=input_problems(self, inputs),
            setup_problems=[*loaded.cameras.problems(), *loaded.pipeline.problems()] if loaded else [],
            keeper=keeper.report if keeper else None,
        )


def main(args: list[str] | None = None) -> int:
    """Runs the node; exit code 0 after SIGINT or SIGTERM."""
    return run(SelfLabeller, args)


if __name__ == "__main__":
    sys.exit(main())
