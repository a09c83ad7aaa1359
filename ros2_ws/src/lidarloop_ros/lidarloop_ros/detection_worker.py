"""The detection thread: takes the newest cloud, detects, publishes; no cloud, however bad, keeps it from the next."""

from __future__ import annotations

import threading
import time
import traceback
from typing import NamedTuple

from rclpy.impl.rcutils_logger import RcutilsLogger
from sensor_msgs.msg import PointCloud2

from lidarloop_core.errors import CloudFormatError
from lidarloop_core.io.messages import stamp_ns
from lidarloop_ros.cloud_pipeline import CloudPipeline
from lidarloop_ros.diagnostics import FrameStatistics
from lidarloop_ros.mailbox import Mailbox
from lidarloop_ros.motion_sources import MotionSource
from lidarloop_ros.outputs import DetectionOutputs

LOG_EVERY_S = 5.0


class _Received(NamedTuple):
    cloud: PointCloud2
    at_s: float


class DetectionWorker:
    """Runs from its construction until ``stop``."""

    def __init__(
        self,
        pipeline: CloudPipeline,
        motion: MotionSource,
        outputs: DetectionOutputs,
        statistics: FrameStatistics,
        logger: RcutilsLogger,
        *,
        num_sweeps: int,
    ) -> None:
        self._pipeline = pipeline
        self._motion = motion
        self._outputs = outputs
        self._statistics = statistics
        self._logger = logger
        self._num_sweeps = num_sweeps
        self._last_stamp_ns = 0
        self._mailbox: Mailbox[_Received] = Mailbox()
        self._thread = threading.Thread(target=self._run, name="detection", daemon=True)
        self._thread.start()

    def submit(self, cloud: PointCloud2) -> None:
        """Leaves a cloud for detection in the place of one not begun yet."""
        replaced = self._mailbox.put(_Received(cloud, time.perf_counter()))
        self._statistics.received(replaced=replaced)

    def stop(self) -> None:
        """Ends the thread after the cloud it is at."""
        self._mailbox.close()
        self._thread.join()

    def _run(self) -> None:
        while (received := self._mailbox.take()) is not None:
            try:
                self._detect(received)
            except CloudFormatError as error:
                self._statistics.rejected(str(error))
                self._logger.error(f"cloud rejected: {error}", throttle_duration_sec=LOG_EVERY_S)
            except Exception as error:  # one bad frame must not end detection; it is counted, logged and an ERROR
                if not self._outputs.can_publish:
                    return  # a signal has shut ROS down under us
                self._statistics.failed(f"{type(error).__name__}: {error}")
                self._logger.error(f"cloud failed:\n{traceback.format_exc()}", throttle_duration_sec=LOG_EVERY_S)

    def _detect(self, received: _Received) -> None:
        header = received.cloud.header
        self._notice_time_jump(stamp_ns(header))
        frame = self._pipeline.process(received.cloud)
        processed_s = time.perf_counter()
        self._outputs.publish_detections(frame.boxes, header)
        published_s = time.perf_counter()
        total_ms = (published_s - received.at_s) * 1e3
        self._statistics.detected(frame, total_ms, self._num_sweeps)
        stage_ms = frame.stage_ms | {"publish": (published_s - processed_s) * 1e3, "total": total_ms}
        self._outputs.publish_extras(frame.boxes, header, stage_ms)

    def _notice_time_jump(self, stamp: int) -> None:
        if stamp < self._last_stamp_ns:
            self._pipeline.forget_sweeps()
            self._motion.time_jumped_back_to(stamp)
            self._statistics.time_jumped()
            self._logger.warning(
                f"stamps went back by {(self._last_stamp_ns - stamp) * 1e-9:.3f} s; sweeps and ego-motion forgotten"
            )
        self._last_stamp_ns = stamp
