"""What the node says about itself on /diagnostics, and by which rules.

ERROR  configuring failed; a cloud was rejected; processing a cloud failed.
WARN   clouds were dropped because the detector was busy; no cloud for a second; sweeps could not be merged, or fewer
       than the model was trained with; capacity was exceeded; p99 latency above the deadline; time jumped back.
OK     otherwise. Each rule looks at what happened since the last report; all reasons that hold are in the message.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from lidarloop_ros.cloud_pipeline import Frame

# One revolution of a LiDAR at 10 Hz: a later answer describes a world that the next sweep has already replaced.
DEADLINE_MS = 100.0
STALE_AFTER_S = 1.0
LATENCIES_KEPT = 600


@dataclass(frozen=True)
class ModelInfo:
    """Which model is loaded, and on what it runs."""

    name: str
    sha256: str
    device: str
    num_sweeps: int


@dataclass
class Period:
    """What happened since the last report."""

    num_in: int = 0
    num_detected: int = 0
    num_dropped: int = 0
    num_rejected: int = 0
    num_failed: int = 0
    rejected_because: str = ""
    failed_because: str = ""
    motion_problem: str = ""
    overflow: str = ""
    too_few_sweeps: bool = False
    time_jumps: int = 0


@dataclass
class Totals:
    """Counts since the node was activated."""

    num_in: int = 0
    num_detected: int = 0
    num_dropped: int = 0
    num_rejected: int = 0
    num_failed: int = 0


@dataclass(frozen=True)
class Report:
    """Everything one diagnostic status is made of.

    Attributes:
        state: the node's lifecycle state.
        configure_problem: why configuring failed last time, or "".
        silent_s: time since the last cloud, or since activation; None while not active.
        silence_hint: what to check when no cloud comes.
        period_s: length of ``period``.
        latency_ms: (N,) recent reception → publish latencies.
    """

    state: str
    configure_problem: str
    model: ModelInfo | None
    silent_s: float | None
    silence_hint: str
    period_s: float
    period: Period
    totals: Totals
    latency_ms: Sequence[float]
    last_frame: Frame | None


class FrameStatistics:
    """Counts what happens to clouds. Written by the executor's and the detection thread, read by the report's timer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Starts over, at activation."""
        with self._lock:
            self._period = Period()
            self._period_began_s = time.monotonic()
            self._totals = Totals()
            self._latency_ms: deque[float] = deque(maxlen=LATENCIES_KEPT)
            self._last_frame: Frame | None = None
            self._last_cloud_s = time.monotonic()
            self._frames_since_flush = 0

    def received(self, *, replaced: bool) -> None:
        """A cloud came in; ``replaced``: one before it was dropped unseen."""
        with self._lock:
            self._last_cloud_s = time.monotonic()
            for counts in (self._period, self._totals):
                counts.num_in += 1
                counts.num_dropped += replaced

    def detected(self, frame: Frame, latency_ms: float, num_sweeps_expected: int) -> None:
        """A cloud's detections were published."""
        with self._lock:
            self._frames_since_flush += 1
            for counts in (self._period, self._totals):
                counts.num_detected += 1
            self._latency_ms.append(latency_ms)
            self._last_frame = frame
            self._period.motion_problem = frame.motion_problem or self._period.motion_problem
            self._period.overflow = frame.overflow or self._period.overflow
            filled = self._frames_since_flush >= num_sweeps_expected
            self._period.too_few_sweeps |= filled and frame.num_sweeps < num_sweeps_expected

    def rejected(self, reason: str) -> None:
        """A cloud broke the input contract."""
        with self._lock:
            self._period.rejected_because = reason
            for counts in (self._period, self._totals):
                counts.num_rejected += 1

    def failed(self, reason: str) -> None:
        """Processing a cloud raised an unexpected exception."""
        with self._lock:
            self._period.failed_because = reason
            for counts in (self._period, self._totals):
                counts.num_failed += 1

    def time_jumped(self) -> None:
        """Stamps went backwards and the sweeps were forgotten."""
        with self._lock:
            self._period.time_jumps += 1
            self._frames_since_flush = 0

    def report(
        self, *, state: str, active: bool, configure_problem: str, model: ModelInfo | None, silence_hint: str
    ) -> Report:
        """Closes the period."""
        with self._lock:
            now_s = time.monotonic()
            period, self._period = self._period, Period()
            period_s, self._period_began_s = now_s - self._period_began_s, now_s
            return Report(
                state=state,
                configure_problem=configure_problem,
                model=model,
                silent_s=now_s - self._last_cloud_s if active else None,
                silence_hint=silence_hint,
                period_s=period_s,
                period=period,
                totals=Totals(**vars(self._totals)),
                latency_ms=tuple(self._latency_ms),
                last_frame=self._last_frame,
            )


