"""The rules of /diagnostics: which event gives which level."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_ros.cloud_pipeline import Frame
from lidarloop_ros.diagnostics import FrameStatistics, ModelInfo, status

MODEL = ModelInfo("pillars", "ab" * 32, "onnxruntime CPUExecutionProvider", num_sweeps=3)
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def frame(num_sweeps: int = 3, **changes: object) -> Frame:
    known = {"num_points": 1000, "non_finite_share": 0.25, "overflow": "", "motion_problem": ""}
    return Frame(boxes=Boxes3D.empty(("car",)), stage_ms={}, num_sweeps=num_sweeps, **{**known, **changes})


def report(statistics: FrameStatistics, *, configure_problem: str = "") -> DiagnosticStatus:
    given = {"configure_problem": configure_problem, "model": MODEL, "silence_hint": "check the driver"}
    return status(statistics.report(state="active", active=True, **given), name="lidar_detector", hardware_id="host")


def detect(statistics: FrameStatistics, num_frames: int = 5, latency_ms: float = 20.0, **changes: object) -> None:
    for _ in range(num_frames):
        statistics.received(replaced=False)
        statistics.detected(frame(**changes), latency_ms, num_sweeps_expected=3)


@pytest.mark.parametrize(
    ("event", "level", "said"),
    [
        (lambda s: None, OK, "active"),
        (lambda s: s.received(replaced=True), WARN, "clouds dropped (1)"),
        (lambda s: s.rejected("cloud lacks field x"), ERROR, "cloud lacks field x"),
        (lambda s: s.failed("KeyError: 1"), ERROR, "KeyError: 1"),
        (lambda s: detect(s, motion_problem="no odometry", num_sweeps=1), WARN, "single sweep: no odometry"),
        (lambda s: detect(s, num_sweeps=2), WARN, "2 of the 3 sweeps"),
        (lambda s: detect(s, overflow="17 points thinned out"), WARN, "17 points thinned out"),
        (lambda s: detect(s, latency_ms=101.0), WARN, "p99 latency above 100 ms"),
        (lambda s: s.time_jumped(), WARN, "stamps went backwards"),
    ],
)
def test_an_event_sets_the_level_of_one_report(event: Callable[[FrameStatistics], None], level: bytes, said: str):
    statistics = FrameStatistics()
    detect(statistics, 100)
    report(statistics)
    event(statistics)
    seen = report(statistics)
    assert (seen.level, said in seen.message) == (level, True), seen.message
    assert report(statistics).level == OK, "a report is about what happened since the last"


def test_fewer_sweeps_are_no_fault_while_they_are_gathered():
    statistics = FrameStatistics()
    detect(statistics, 1, num_sweeps=1)
    detect(statistics, 1, num_sweeps=2)
    assert report(statistics).level == OK
    statistics.time_jumped()
    report(statistics)
    detect(statistics, 2, num_sweeps=1)
    assert report(statistics).level == OK


def test_figures():
    statistics = FrameStatistics()
    detect(statistics, 10)
    statistics.received(replaced=True)
    statistics.rejected("no")
    values = {pair.key: pair.value for pair in report(statistics).values}
    assert values["frames_in"] == "11"
    assert (values["frames_detected"], values["frames_dropped"], values["frames_rejected"]) == ("10", "1", "1")
    assert (values["latency_ms_p50"], values["latency_ms_p99"]) == ("20.0", "20.0")
    assert (values["sweeps_used"], values["non_finite_share"], values["overflow"]) == ("3", "0.2500", "none")
    assert (values["model_sha256"], values["provider"]) == (MODEL.sha256, MODEL.device)
    assert float(values["rate_hz"]) > 0


def test_a_new_activation_starts_from_nothing():
    statistics = FrameStatistics()
    detect(statistics, latency_ms=500)
    statistics.rejected("no")
    statistics.reset()
    seen = report(statistics)
    assert seen.level == OK
    assert {pair.key: pair.value for pair in seen.values}["frames_in"] == "0"


def test_a_model_that_did_not_load_is_an_error_until_it_does():
    assert report(FrameStatistics(), configure_problem="not configured: corrupt").level == ERROR


def test_silence_names_the_hint(monkeypatch: pytest.MonkeyPatch):
    statistics = FrameStatistics()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 5)
    seen = report(statistics)
    assert (seen.level, seen.message) == (WARN, "no cloud for 5 s: check the driver")
