"""The detection thread: takes the newest cloud, detects, publishes; no cloud, however bad, keeps it from the next."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from rclpy.impl.rcutils_logger import RcutilsLogger
from sensor_msgs.msg import PointCloud2

from lidarloop_core.errors import BackendError, CloudFormatError
from lidarloop_core.io.messages import stamp_ns
from lidarloop_ros.detector.cloud_health import inspect
from lidarloop_ros.detector.cloud_statistics import FrameStatistics
from lidarloop_ros.detector.outputs import DetectionOutputs
from lidarloop_ros.detector.pipeline import CloudPipeline, Frame
from lidarloop_ros.detector.track_outputs import TrackOutput
from lidarloop_ros.inputs.assembler import FrameAssembler
from lidarloop_ros.inputs.motion import MotionUnavailableError
from lidarloop_ros.inputs.motion_sources import MotionSource
from lidarloop_ros.inputs.stamps import StampGate

LOG_EVERY_S = 5.0


class _Received(NamedTuple):
    cloud: PointCloud2
    at_s: float


class DetectionWorker:
    """Runs from its construction until ``stop``, or until the backend has failed twice on one cloud.

    Args:
        pipeline: may be replaced by ``swap``.
        motion: told of jumps in time.
        outputs: publishes.
        statistics: counts.
        gate: judges the clouds' stamps.
        logger: of the node.
        extra_lidars: topic → how long its cloud may be late.
        tracks: follows the detections; None where that is not asked for.
        on_backend_failure: called by the detection thread, which then ends, with the reason.
    """

    def __init__(
        self,
        pipeline: CloudPipeline,
        motion: MotionSource,
        outputs: DetectionOutputs,
        statistics: FrameStatistics,
        gate: StampGate,
        logger: RcutilsLogger,
        *,
        extra_lidars: Mapping[str, float],
        tracks: TrackOutput | None,
        on_backend_failure: Callable[[str], None],
    ) -> None:
        self._pipeline = pipeline
        self._motion = motion
        self._outputs = outputs
        self._statistics = statistics
        self._gate = gate
        self._logger = logger
        self._on_backend_failure = on_backend_failure
        self._last_stamp_ns = 0
        self._must_forget = False
        self._successors: deque[tuple[CloudPipeline, MotionSource]] = deque()
        self._tracks = tracks
        self._assembler: FrameAssembler[_Received, PointCloud2] = FrameAssembler(extra_lidars, statistics.replaced)
        self._thread = threading.Thread(target=self._run, name="detection", daemon=True)
        self._thread.start()

    def submit(self, cloud: PointCloud2) -> None:
        """Leaves a cloud for detection in the place of one not begun yet, unless its stamp forbids it."""
        at_s = time.perf_counter()
        self._statistics.received()
        if refusal := self._gate.refusal(stamp_ns(cloud.header)):
            self._statistics.refused(refusal)
            self._logger.warning(f"cloud dropped: {refusal}", throttle_duration_sec=LOG_EVERY_S)
        else:
            self._assembler.add_cloud(stamp_ns(cloud.header), _Received(cloud, at_s))
            # Lets the detection thread have the interpreter now, not when the executor has prepared its next wait.
            time.sleep(0)

    def add_part(self, cloud_stamp_ns: int, topic: str, cloud: PointCloud2) -> None:
        """A further LiDAR's cloud has come that belongs to one left for detection."""
        self._assembler.add_part(cloud_stamp_ns, topic, cloud)

    def swap(self, pipeline: CloudPipeline, motion: MotionSource) -> None:
        """Lets another pipeline work on the clouds after the one in work, and go on with its sweeps."""
        self._successors.append((pipeline, motion))

    def forget(self) -> None:
        """Forgets the sweeps before the next cloud: the clock went back."""
        self._must_forget = True

    def stop(self) -> None:
        """Ends the thread after the cloud it is at."""
        self._assembler.close()
        self._thread.join()

    def _run(self) -> None:
        while (taken := self._assembler.take()) is not None:
            try:
                self._detect(taken.cloud, taken.parts)
            except CloudFormatError as error:
                self._statistics.rejected(str(error))
                self._logger.error(f"cloud rejected: {error}", throttle_duration_sec=LOG_EVERY_S)
            except MotionUnavailableError as error:
                self._statistics.without_motion(str(error))
                self._logger.warning(f"cloud dropped: {error}", throttle_duration_sec=LOG_EVERY_S)
            except BackendError as error:
                self._statistics.failed(str(error))
                self._on_backend_failure(str(error))
                return
            except Exception as error:  # one bad frame must not end detection; it is counted, logged and an ERROR
                if not self._outputs.can_publish:
                    return  # a signal has shut ROS down under us
                self._statistics.failed(f"{type(error).__name__}: {error}")
                self._logger.error(f"cloud failed:\n{traceback.format_exc()}", throttle_duration_sec=LOG_EVERY_S)

    def _detect(self, received: _Received, others: Mapping[str, PointCloud2]) -> None:
        header = received.cloud.header
        stamp = stamp_ns(header)
        self._hand_over()
        pipeline = self._pipeline
        self._notice_time_jump(stamp, pipeline)
        frame = self._process(received.cloud, others, pipeline)
        processed_s = time.perf_counter()
        self._outputs.publish_detections(frame.boxes, header)
        published_s = time.perf_counter()
        total_ms = (published_s - received.at_s) * 1e3
        spec = pipeline.detector.spec
        self._statistics.detected(frame, total_ms, self._gate.age_ms(stamp), spec.num_sweeps)
        stage_ms = frame.stage_ms | {"publish": (published_s - processed_s) * 1e3, "total": total_ms}
        self._outputs.publish_extras(frame.boxes, header, stage_ms)
        if self._tracks is not None:
            self._tracks.publish(frame, header)
        if self._statistics.wants_health:
            self._statistics.inspected(inspect(frame.newest_points, frame.columns))

    def _hand_over(self) -> None:
        while self._successors:
            pipeline, self._motion = self._successors.popleft()
            pipeline.adopt_sweeps(self._pipeline)
            self._pipeline = pipeline

    def _process(self, cloud: PointCloud2, others: Mapping[str, PointCloud2], pipeline: CloudPipeline) -> Frame:
        """Once more if the backend fails: what a driver or an allocator refuses once, it may grant the next time."""
        try:
            return pipeline.process(cloud, others)
        except BackendError as error:
            self._statistics.retried(str(error))
            self._logger.error(f"inference failed, trying once more: {error}")
            return pipeline.process(cloud, others)

    def _notice_time_jump(self, stamp: int, pipeline: CloudPipeline) -> None:
        if self._must_forget:
            self._must_forget = False
            self._forget(pipeline)
        if stamp < self._last_stamp_ns:
            self._forget(pipeline)
            self._motion.time_jumped_back_to(stamp)
            self._statistics.time_jumped()
            self._logger.warning(
                f"stamps went back by {(self._last_stamp_ns - stamp) * 1e-9:.3f} s; sweeps and ego-motion forgotten"
            )
        self._last_stamp_ns = stamp

    def _forget(self, pipeline: CloudPipeline) -> None:
        pipeline.forget_sweeps()
        if self._tracks is not None:
            self._tracks.clear()
