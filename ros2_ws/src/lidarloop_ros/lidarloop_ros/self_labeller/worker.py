"""The labelling thread: takes the newest cloud whose pictures are there, labels, publishes, offers it for keeping."""

from __future__ import annotations

import threading
import traceback
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rclpy.impl.rcutils_logger import RcutilsLogger

from lidarloop_core.errors import CloudFormatError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.inference.stage_clock import StageClock
from lidarloop_core.io.camera_messages import Calibration
from lidarloop_core.io.messages import boxes_from_detections, stamp_ns
from lidarloop_ros.inputs.assembler import FrameAssembler
from lidarloop_ros.inputs.motion import TIME_JUMP_NS, MotionUnavailableError
from lidarloop_ros.node.thread_priority import let_others_go_first
from lidarloop_ros.self_labeller.frame_keeper import FrameKeeper
from lidarloop_ros.self_labeller.outputs import LabelOutputs
from lidarloop_ros.self_labeller.pipeline import LabelPipeline

LOG_EVERY_S = 5.0
_DETECTIONS_KEPT = 50


@dataclass
class LabelStatistics:
    """What happened since the last report, and in all.

    Attributes:
        num_clouds: received.
        num_labelled: clouds labelled.
        num_labels: of them.
        rejected, failed: the last cloud that could not be labelled: why; "" where none.
        degraded: what was missing → clouds.
        left_out: masks and cameras not lifted → number.
        stage_ms: of the last cloud.
        time_jumps: backwards.
    """

    num_clouds: int = 0
    num_labelled: int = 0
    num_labels: int = 0
    rejected: str = ""
    failed: str = ""
    degraded: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    stage_ms: dict[str, float] = field(default_factory=dict)
    time_jumps: int = 0


class LabelWorker:
    """Runs from its construction until ``stop``. All methods may be called by any thread.

    Args:
        calibrations: gives the present ones of all cameras that there should be.
        patience_s: how long a cloud waits for pictures.
        keeper: of frames worth keeping; None where none are kept.
        time_jumped_back_to: told of the stamp that a recording starts over at.
    """

    def __init__(
        self,
        pipeline: LabelPipeline,
        calibrations: Callable[[], Mapping[str, Calibration | None]],
        outputs: LabelOutputs,
        keeper: FrameKeeper | None,
        logger: RcutilsLogger,
        *,
        patience_s: float,
        time_jumped_back_to: Callable[[int], None],
    ) -> None:
        self._pipeline = pipeline
        self._calibrations = calibrations
        self._outputs = outputs
        self._keeper = keeper
        self._logger = logger
        self._time_jumped_back_to = time_jumped_back_to
        self._newest_ns = 0
        self._detections: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._statistics = LabelStatistics()
        self._assembler: FrameAssembler[Any, Any] = FrameAssembler(dict.fromkeys(calibrations(), patience_s))
        self._thread = threading.Thread(target=self._run, name="labelling", daemon=True)
        self._thread.start()

    def add_cloud(self, cloud: Any) -> None:
        """A cloud has come. One older than the newest by much starts the drive over."""
        stamp = stamp_ns(cloud.header)
        with self._lock:
            self._statistics.num_clouds += 1
            if stamp < self._newest_ns - TIME_JUMP_NS:
                self._statistics.time_jumps += 1
                self._detections.clear()
                self._assembler.clear()
                self._pipeline.forget_sweeps()
                self._time_jumped_back_to(stamp)
            elif stamp <= self._newest_ns:
                return  # a duplicate, or one out of order
            self._newest_ns = stamp
        self._pipeline.remember(cloud)
        self._assembler.add_cloud(stamp, cloud)

    def add_picture(self, cloud_stamp_ns: int, camera: str, picture: Any) -> None:
        """A picture has come that belongs to a cloud."""
        self._assembler.add_part(cloud_stamp_ns, camera, picture)

    def add_detections(self, message: Any) -> None:
        """The detector's answer to a cloud, to be held against the labels."""
        with self._lock:
            self._detections[stamp_ns(message.header)] = message
            while len(self._detections) > _DETECTIONS_KEPT:
                self._detections.popitem(last=False)

    def take_statistics(self) -> LabelStatistics:
        """What happened since they were taken last."""
        with self._lock:
            taken, self._statistics = self._statistics, LabelStatistics()
            return taken

    def stop(self) -> None:
        """Ends the thread after the cloud it is at."""
        self._assembler.close()
        self._thread.join()

    def _run(self) -> None:
        let_others_go_first()
        while (frame := self._assembler.take()) is not None:
            try:
                self._label(frame.cloud, frame.parts)
            except (CloudFormatError, MotionUnavailableError) as error:
                with self._lock:
                    self._statistics.rejected = str(error)
                self._logger.error(f"cloud not labelled: {error}", throttle_duration_sec=LOG_EVERY_S)
            except Exception as error:  # one bad frame must not end labelling; it is logged and an ERROR
                if not self._outputs.can_publish:
                    return  # a signal has shut ROS down under us
                with self._lock:
                    self._statistics.failed = f"{type(error).__name__}: {error}"
                self._logger.error(f"labelling failed:\n{traceback.format_exc()}", throttle_duration_sec=LOG_EVERY_S)

    def _label(self, cloud: Any, pictures: Mapping[str, Any]) -> None:
        frame = self._pipeline.label(cloud, pictures, self._calibrations())
        clock = StageClock()
        self._outputs.publish_labels(frame.labels, cloud.header)
        self._outputs.publish_overlays(frame.sample, frame.labels)
        clock.stop("publish")
        if self._keeper is not None:
            self._keeper.offer(frame, self._detections_of(frame.sample.stamp_ns))
        with self._lock:
            statistics = self._statistics
            statistics.num_labelled += 1
            statistics.num_labels += len(frame.labels)
            statistics.degraded.update(frame.degraded)
            statistics.left_out.update(frame.left_out.cameras + frame.left_out.masks)
            statistics.stage_ms = {**frame.stage_ms, **clock.stage_ms}

    def _detections_of(self, stamp: int) -> Boxes3D | None:
        with self._lock:
            message = self._detections.get(stamp)
        if message is None:
            return None
        return boxes_from_detections(message, _class_names(message))


def _class_names(message: Any) -> tuple[str, ...]:
    return tuple(sorted({r.hypothesis.class_id for d in message.detections for r in d.results}))
