"""FrameStatistics: counts what happens to clouds between two reports of the diagnostics."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lidarloop_ros.detector.cloud_health import CloudHealth
from lidarloop_ros.detector.pipeline import Frame

LATENCIES_KEPT = 600
POINT_COUNTS_KEPT = 300


@dataclass
class Counts:
    """Clouds by what became of them.

    Attributes:
        num_in: received.
        num_detected: their detections were published.
        num_dropped: replaced by a newer one before the detector was free.
        num_refused: dropped for their stamp.
        num_without_motion: dropped for want of ego-motion.
        num_rejected: broke the input contract.
        num_failed: an exception ended their processing, or a callback.
        num_retried: inferred a second time.
    """

    num_in: int = 0
    num_detected: int = 0
    num_dropped: int = 0
    num_refused: int = 0
    num_without_motion: int = 0
    num_rejected: int = 0
    num_failed: int = 0
    num_retried: int = 0


@dataclass
class Period(Counts):
    """What happened since the last report; a reason is the last one given."""

    refused_because: str = ""
    rejected_because: str = ""
    failed_because: str = ""
    retried_because: str = ""
    motion_problem: str = ""
    overflow: str = ""
    missing_column: str = ""
    lidar_problems: tuple[str, ...] = ()
    non_finite_share: float = 0.0
    fewest_points: int | None = None
    too_few_sweeps: bool = False
    num_time_jumps: int = 0
    age_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Statistics:
    """A report's figures.

    Attributes:
        silent_s: time since the last cloud, or since activation.
        motion_missing_s: how long no cloud has had ego-motion; 0 while they have.
        usual_points: median points of the clouds before this period; 0 while unknown.
        period_s: length of ``period``.
        totals: since activation.
        latency_ms: (N,) recent reception → publish latencies.
        health: of one cloud of the period; None without one.
    """

    silent_s: float
    motion_missing_s: float
    usual_points: int
    period_s: float
    period: Period
    totals: Counts
    latency_ms: Sequence[float]
    last_frame: Frame | None
    health: CloudHealth | None


class FrameStatistics:
    """Written by the executor's and the detection thread, read by the report's timer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Starts over, at activation."""
        with self._lock:
            now_s = time.monotonic()
            self._period = Period()
            self._period_began_s = self._last_cloud_s = now_s
            self._totals = Counts()
            self._latency_ms: deque[float] = deque(maxlen=LATENCIES_KEPT)
            self._point_counts: deque[int] = deque(maxlen=POINT_COUNTS_KEPT)
            self._last_frame: Frame | None = None
            self._health: CloudHealth | None = None
            self._motion_missing_since_s: float | None = None
            self._frames_since_flush = 0

    def received(self) -> None:
        """A cloud came in."""
        with self._lock:
            self._last_cloud_s = time.monotonic()
            self._count("num_in")

    def replaced(self, num_clouds: int) -> None:
        """A newer cloud came in before the detector was free for these."""
        with self._lock:
            for _ in range(num_clouds):
                self._count("num_dropped")

    def refused(self, reason: str) -> None:
        """A cloud was dropped for its stamp."""
        with self._lock:
            self._count("num_refused")
            self._period.refused_because = reason

    def rejected(self, reason: str) -> None:
        """A cloud broke the input contract."""
        with self._lock:
            self._count("num_rejected")
            self._period.rejected_because = reason

    def failed(self, reason: str) -> None:
        """An unexpected exception ended the processing of a cloud, or a callback."""
        with self._lock:
            self._count("num_failed")
            self._period.failed_because = reason

    def retried(self, reason: str) -> None:
        """The backend failed on a cloud, which is tried once more."""
        with self._lock:
            self._count("num_retried")
            self._period.retried_because = reason

    def without_motion(self, reason: str) -> None:
        """A cloud was dropped for want of ego-motion."""
        with self._lock:
            self._count("num_without_motion")
            self._note_motion(reason)

    def detected(self, frame: Frame, latency_ms: float, age_ms: float | None, num_sweeps_expected: int) -> None:
        """A cloud's detections were published."""
        with self._lock:
            self._frames_since_flush += 1
            self._count("num_detected")
            self._latency_ms.append(latency_ms)
            self._last_frame = frame
            period = self._period
            if age_ms is not None:
                period.age_ms.append(age_ms)
            self._note_motion(frame.motion_problem)
            period.overflow = frame.overflow or period.overflow
            period.missing_column = frame.missing_column or period.missing_column
            period.lidar_problems = frame.lidar_problems or period.lidar_problems
            period.non_finite_share = max(period.non_finite_share, frame.non_finite_share)
            fewest = period.fewest_points
            num_new = len(frame.newest_points)
            period.fewest_points = num_new if fewest is None else min(fewest, num_new)
            self._point_counts.append(num_new)
            filled = self._frames_since_flush >= num_sweeps_expected
            period.too_few_sweeps |= filled and frame.num_sweeps < num_sweeps_expected

    @property
    def wants_health(self) -> bool:
        """Whether no cloud of this period has been looked at yet."""
        return self._health is None

    def inspected(self, health: CloudHealth) -> None:
        """A cloud of this period was looked at."""
        with self._lock:
            self._health = health

    def time_jumped(self) -> None:
        """Time went backwards and the sweeps were forgotten."""
        with self._lock:
            self._period.num_time_jumps += 1
            self._frames_since_flush = 0

    def report(self) -> Statistics:
        """Closes the period."""
        with self._lock:
            now_s = time.monotonic()
            period, self._period = self._period, Period()
            period_s, self._period_began_s = now_s - self._period_began_s, now_s
            health, self._health = self._health, None
            since_s = self._motion_missing_since_s
            before = sorted(list(self._point_counts)[: max(0, len(self._point_counts) - period.num_detected)])
            return Statistics(
                silent_s=now_s - self._last_cloud_s,
                motion_missing_s=0.0 if since_s is None else now_s - since_s,
                usual_points=before[len(before) // 2] if before else 0,
                period_s=period_s,
                period=period,
                totals=replace(self._totals),
                latency_ms=tuple(self._latency_ms),
                last_frame=self._last_frame,
                health=health,
            )

    def _count(self, name: str) -> None:
        for counts in (self._period, self._totals):
            setattr(counts, name, getattr(counts, name) + 1)

    def _note_motion(self, problem: str) -> None:
        if not problem:
            self._motion_missing_since_s = None
            return
        self._period.motion_problem = problem
        if self._motion_missing_since_s is None:
            self._motion_missing_since_s = time.monotonic()
