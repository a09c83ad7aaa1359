"""The status that lidar_detector publishes on /diagnostics, and its rules.

ERROR  configuring failed; a cloud was rejected; processing a cloud, or a callback, failed; the backend failed twice;
       no ego-motion for ``motion_error_after_s``; a publisher's type or QoS cannot be received.
STALE  no cloud for five seconds: the figures shown are old.
WARN   no cloud for 1.5 seconds, or fewer a second than expected; clouds were dropped because the detector was busy,
       because of their stamp, or because ego-motion was missing; a further LiDAR or a camera of the model is missing,
       or there are image topics that the model does not take; no sweeps could be merged,
       or fewer than the model was trained with; clouds not deskewed or not cropped; capacity was exceeded; many points
       without a finite position, or far fewer points than usual; values of points not finite (left out) or beyond the
       training's (clamped); intensity flat, missing, or in another unit than in training; the ground at another height
       than in training; p99 latency above the deadline, or clouds old when answered; time jumped back, or is of two
       clocks; ages unknown; inference was repeated; a new model could not be loaded; a subscriber's QoS receives
       nothing.
OK     otherwise.

Each rule judges what happened since the last report; the message lists all reasons of the level that holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.inference.segmenter import NO_LABEL, PointLabels
from lidarloop_core.model.spec import ModelSpec
from lidarloop_ros.detector.cloud_health import health_problems
from lidarloop_ros.detector.cloud_statistics import Figures
from lidarloop_ros.node.diagnostics import SILENT_AFTER_S, STALE_AFTER_S, make_status

# One revolution of a LiDAR at 10 Hz: a later answer describes a world that the next sweep has already replaced.
DEADLINE_MS = 100.0
# From a cloud's stamp to publication; Autoware warns above the same age.
AGE_MS = 200.0
# A rate, or a number of points, below this share of the expected or usual one is a WARN.
RATE_SHARE = 0.8
POINTS_SHARE = 0.1
# Where clouds usually have fewer points, their number is not judged.
POINTS_JUDGED = 1_000


@dataclass(frozen=True)
class ModelInfo:
    """The loaded model.

    Attributes:
        spec: the model's contract.
        sha256: hash of the model file, hexadecimal.
        device: backend and device that run the model.
    """

    spec: ModelSpec
    sha256: str
    device: str


@dataclass(frozen=True)
class Limits:
    """Limits that depend on the vehicle; see the parameters of the same names."""

    non_finite_warn_share: float = 0.5
    expected_rate_hz: float = 0.0
    motion_error_after_s: float = 5.0


@dataclass(frozen=True)
class Report:
    """Everything that one diagnostic status is made from.

    Attributes:
        state: the node's lifecycle state.
        active: whether the node works on clouds.
        statistics: figures of the clouds since the last report.
        limits: limits that depend on the vehicle.
        configure_problem: why configuring failed last time, or "".
        backend_problem: why the node is about to end, or "".
        model: the loaded model; None while unconfigured.
        engine: ``none``, ``ready`` or ``loading …``.
        load_problem: why the last new model was refused, or "".
        clock_problem: why ages of clouds are unknown, or "".
        input_problems: publishers that cannot be received, each with the remedy.
        output_problems: subscribers that receive nothing, each with the remedy.
        silence_hint: what to check when no cloud comes.
        has_cameras: whether images are received.
    """

    state: str
    active: bool
    statistics: Figures
    limits: Limits = Limits()
    configure_problem: str = ""
    backend_problem: str = ""
    model: ModelInfo | None = None
    engine: str = "none"
    load_problem: str = ""
    clock_problem: str = ""
    input_problems: Sequence[str] = ()
    output_problems: Sequence[str] = ()
    silence_hint: str = ""
    has_cameras: bool = False


def errors(report: Report) -> list[str]:
    """The reasons for ERROR."""
    seen = report.statistics
    period, limits = seen.period, report.limits
    reasons = [reason for reason in (report.configure_problem, report.backend_problem) if reason]
    reasons += report.input_problems
    if period.num_rejected:
        reasons.append(f"clouds rejected ({period.num_rejected}): {period.rejected_because}")
    if period.num_failed:
        reasons.append(f"clouds failed ({period.num_failed}): {period.failed_because}")
    if period.motion_problem and seen.motion_missing_s >= limits.motion_error_after_s:
        reasons.append(f"no ego-motion for {seen.motion_missing_s:.0f} s: {period.motion_problem}")
    return reasons


def warnings(report: Report) -> list[str]:
    """The reasons for WARN, and for STALE."""
    others = [report.clock_problem if report.active else "", report.load_problem, *report.output_problems]
    return [
        *_about_the_stream(report),
        *_about_motion(report),
        *_about_content(report),
        *_about_time(report),
        *(reason for reason in others if reason),
    ]


def _about_the_stream(report: Report) -> list[str]:
    seen, period, limits = report.statistics, report.statistics.period, report.limits
    reasons = []
    if report.active and seen.silent_s > SILENT_AFTER_S:
        reasons.append(f"no cloud for {seen.silent_s:.0f} s: {report.silence_hint}")
    elif report.active and 0 < period.num_in < RATE_SHARE * limits.expected_rate_hz * seen.period_s:
        reasons.append(
            f"{period.num_in / seen.period_s:.1f} clouds per second, expected_rate_hz is {limits.expected_rate_hz:g}: "
            "check the LiDAR, its driver and the transport"
        )
    if period.num_dropped:
        reasons.append(f"clouds dropped ({period.num_dropped}): the detector is slower than the LiDAR")
    if period.num_refused:
        reasons.append(f"clouds dropped ({period.num_refused}): {period.refused_because}")
    if period.num_retried:
        reasons.append(f"inference repeated ({period.num_retried}): {period.retried_because}")
    return reasons


def _about_motion(report: Report) -> list[str]:
    period, model = report.statistics.period, report.model
    if period.num_without_motion:
        return [f"clouds dropped ({period.num_without_motion}): {period.motion_problem}"]
    if period.motion_problem:
        return [f"single sweep: {period.motion_problem}"]
    if period.fewest_sweeps is not None and model:
        return [f"{period.fewest_sweeps} of the {model.spec.num_sweeps} sweeps the model was trained with"]
    return []


def _about_content(report: Report) -> list[str]:
    seen, period = report.statistics, report.statistics.period
    reasons = [period.overflow] if period.overflow else []
    if period.non_finite_share > report.limits.non_finite_warn_share:
        reasons.append(f"{period.non_finite_share:.0%} of a cloud's points had no finite position: check the sensor")
    if period.value_problem:
        reasons.append(period.value_problem)
    if period.missing_column:
        reasons.append(period.missing_column)
    if period.skew_problem:
        reasons.append(f"not deskewed: {period.skew_problem}")
    if period.crop_problem:
        reasons.append(period.crop_problem)
    reasons += [*period.lidar_problems, *_about_cameras(report)]
    fewest, usual = period.fewest_points, seen.usual_points
    if fewest is not None and usual >= POINTS_JUDGED and fewest < POINTS_SHARE * usual:
        reasons.append(f"{fewest} points, usually {usual}: is the LiDAR's view blocked?")
    if seen.health and report.model:
        reasons += health_problems(seen.health, report.model.spec)
    return reasons


def _about_cameras(report: Report) -> list[str]:
    rig = report.model.spec.cameras if report.model else None
    problems = report.statistics.period.camera_problems
    if rig is None:
        return ["image_topics is not used: the model has no cameras"] if report.has_cameras else []
    if len(problems) == len(rig.names):
        return [f"answered from the points alone, without cameras: {'; '.join(problems)}"]
    return list(problems)


def _about_time(report: Report) -> list[str]:
    seen, period = report.statistics, report.statistics.period
    reasons = []
    if period.num_detected and np.percentile(seen.latency_ms, 99) > DEADLINE_MS:
        reasons.append(f"p99 latency above {DEADLINE_MS:.0f} ms")
    if period.age_ms and max(period.age_ms) > AGE_MS:
        reasons.append(
            f"clouds were up to {max(period.age_ms):.0f} ms old when answered: driver, transport or detector lag"
        )
    if period.num_time_jumps:
        reasons.append("time went backwards: sweeps and ego-motion dropped")
    if period.mixed_clocks:
        reasons.append(period.mixed_clocks)
    return reasons


def status(report: Report, *, name: str, hardware_id: str) -> DiagnosticStatus:
    """The status of a report: level, reasons and figures. Arguments as for ``make_status``."""
    if reasons := errors(report):
        level = DiagnosticStatus.ERROR
    elif reasons := warnings(report):
        is_stale = report.active and report.statistics.silent_s > STALE_AFTER_S
        level = DiagnosticStatus.STALE if is_stale else DiagnosticStatus.WARN
    else:
        level, reasons = DiagnosticStatus.OK, [report.state]
    return make_status(level, reasons, _values(report), name=name, hardware_id=hardware_id)


def _values(report: Report) -> dict[str, str]:
    seen, totals = report.statistics, report.statistics.totals
    values = {
        "state": report.state,
        "frames_in": str(totals.num_in),
        "frames_detected": str(totals.num_detected),
        "frames_dropped": str(totals.num_dropped),
        "frames_refused": str(totals.num_refused),
        "frames_without_motion": str(totals.num_without_motion),
        "frames_rejected": str(totals.num_rejected),
        "frames_failed": str(totals.num_failed),
        "frames_retried": str(totals.num_retried),
        "points_not_finite": str(totals.num_points_not_finite),
        "points_clamped": str(totals.num_points_clamped),
        "points_cropped": str(totals.num_points_cropped),
        "rate_hz": f"{seen.period.num_detected / seen.period_s:.1f}" if seen.period_s else "0.0",
        "engine": report.engine,
    }
    if model := report.model:
        values |= {"model": model.spec.name, "model_sha256": model.sha256, "provider": model.device}
        values["num_sweeps"] = str(model.spec.num_sweeps)
    if seen.latency_ms:
        p50, p99 = np.percentile(seen.latency_ms, (50, 99))
        values |= {"latency_ms_p50": f"{p50:.1f}", "latency_ms_p99": f"{p99:.1f}"}
    if seen.period.age_ms:
        values["age_ms_max"] = f"{max(seen.period.age_ms):.1f}"
    if result := seen.last_result:
        values |= {
            "sweeps_used": str(result.num_sweeps),
            "num_points": str(result.num_points),
            **_found(result.found),
            "non_finite_share": f"{result.received.share(result.received.num_no_position):.4f}",
            "no_return_share": f"{result.received.share(result.received.num_no_return):.4f}",
            "overflow": result.overflow or "none",
            **({"intensity_field": result.intensity_field} if result.intensity_field else {}),
            **({"point_times": result.point_times} if result.point_times else {}),
        }
    if health := seen.health:
        low, median, high = health.intensity or (0.0, 0.0, 0.0)
        known = bool(report.model and report.model.spec.training_intensity)
        values |= {
            "intensity": f"{low:g} to {high:g}, median {median:g}" if health.intensity else "unknown",
            "training_intensity": f"{report.model.spec.training_intensity}" if report.model and known else "unknown",
            "ground_height_m": "unknown" if health.ground_height_m is None else f"{health.ground_height_m:.2f}",
        }
    return values


def _found(found: Boxes3D | PointLabels) -> dict[str, str]:
    """Number of boxes, or of points with a label."""
    if isinstance(found, PointLabels):
        return {"num_labelled": str(np.count_nonzero(found.labels != NO_LABEL))}
    return {"num_boxes": str(len(found))}
