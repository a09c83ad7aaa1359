"""CloudStatistics: counts what becomes of clouds between two diagnostic reports."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lidarloop_ros.detector.cloud_health import CloudHealth
from lidarloop_ros.detector.pipeline import CloudResult

LATENCIES_KEPT = 600
POINT_COUNTS_KEPT = 300


@dataclass
class Counts:
    """Numbers of clouds and of points by what became of them.

    Attributes:
        num_in: clouds received.
        num_detected: clouds whose detections were published.
        num_dropped: clouds replaced by a newer one before the detector was free.
        num_refused: clouds dropped because of their stamp.
        num_without_motion: clouds dropped because ego-motion was missing.
        num_rejected: clouds that broke the input contract.
        num_failed: clouds whose processing, and callbacks that, an exception ended.
        num_retried: clouds inferred a second time.
        num_points_not_finite: points left out because a value besides their position was NaN or infinite.
        num_points_clamped: points with a value beyond what the model was trained on.
        num_points_cropped: points that limits left out, of the first LiDAR.
    """

    num_in: int = 0
    num_detected: int = 0
    num_dropped: int = 0
    num_refused: int = 0
    num_without_motion: int = 0
    num_rejected: int = 0
    num_failed: int = 0
    num_retried: int = 0
    num_points_not_finite: int = 0
    num_points_clamped: int = 0
    num_points_cropped: int = 0


@dataclass
class Period(Counts):
    """What happened since the last report; each reason is that of the last cloud concerned.

    Attributes:
        value_problem: what was wrong with values of points besides their position, or "".
        non_finite_share: largest share of a cloud's points without a finite position, 0 to 1.
        fewest_points: smallest number of points of a cloud; None without a cloud.
        fewest_sweeps: smallest number of sweeps merged for a cloud that should have had more; None without one.
        num_time_jumps: number of jumps back in time.
        mixed_clocks: which two clocks the clouds were of, or "".
        age_ms: ages of the clouds when they were answered, milliseconds.
    """

    refused_because: str = ""
    rejected_because: str = ""
    failed_because: str = ""
    retried_because: str = ""
    motion_problem: str = ""
    overflow: str = ""
    missing_column: str = ""
    skew_problem: str = ""
    crop_problem: str = ""
    lidar_problems: tuple[str, ...] = ()
    camera_problems: tuple[str, ...] = ()
    value_problem: str = ""
    non_finite_share: float = 0.0
    fewest_points: int | None = None
    fewest_sweeps: int | None = None
    num_time_jumps: int = 0
    mixed_clocks: str = ""
    age_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Figures:
    """The figures of one report.

    Attributes:
        silent_s: time since the last cloud, or since activation, seconds.
        motion_missing_s: time since the last cloud with ego-motion, seconds; 0 while clouds have it.
        usual_points: median number of points in the clouds before this period; 0 while unknown.
        period_s: length of ``period``, seconds.
        period: what happened since the last report.
        totals: counts since activation.
        latency_ms: recent latencies from reception to publication, milliseconds.
        last_result: result of the last cloud; None before the first.
        health: figures of one cloud of the period; None if none was inspected.
    """

    silent_s: float
    motion_missing_s: float
    usual_points: int
    period_s: float
    period: Period
    totals: Counts
    latency_ms: Sequence[float]
    last_result: CloudResult | None
    health: CloudHealth | None


class CloudStatistics:
    """Counts from the executor's and the detection thread, read by the timer of the diagnostics."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Clears everything, at activation."""
        with self._lock:
            now_s = time.monotonic()
            self._period = Period()
            self._period_began_s = self._last_cloud_s = now_s
            self._totals = Counts()
            self._latency_ms: deque[float] = deque(maxlen=LATENCIES_KEPT)
            self._point_counts: deque[int] = deque(maxlen=POINT_COUNTS_KEPT)
            self._last_result: CloudResult | None = None
            self._health: CloudHealth | None = None
            self._motion_missing_since_s: float | None = None
            self._clouds_since_jump = 0

    def received(self) -> None:
        """Counts a cloud that was received."""
        with self._lock:
            self._last_cloud_s = time.monotonic()
            self._count("num_in")

    def replaced(self, num_clouds: int) -> None:
        """Counts clouds that a newer one replaced before the detector was free."""
        with self._lock:
            self._count("num_dropped", num_clouds)

    def refused(self, reason: str) -> None:
        """Counts a cloud dropped because of its stamp."""
        with self._lock:
            self._count("num_refused")
            self._period.refused_because = reason

    def rejected(self, reason: str) -> None:
        """Counts a cloud that broke the input contract."""
        with self._lock:
            self._count("num_rejected")
            self._period.rejected_because = reason

    def failed(self, reason: str) -> None:
        """Counts an unexpected exception that ended the processing of a cloud, or a callback."""
        with self._lock:
            self._count("num_failed")
            self._period.failed_because = reason

    def retried(self, reason: str) -> None:
        """Counts a cloud on which the backend failed, and which is tried once more."""
        with self._lock:
            self._count("num_retried")
            self._period.retried_because = reason

    def without_motion(self, reason: str) -> None:
        """Counts a cloud dropped because ego-motion was missing."""
        with self._lock:
            self._count("num_without_motion")
            self._note_motion(reason)

    def detected(self, result: CloudResult, latency_ms: float, age_ms: float | None, num_sweeps_expected: int) -> None:
        """Counts a cloud whose detections were published.

        Args:
            result: the detections, and how they were made.
            latency_ms: time from reception to publication.
            age_ms: time from the cloud's stamp to publication; None if unknown.
            num_sweeps_expected: number of sweeps that the model merges.
        """
        with self._lock:
            self._clouds_since_jump += 1
            self._count("num_detected")
            self._latency_ms.append(latency_ms)
            self._last_result = result
            period = self._period
            if age_ms is not None:
                period.age_ms.append(age_ms)
            self._note_motion(result.motion_problem)
            period.overflow = result.overflow or period.overflow
            period.missing_column = result.missing_column or period.missing_column
            period.skew_problem = result.skew_problem or period.skew_problem
            period.crop_problem = result.crop_problem or period.crop_problem
            period.lidar_problems = result.lidar_problems or period.lidar_problems
            period.camera_problems = result.camera_problems or period.camera_problems
            received = result.received
            self._count("num_points_not_finite", received.num_not_finite)
            self._count("num_points_clamped", received.num_clamped)
            self._count("num_points_cropped", result.num_cropped)
            period.value_problem = received.problem or period.value_problem
            period.non_finite_share = max(period.non_finite_share, received.share(received.num_no_position))
            fewest = period.fewest_points
            num_new = len(result.newest_points)
            period.fewest_points = num_new if fewest is None else min(fewest, num_new)
            self._point_counts.append(num_new)
            filled = self._clouds_since_jump >= num_sweeps_expected
            if filled and result.num_sweeps < num_sweeps_expected:
                period.fewest_sweeps = min(result.num_sweeps, period.fewest_sweeps or num_sweeps_expected)

    @property
    def wants_health(self) -> bool:
        """Whether no cloud of this period has been inspected yet."""
        return self._health is None

    def inspected(self, health: CloudHealth) -> None:
        """Keeps the figures of one cloud of this period."""
        with self._lock:
            self._health = health

    def mixed_clocks(self, reason: str) -> None:
        """Notes that the clouds are of two clocks."""
        with self._lock:
            self._period.mixed_clocks = reason

    def time_jumped(self) -> None:
        """Counts a jump back in time, after which the sweeps were dropped."""
        with self._lock:
            self._period.num_time_jumps += 1
            self._clouds_since_jump = 0

    def report(self) -> Figures:
        """Ends the period and gives its figures."""
        with self._lock:
            now_s = time.monotonic()
            period, self._period = self._period, Period()
            period_s, self._period_began_s = now_s - self._period_began_s, now_s
            health, self._health = self._health, None
            since_s = self._motion_missing_since_s
            before = sorted(list(self._point_counts)[: max(0, len(self._point_counts) - period.num_detected)])
            return Figures(
                silent_s=now_s - self._last_cloud_s,
                motion_missing_s=0.0 if since_s is None else now_s - since_s,
                usual_points=before[len(before) // 2] if before else 0,
                period_s=period_s,
                period=period,
                totals=replace(self._totals),
                latency_ms=tuple(self._latency_ms),
                last_result=self._last_result,
                health=health,
            )

    def _count(self, name: str, number: int = 1) -> None:
        for counts in (self._period, self._totals):
            setattr(counts, name, getattr(counts, name) + number)

    def _note_motion(self, problem: str) -> None:
        if not problem:
            self._motion_missing_since_s = None
            return
        self._period.motion_problem = problem
        if self._motion_missing_since_s is None:
            self._motion_missing_since_s = time.monotonic()
