"""Records the node's outputs: raw bytes and arrival times while the bag plays; they are decoded afterwards."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Float64, String
from vision_msgs.msg import Detection3DArray

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io.messages import boxes_from_cloud
from lidarloop_ros.detector.diagnostics import DEADLINE_MS
from lidarloop_ros.detector.outputs import STAGES
from lidarloop_ros.node.diagnostics import SILENT_AFTER_S
from lidarloop_ros.replay.bag_player import header_stamp_ns

# Large enough that no burst of outputs is lost.
DEPTH = 100


# The detector's totals of clouds that it will not answer, in its diagnostic status.
_GIVEN_UP = ("frames_dropped", "frames_refused", "frames_without_motion", "frames_rejected", "frames_failed")


class ReplayRecorder:
    """Subscriptions to the outputs of a node; their callbacks run in the executor's thread.

    Args:
        node: makes the subscriptions.
        name: the recorded node's fully qualified name.
        answers: its topic of vision_msgs/Detection3DArray, relative to its name.
        stages: its stages, whose durations it publishes.
    """

    def __init__(self, node: Node, name: str, *, answers: str = "detections", stages: Sequence[str] = STAGES) -> None:
        self._lock = threading.Lock()
        self._name = name.lstrip("/")
        self._num_sent = 0
        self._num_given_up = 0
        self._class_names: tuple[str, ...] = ()
        self._sent_ns: dict[int, int] = {}
        self._last_sent_ns = 0
        self._arrived_ns: dict[int, int] = {}
        self._boxes: dict[int, bytes] = {}
        self._stage_ms: dict[str, list[float]] = defaultdict(list)
        self._worst = DiagnosticStatus(level=DiagnosticStatus.OK)

        def subscribe(message: type, topic: str, callback: Callable[[Any], None], *, raw: bool = False) -> Subscription:
            return node.create_subscription(message, topic, callback, QoSProfile(depth=DEPTH), raw=raw)

        self._subscriptions = [
            subscribe(Detection3DArray, f"{name}/{answers}", self._on_detections, raw=True),
            subscribe(PointCloud2, f"{name}/boxes", self._on_boxes, raw=True),
            *(subscribe(Float64, f"{name}/debug/latency_ms/{stage}", self._on_stage(stage)) for stage in stages),
        ]
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, f"{name}/class_names", self._on_class_names, latched)

    def is_connected(self) -> bool:
        """Whether the node publishes on every topic recorded, and has named its classes."""
        return bool(self._class_names) and all(s.get_publisher_count() for s in self._subscriptions)

    def sent(self, stamp_ns: int, sent_ns: int) -> None:
        """Notes that a cloud was published: its stamp and the monotonic time, both in nanoseconds."""
        with self._lock:
            self._num_sent += 1
            self._sent_ns.setdefault(stamp_ns, sent_ns)
            self._last_sent_ns = sent_ns

    @property
    def num_sent(self) -> int:
        """Number of clouds published, those of equal stamps counted singly."""
        return self._num_sent

    @property
    def num_answered(self) -> int:
        """Number of clouds whose detections have arrived in both forms."""
        with self._lock:
            return len(self._sent_ns.keys() & self._arrived_ns.keys() & self._boxes.keys())

    @property
    def is_settled(self) -> bool:
        """Whether the node has answered each cloud published, or has reported that it will not."""
        return self.num_answered + self._num_given_up >= self._num_sent

    @property
    def worst_status(self) -> str:
        """Message of the worst diagnostic status while the bag played, the last of equals; "" if all were OK."""
        return str(self._worst.message)

    def latency_ms(self) -> list[float]:
        """Milliseconds from the publication of each answered cloud to the arrival of its detections, in order."""
        with self._lock:
            pairs = [(sent, self._arrived_ns.get(stamp)) for stamp, sent in self._sent_ns.items()]
        return [(arrived - sent) * 1e-6 for sent, arrived in pairs if arrived is not None]

    def boxes(self) -> dict[int, Boxes3D]:
        """stamp_ns of each answered cloud → boxes in the cloud's frame, in the order sent."""
        class_names = self._class_names
        with self._lock:
            answered = [(stamp, self._boxes[stamp]) for stamp in self._sent_ns if stamp in self._boxes]
        return {s: boxes_from_cloud(deserialize_message(data, PointCloud2), class_names)[0] for s, data in answered}

    def stage_ms(self) -> Mapping[str, list[float]]:
        """Stage → its durations as the node measured them, milliseconds."""
        return self._stage_ms

    def _on_detections(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        with self._lock:
            self._arrived_ns.setdefault(header_stamp_ns(data), now_ns)

    def _on_boxes(self, data: bytes) -> None:
        with self._lock:
            self._boxes.setdefault(header_stamp_ns(data), data)

    def _on_stage(self, stage: str) -> Callable[[Float64], None]:
        return lambda msg: self._stage_ms[stage].append(msg.data)

    def _on_class_names(self, msg: String) -> None:
        self._class_names = tuple(json.loads(msg.data))

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            if status.name == self._name:
                counts = {pair.key: pair.value for pair in status.values}
                self._num_given_up = sum(int(counts.get(name, 0)) for name in _GIVEN_UP)
        # Before the bag is played and after it, silence is no fault.
        if time.monotonic_ns() - self._last_sent_ns > SILENT_AFTER_S * 1e9:
            return
        for status in msg.status:
            if status.level != DiagnosticStatus.OK and status.level >= self._worst.level:
                self._worst = status


def latency_summary(latency_ms: list[float]) -> dict[str, object]:
    """p50, p99, p99.9, max and all samples of latencies in milliseconds, rounded to the microsecond."""
    p50, p99, p99_9 = np.percentile(latency_ms, (50, 99, 99.9))
    summary = {"p50": p50, "p99": p99, "p99_9": p99_9, "max": max(latency_ms)}
    return {
        **{name: round(float(value), 3) for name, value in summary.items()},
        "samples": [round(v, 3) for v in latency_ms],
    }


def stage_summary(stage_ms: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """Stage → p50, p99 and max of its durations, milliseconds."""
    return {
        stage: {
            "p50": round(float(np.percentile(values, 50)), 3),
            "p99": round(float(np.percentile(values, 99)), 3),
            "max": round(max(values), 3),
        }
        for stage in STAGES
        if (values := list(stage_ms.get(stage, ())))
    }


def deadline_misses(latency_ms: list[float]) -> int:
    """Number of latencies above one period of a 10 Hz LiDAR."""
    return sum(value > DEADLINE_MS for value in latency_ms)
