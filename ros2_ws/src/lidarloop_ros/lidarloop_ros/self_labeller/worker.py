"""The labelling thread: takes the newest cloud whose images have come, labels it, publishes, offers it for keeping."""

from __future__ import annotations

import threading
import traceback
from collections import OrderedDict
from typing import Any

from rclpy.impl.rcutils_logger import RcutilsLogger

from lidarloop_core.errors import CloudFormatError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.inference.stage_clock import StageClock
from lidarloop_core.io.messages import boxes_from_detections, stamp_ns
from lidarloop_ros.inputs.assembler import AssembledCloud, CloudAssembler
from lidarloop_ros.inputs.motion import MotionUnavailableError
from lidarloop_ros.inputs.stamps import StampCourse
from lidarloop_ros.node.worker import Worker
from lidarloop_ros.self_labeller.frame_keeper import FrameKeeper
from lidarloop_ros.self_labeller.label_statistics import LabelStatistics
from lidarloop_ros.self_labeller.loaded import Loaded

LOG_EVERY_S = 5.0
_DETECTIONS_KEPT = 50


class LabelWorker(Worker[AssembledCloud[Any, Any]]):
    """Runs from its construction until ``stop``. All methods may be called by any thread.

    Args:
        loaded: what the configured node holds.
        keeper: keeps frames; None where none are kept.
        logger: logger of the node.
    """

    def __init__(self, loaded: Loaded, keeper: FrameKeeper | None, logger: RcutilsLogger) -> None:
        self._loaded = loaded
        self._keeper = keeper
        self._logger = logger
        self._course = StampCourse()
        self._detections: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._statistics = LabelStatistics()
        patience_s = dict.fromkeys(loaded.cameras.names, loaded.settings.camera_patience_s)
        self._assembler: CloudAssembler[Any, Any] = CloudAssembler(patience_s)
        super().__init__(self._assembler, "labelling", low_priority=True)

    def add_cloud(self, cloud: Any) -> None:
        """Adds a sensor_msgs/PointCloud2. One much older than the newest starts the drive over."""
        loaded, stamp = self._loaded, stamp_ns(cloud.header)
        with self._lock:
            self._statistics.num_clouds += 1
            newest_ns = self._course.newest_ns
            course = self._course.follow(stamp)
            if course == "back":
                self._statistics.time_jumps += 1
                self._detections.clear()
                self._assembler.clear()
                loaded.pipeline.forget_sweeps()
                loaded.poses.time_jumped_back_to(stamp)
            elif course == "other":
                self._statistics.mixed_clocks = self._course.problem("~/input/points")
            elif stamp <= newest_ns:
                return  # a duplicate, or out of order
        loaded.pipeline.remember(cloud)
        self._assembler.add_cloud(stamp, cloud)

    def add_image(self, cloud_stamp_ns: int, camera: str, image: Any) -> None:
        """Adds an image message to the cloud it belongs to."""
        self._assembler.add_part(cloud_stamp_ns, camera, image)

    def add_detections(self, message: Any) -> None:
        """Adds the detector's vision_msgs/Detection3DArray for a cloud; the labels are compared with it."""
        with self._lock:
            self._detections[stamp_ns(message.header)] = message
            while len(self._detections) > _DETECTIONS_KEPT:
                self._detections.popitem(last=False)

    def take_statistics(self) -> LabelStatistics:
        """What happened since the last call."""
        with self._lock:
            taken, self._statistics = self._statistics, LabelStatistics()
            return taken

    def _work(self, item: AssembledCloud[Any, Any]) -> None:
        loaded, cloud = self._loaded, item.cloud
        labelled = loaded.pipeline.label(cloud, item.parts, loaded.cameras.calibrations())
        clock = StageClock()
        loaded.outputs.publish_labels(labelled.labels, cloud.header)
        loaded.outputs.publish_overlays(labelled.sample, labelled.labels)
        clock.stop("publish")
        if self._keeper is not None:
            self._keeper.offer(labelled, self._detections_of(labelled.sample.stamp_ns))
        with self._lock:
            statistics = self._statistics
            statistics.num_labelled += 1
            statistics.num_labels += len(labelled.labels)
            statistics.degraded.update(labelled.degraded)
            statistics.left_out.update(labelled.left_out.cameras + labelled.left_out.masks)
            statistics.stage_ms = {**labelled.stage_ms, **clock.stage_ms}

    def _failed(self, error: Exception) -> bool:
        if isinstance(error, (CloudFormatError, MotionUnavailableError)):
            with self._lock:
                self._statistics.rejected = str(error)
            self._logger.error(f"cloud not labelled: {error}", throttle_duration_sec=LOG_EVERY_S)
        elif not self._loaded.outputs.can_publish:
            return False  # a signal has shut ROS down meanwhile
        else:
            with self._lock:
                self._statistics.failed = f"{type(error).__name__}: {error}"
            self._logger.error(f"labelling failed:\n{traceback.format_exc()}", throttle_duration_sec=LOG_EVERY_S)
        return True

    def _detections_of(self, stamp: int) -> Boxes3D | None:
        with self._lock:
            message = self._detections.get(stamp)
        if message is None:
            return None
        return boxes_from_detections(message, _class_names(message))


def _class_names(message: Any) -> tuple[str, ...]:
    return tuple(sorted({r.hypothesis.class_id for d in message.detections for r in d.results}))