def errors(report: Report) -> list[str]:
    """The reasons for ERROR."""
    period = report.period
    reasons = []
    if report.configure_problem:
        reasons.append(report.configure_problem)
    if period.num_rejected:
        reasons.append(f"clouds rejected ({period.num_rejected}): {period.rejected_because}")
    if period.num_failed:
        reasons.append(f"clouds failed ({period.num_failed}): {period.failed_because}")
    return reasons


def warnings(report: Report) -> list[str]:
    """The reasons for WARN."""
    period, model, frame = report.period, report.model, report.last_frame
    reasons = []
    if report.silent_s is not None and report.silent_s > STALE_AFTER_S:
        reasons.append(f"no cloud for {report.silent_s:.0f} s: {report.silence_hint}")
    if period.num_dropped:
        reasons.append(f"clouds dropped ({period.num_dropped}): the detector is slower than the LiDAR")
    if period.motion_problem:
        reasons.append(f"single sweep: {period.motion_problem}")
    elif period.too_few_sweeps and model and frame:
        reasons.append(f"{frame.num_sweeps} of the {model.num_sweeps} sweeps the model was trained with")
    if period.overflow:
        reasons.append(period.overflow)
    if period.num_detected and np.percentile(report.latency_ms, 99) > DEADLINE_MS:
        reasons.append(f"p99 latency above {DEADLINE_MS:.0f} ms")
    if period.time_jumps:
        reasons.append("stamps went backwards: sweeps and ego-motion forgotten")
    return reasons


def status(report: Report, *, name: str, hardware_id: str) -> DiagnosticStatus:
    """One status with level, reasons and figures."""
    if reasons := errors(report):
        level = DiagnosticStatus.ERROR
    elif reasons := warnings(report):
        level = DiagnosticStatus.WARN
    else:
        level, reasons = DiagnosticStatus.OK, [report.state]
    values = [KeyValue(key=key, value=value) for key, value in _values(report).items()]
    return DiagnosticStatus(level=level, name=name, message="; ".join(reasons), hardware_id=hardware_id, values=values)


def _values(report: Report) -> dict[str, str]:
    totals = report.totals
    values = {
        "state": report.state,
        "frames_in": str(totals.num_in),
        "frames_detected": str(totals.num_detected),
        "frames_dropped": str(totals.num_dropped),
        "frames_rejected": str(totals.num_rejected),
        "frames_failed": str(totals.num_failed),
        "rate_hz": f"{report.period.num_detected / report.period_s:.1f}" if report.period_s else "0.0",
    }
    if model := report.model:
        values |= {"model": model.name, "model_sha256": model.sha256, "provider": model.device}
        values["num_sweeps"] = str(model.num_sweeps)
    if report.latency_ms:
        p50, p99 = np.percentile(report.latency_ms, (50, 99))
        values |= {"latency_ms_p50": f"{p50:.1f}", "latency_ms_p99": f"{p99:.1f}"}
    if frame := report.last_frame:
        values |= {
            "sweeps_used": str(frame.num_sweeps),
            "num_points": str(frame.num_points),
            "num_boxes": str(len(frame.boxes)),
            "non_finite_share": f"{frame.non_finite_share:.4f}",
            "overflow": frame.overflow or "none",
        }
    return values
