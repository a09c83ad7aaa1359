"""The status that self_labeller publishes on /diagnostics, and its rules.

ERROR  configuring failed; a cloud could not be labelled, or labelling one failed; a publisher's type or QoS cannot be
       received.
STALE  no cloud for five seconds.
WARN   no cloud for 1.5 seconds; clouds, but none labelled; a camera is missing, late or not calibrated, or its picture
       cannot be used; headings are not known; no sweeps could be accumulated; keeping frames is paused; time jumped
       back, or is of two clocks.
OK     otherwise.

Each rule judges what happened since the last report; the message lists all reasons of the level that holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus

from lidarloop_ros.node.diagnostics import SILENT_AFTER_S, STALE_AFTER_S, make_status
from lidarloop_ros.self_labeller.frame_keeper import KeeperReport
from lidarloop_ros.self_labeller.label_statistics import LabelStatistics
from lidarloop_ros.self_labeller.pipeline import NO_IMAGE


@dataclass(frozen=True)
class LabelReport:
    """Everything that one diagnostic status is made from.

    Attributes:
        state: the node's lifecycle state.
        active: whether the node works on clouds.
        configure_problem: why configuring failed last time, or "".
        callback_problem: the exception that left a callback, or "".
        mask_model: name of the mask model; "" while unconfigured.
        statistics: what happened since the last report.
        silent_s: time since the last cloud, or since activation, seconds.
        missing_images: camera → why the last cloud has no image of it.
        input_problems: publishers that cannot be received, each with the remedy.
        setup_problems: cameras without a usable calibration, and settings that spoil the labels.
        keeper: what became of the frames offered for keeping; None where none are kept.
    """

    state: str
    active: bool
    configure_problem: str
    callback_problem: str
    mask_model: str
    statistics: LabelStatistics
    silent_s: float
    missing_images: Mapping[str, str]
    input_problems: list[str]
    setup_problems: list[str]
    keeper: KeeperReport | None


def status(report: LabelReport, *, name: str, hardware_id: str) -> DiagnosticStatus:
    """The status of a report: level, reasons and figures. Arguments as for ``make_status``."""
    level, reasons = _judge(report)
    statistics, keeper = report.statistics, report.keeper
    values = {
        "state": report.state,
        "mask model": report.mask_model,
        "clouds": statistics.num_clouds,
        "clouds labelled": statistics.num_labelled,
        "labels": statistics.num_labels,
        **{f"degraded: {what}": count for what, count in sorted(statistics.degraded.items())},
        **{f"left out: {what}": count for what, count in sorted(statistics.left_out.items()) if count},
        **{f"{stage} ms": f"{duration_ms:.1f}" for stage, duration_ms in statistics.stage_ms.items()},
    }
    if keeper is not None:
        values |= {
            "frames kept since start": keeper.num_kept,
            "frames on disk": keeper.num_frames,
            "MB on disk": f"{keeper.num_bytes / 1e6:.1f}",
            **{f"not kept: {why}": count for why, count in sorted(keeper.not_kept.items())},
        }
    return make_status(level, reasons or [report.state], values, name=name, hardware_id=hardware_id)


def _judge(report: LabelReport) -> tuple[bytes, list[str]]:
    errors = [reason for reason in (report.configure_problem, report.callback_problem) if reason]
    if not report.active:
        return (DiagnosticStatus.ERROR if errors else DiagnosticStatus.OK), errors
    errors += _errors(report)
    if errors:
        return DiagnosticStatus.ERROR, errors
    if report.silent_s > STALE_AFTER_S:
        return DiagnosticStatus.STALE, [f"no cloud for {report.silent_s:.0f} s"]
    warnings = _warnings(report)
    return (DiagnosticStatus.WARN if warnings else DiagnosticStatus.OK), warnings


def _errors(report: LabelReport) -> list[str]:
    statistics = report.statistics
    errors = [f"cloud not labelled: {statistics.rejected}"] if statistics.rejected else []
    errors += [f"labelling failed: {statistics.failed}"] if statistics.failed else []
    return errors + report.input_problems


def _warnings(report: LabelReport) -> list[str]:
    statistics = report.statistics
    warnings = []
    if report.silent_s > SILENT_AFTER_S:
        warnings.append(f"no cloud for {report.silent_s:.1f} s")
    elif statistics.num_clouds and not statistics.num_labelled:
        warnings.append(
            "clouds come, but none was labelled since the last report: the mask model takes longer than that"
        )
    if statistics.time_jumps:
        warnings.append("time jumped back")
    if statistics.mixed_clocks:
        warnings.append(statistics.mixed_clocks)
    warnings += report.setup_problems
    warnings += [
        f"{_explained(what, report)} ({count} of {statistics.num_labelled} clouds)"
        for what, count in statistics.degraded.items()
    ]
    if report.keeper is not None and report.keeper.problem:
        warnings.append(report.keeper.problem)
    return warnings


def _explained(what: str, report: LabelReport) -> str:
    """A missing image with how far off the nearest one is."""
    camera, _, problem = what.partition(": ")
    why = report.missing_images.get(camera)
    return f"{what}: {why}" if problem == NO_IMAGE and why else what
