"""The detection thread: takes the newest cloud, detects, publishes; a bad cloud never keeps it from the next."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rclpy.impl.rcutils_logger import RcutilsLogger
from sensor_msgs.msg import PointCloud2

from lidarloop_core.errors import BackendError, CloudFormatError
from lidarloop_core.io.messages import require_stamp, stamp_ns
from lidarloop_ros.detector.cloud_health import inspect
from lidarloop_ros.detector.cloud_statistics import CloudStatistics
from lidarloop_ros.detector.loaded import Loaded
from lidarloop_ros.detector.pipeline import CloudPipeline, CloudResult
from lidarloop_ros.inputs.assembler import AssembledCloud, CloudAssembler
from lidarloop_ros.inputs.motion import MotionUnavailableError
from lidarloop_ros.inputs.stamps import Course, StampCourse
from lidarloop_ros.node.worker import Worker

LOG_EVERY_S = 5.0


class _Received(NamedTuple):
    cloud: PointCloud2
    at_s: float


class DetectionWorker(Worker[AssembledCloud[_Received, Any]]):
    """Runs from its construction until ``stop``, or until the backend has failed twice on one cloud.

    Args:
        loaded: what the configured node holds; ``swap`` replaces its pipeline and motion.
        statistics: counts what becomes of each cloud.
        logger: logger of the node.
        on_backend_failure: called by the detection thread, which then ends, with the reason.
    """

    def __init__(
        self,
        loaded: Loaded,
        statistics: CloudStatistics,
        logger: RcutilsLogger,
        *,
        on_backend_failure: Callable[[str], None],
    ) -> None:
        self._loaded = loaded
        self._statistics = statistics
        self._logger = logger
        self._on_backend_failure = on_backend_failure
        self._course = StampCourse()
        self._must_forget = False
        self._successors: deque[Loaded] = deque()
        self._assembler: CloudAssembler[_Received, Any] = CloudAssembler(loaded.patience_s, statistics.replaced)
        super().__init__(self._assembler, "detection")

    def submit(self, cloud: PointCloud2) -> None:
        """Leaves a cloud for detection in place of one not begun yet, unless its stamp is refused."""
        at_s = time.perf_counter()
        self._statistics.received()
        try:
            require_stamp(cloud.header)
        except CloudFormatError as error:
            self._rejected(error)
            return
        if refusal := self._loaded.gate.refusal(stamp_ns(cloud.header)):
            self._statistics.refused(refusal)
            self._logger.warning(f"cloud dropped: {refusal}", throttle_duration_sec=LOG_EVERY_S)
        else:
            self._assembler.add_cloud(stamp_ns(cloud.header), _Received(cloud, at_s))
            # Lets the detection thread have the interpreter now, not when the executor has prepared its next wait.
            time.sleep(0)

    def add_part(self, cloud_stamp_ns: int, sensor: str, message: Any) -> None:
        """Adds a further LiDAR's cloud, or a camera's image, to the cloud that it belongs to."""
        self._assembler.add_part(cloud_stamp_ns, sensor, message)

    def swap(self, loaded: Loaded) -> None:
        """Works with another pipeline and motion after the cloud in work; the new pipeline adopts the sweeps."""
        self._successors.append(loaded)

    def forget(self) -> None:
        """Drops the sweeps before the next cloud: the clock went back."""
        self._must_forget = True

    def _work(self, item: AssembledCloud[_Received, Any]) -> None:
        received = item.cloud
        header = received.cloud.header
        stamp = stamp_ns(header)
        self._hand_over()
        loaded = self._loaded
        course = self._notice_time_jump(stamp)
        result = self._process(received.cloud, item.parts, loaded.pipeline)
        processed_s = time.perf_counter()
        loaded.outputs.publish(result, header)
        published_s = time.perf_counter()
        total_ms = (published_s - received.at_s) * 1e3
        spec = loaded.pipeline.model.spec
        self._statistics.detected(result, total_ms, loaded.gate.age_ms(stamp), spec.num_sweeps)
        stage_ms = result.stage_ms | {"publish": (published_s - processed_s) * 1e3, "total": total_ms}
        loaded.outputs.publish_extras(result, header, stage_ms)
        # A late cloud is of no use to tracks, nor is one of another clock.
        if loaded.tracks is not None and stamp == self._course.newest_ns and course != "other":
            loaded.tracks.publish(result, header)
        if self._statistics.wants_health:
            self._statistics.inspected(inspect(result.newest_points, result.columns))

    def _failed(self, error: Exception) -> bool:
        if isinstance(error, CloudFormatError):
            self._rejected(error)
        elif isinstance(error, MotionUnavailableError):
            self._statistics.without_motion(str(error))
            self._logger.warning(f"cloud dropped: {error}", throttle_duration_sec=LOG_EVERY_S)
        elif isinstance(error, BackendError):
            self._statistics.failed(str(error))
            self._on_backend_failure(str(error))
            return False
        elif not self._loaded.outputs.can_publish:
            return False  # a signal has shut ROS down meanwhile
        else:
            self._statistics.failed(f"{type(error).__name__}: {error}")
            self._logger.error(f"cloud failed:\n{traceback.format_exc()}", throttle_duration_sec=LOG_EVERY_S)
        return True

    def _rejected(self, error: CloudFormatError) -> None:
        self._statistics.rejected(str(error))
        self._logger.error(f"cloud rejected: {error}", throttle_duration_sec=LOG_EVERY_S)

    def _hand_over(self) -> None:
        while self._successors:
            successor = self._successors.popleft()
            successor.pipeline.adopt_sweeps(self._loaded.pipeline)
            self._loaded = successor
            self._assembler.wait_for(successor.patience_s)

    def _process(self, cloud: PointCloud2, others: Mapping[str, Any], pipeline: CloudPipeline) -> CloudResult:
        """Once more if the backend fails: what a driver or an allocator refuses once, it may grant the next time."""
        try:
            return pipeline.process(cloud, others)
        except BackendError as error:
            self._statistics.retried(str(error))
            self._logger.error(f"inference failed, trying once more: {error}")
            return pipeline.process(cloud, others)

    def _notice_time_jump(self, stamp: int) -> Course:
        if self._must_forget:
            self._must_forget = False
            self._forget()
        # A cloud that is late by little is answered, merged with those before it: disorder is no jump.
        before_ns = self._course.newest_ns
        course = self._course.follow(stamp)
        if course == "back":
            self._forget()
            self._loaded.motion.time_jumped_back_to(stamp)
            self._statistics.time_jumped()
            self._logger.warning(
                f"stamps went back by {(before_ns - stamp) * 1e-9:.3f} s; sweeps and ego-motion dropped"
            )
        elif course == "other":
            # Sweeps of both stay: they are merged by their stamps, so that none meets one of the other clock.
            reason = self._course.problem("~/input/points")
            self._statistics.mixed_clocks(reason)
            self._logger.warning(reason, throttle_duration_sec=LOG_EVERY_S)
        return course

    def _forget(self) -> None:
        self._loaded.pipeline.forget_sweeps()
        if self._loaded.tracks is not None:
            self._loaded.tracks.clear()
