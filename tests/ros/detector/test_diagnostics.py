"""The rules of /diagnostics: which event gives which level."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.pointcloud.guard import GuardedPoints
from lidarloop_ros.detector.cloud_health import CloudHealth
from lidarloop_ros.detector.cloud_statistics import CloudStatistics
from lidarloop_ros.detector.diagnostics import Limits, ModelInfo, Report, status
from lidarloop_ros.detector.pipeline import CloudResult
from tests.builders import make_spec

SPEC = make_spec(
    name="pillars",
    class_names=("car",),
    x_range_m=(-40.0, 40.0),
    y_range_m=(-40.0, 40.0),
    z_range_m=(-5.0, 5.0),
    cell_size_m=(2.0, 2.0),
    max_points_per_pillar=8,
    max_pillars=1600,
    max_detections=20,
    lidar_height_m=1.8,
)
MODEL = ModelInfo(SPEC, "ab" * 32, "onnxruntime CPUExecutionProvider")
OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE


def frame(num_sweeps: int = 3, num_points: int = 2000, **changes: Any) -> CloudResult:
    newest = np.zeros((num_points, 4), np.float32)
    received = GuardedPoints(newest, num_no_return=0, num_no_position=num_points // 3)
    known = {"received": received, "overflow": "", "motion_problem": "", "missing_column": ""}
    return CloudResult(
        found=Boxes3D.empty(("car",)),
        stage_ms={},
        num_sweeps=num_sweeps,
        num_points=3 * num_points,
        newest_points=newest,
        columns=("x", "y", "z", "intensity"),
        **{**known, **changes},
    )


def received(num_points: int = 2000, **numbers: Any) -> GuardedPoints:
    return GuardedPoints(np.zeros((num_points, 4), np.float32), **numbers)


def report(statistics: CloudStatistics, **given: Any) -> DiagnosticStatus:
    seen = Report(
        state="active",
        active=True,
        statistics=statistics.report(),
        **{"model": MODEL, "silence_hint": "check the driver", **given},
    )
    return status(seen, name="lidar_detector", hardware_id="host")


def detect(
    statistics: CloudStatistics, num_frames: int = 5, latency_ms: float = 20.0, age_ms: float = 30.0, **changes: Any
) -> None:
    for _ in range(num_frames):
        statistics.received()
        statistics.detected(frame(**changes), latency_ms, age_ms, num_sweeps_expected=3)


def health(low: float = 0.0, high: float = 255.0, height_m: float | None = 1.8) -> CloudHealth:
    return CloudHealth((low, (low + high) / 2, high), height_m)


def test_the_number_of_sweeps_is_that_of_the_cloud_that_lacked_some() -> None:
    statistics = CloudStatistics()
    detect(statistics, num_frames=5)
    detect(statistics, num_frames=1, num_sweeps=1)
    detect(statistics, num_frames=1, num_sweeps=2)
    detect(statistics, num_frames=3)
    assert "1 of the 3 sweeps" in report(statistics).message
    detect(statistics)
    assert report(statistics).level == OK


@pytest.mark.parametrize(
    ("event", "level", "said"),
    [
        (lambda s: None, OK, "active"),
        (lambda s: s.replaced(1), WARN, "clouds dropped (1): the detector is slower"),
        (lambda s: s.refused("duplicate"), WARN, "clouds dropped (1): duplicate"),
        (lambda s: s.without_motion("no odometry"), WARN, "clouds dropped (1): no odometry"),
        (lambda s: s.retried("out of memory"), WARN, "inference repeated (1): out of memory"),
        (lambda s: s.rejected("cloud lacks field x"), ERROR, "cloud lacks field x"),
        (lambda s: s.failed("KeyError: 1"), ERROR, "KeyError: 1"),
        (lambda s: detect(s, motion_problem="no odometry", num_sweeps=1), WARN, "single sweep: no odometry"),
        (lambda s: detect(s, num_sweeps=2), WARN, "2 of the 3 sweeps"),
        (lambda s: detect(s, overflow="17 points thinned out"), WARN, "17 points thinned out"),
        (lambda s: detect(s, latency_ms=101.0), WARN, "p99 latency above 100 ms"),
        (lambda s: detect(s, age_ms=201.0), WARN, "up to 201 ms old"),
        (lambda s: detect(s, received=received(num_no_position=3000)), WARN, "60% of a cloud's points"),
        (lambda s: detect(s, received=received(num_no_return=3000)), OK, "active"),
        (lambda s: detect(s, received=received(num_clamped=1, problem="1 points clamped")), WARN, "1 points clamped"),
        (lambda s: detect(s, received=received(num_not_finite=1, problem="vx is NaN")), WARN, "vx is NaN"),
        (lambda s: detect(s, missing_column="no intensity"), WARN, "no intensity"),
        (lambda s: detect(s, num_points=199), WARN, "199 points, usually 2000"),
        (lambda s: detect(s, num_points=201), OK, "active"),
        (lambda s: s.inspected(health()), OK, "active"),
        (lambda s: s.inspected(health(7, 7)), WARN, "intensity is flat, every point has 7"),
        (lambda s: s.inspected(health(0, 0)), WARN, "intensity is flat, every point has 0"),
        (lambda s: s.inspected(health(0, 1)), WARN, "trained on 0 to 255"),
        (lambda s: s.inspected(health(height_m=0.9)), WARN, "0.90 m below the LiDAR"),
        (lambda s: s.inspected(health(height_m=None)), OK, "active"),
        (lambda s: s.time_jumped(), WARN, "time went backwards"),
        (lambda s: s.mixed_clocks("clouds of two clocks"), WARN, "clouds of two clocks"),
    ],
)
def test_an_event_sets_the_level_of_one_report(
    event: Callable[[CloudStatistics], None], level: bytes, said: str
) -> None:
    statistics = CloudStatistics()
    detect(statistics, 100)
    report(statistics)
    event(statistics)
    seen = report(statistics)
    assert (seen.level, said in seen.message) == (level, True), seen.message
    assert report(statistics).level == OK, "a report is about what happened since the last"


def test_fewer_sweeps_are_no_fault_while_they_are_gathered() -> None:
    statistics = CloudStatistics()
    detect(statistics, 1, num_sweeps=1)
    detect(statistics, 1, num_sweeps=2)
    assert report(statistics).level == OK
    statistics.time_jumped()
    report(statistics)
    detect(statistics, 2, num_sweeps=1)
    assert report(statistics).level == OK


def test_the_fewest_sweeps_of_a_period_are_told_though_later_clouds_have_all() -> None:
    statistics = CloudStatistics()
    detect(statistics, 10)
    for num_sweeps in (3, 2, 1, 2, 3):
        detect(statistics, 1, num_sweeps=num_sweeps)
    assert report(statistics).message == "1 of the 3 sweeps the model was trained with"
    detect(statistics, 5)
    assert report(statistics).level == OK


def test_the_status_holds_all_figures() -> None:
    statistics = CloudStatistics()
    detect(statistics, 9)
    detect(statistics, 1, received=received(1200, num_no_return=400, num_no_position=300, num_not_finite=100,
                                            num_clamped=7))  # fmt: skip
    statistics.received()
    statistics.replaced(1)
    statistics.rejected("no")
    statistics.inspected(health(1, 200, None))
    values = {pair.key: pair.value for pair in report(statistics).values}
    assert values["frames_in"] == "11"
    assert (values["frames_detected"], values["frames_dropped"], values["frames_rejected"]) == ("10", "1", "1")
    assert (values["latency_ms_p50"], values["latency_ms_p99"]) == ("20.0", "20.0")
    assert (values["sweeps_used"], values["non_finite_share"], values["overflow"]) == ("3", "0.1500", "none")
    assert (values["no_return_share"], values["points_not_finite"], values["points_clamped"]) == ("0.2000", "100", "7")
    assert (values["model_sha256"], values["provider"]) == (MODEL.sha256, MODEL.device)
    assert float(values["rate_hz"]) > 0
    assert values["age_ms_max"] == "30.0"
    assert (values["intensity"], values["ground_height_m"]) == ("1 to 200, median 100.5", "unknown")
    assert values["training_intensity"] == "unknown"


def test_a_new_activation_starts_from_nothing() -> None:
    statistics = CloudStatistics()
    detect(statistics, latency_ms=500)
    statistics.rejected("no")
    statistics.reset()
    seen = report(statistics)
    assert seen.level == OK
    assert {pair.key: pair.value for pair in seen.values}["frames_in"] == "0"


def test_a_model_that_did_not_load_is_an_error_until_it_does() -> None:
    assert report(CloudStatistics(), configure_problem="not configured: corrupt").level == ERROR


@pytest.mark.parametrize(("silent_s", "level"), [(2, WARN), (6, STALE)])
def test_silence_names_the_hint(monkeypatch: pytest.MonkeyPatch, silent_s: float, level: bytes) -> None:
    statistics = CloudStatistics()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + silent_s)
    seen = report(statistics)
    assert (seen.level, seen.message) == (level, f"no cloud for {silent_s} s: check the driver")


def test_missing_ego_motion_becomes_an_error_and_ends_with_the_first_pose(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = CloudStatistics()
    now = time.monotonic()
    limits = Limits(motion_error_after_s=3.0)
    for after_s, level in ((0, WARN), (2, WARN), (3, ERROR), (4, ERROR)):
        monkeypatch.setattr(time, "monotonic", lambda after_s=after_s: now + after_s)
        detect(statistics, motion_problem="no odometry", num_sweeps=1)
        seen = report(statistics, limits=limits)
        assert (seen.level, "no odometry" in seen.message) == (level, True)
    detect(statistics)
    assert report(statistics, limits=limits).level == OK
    detect(statistics, motion_problem="no odometry", num_sweeps=1)
    assert report(statistics, limits=limits).level == WARN


def test_a_rate_below_the_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = CloudStatistics()
    now = time.monotonic()
    for after_s, num_frames, level in ((1, 10, OK), (2, 8, OK), (3, 7, WARN)):
        detect(statistics, num_frames)
        monkeypatch.setattr(time, "monotonic", lambda after_s=after_s: now + after_s)
        statistics._period_began_s = now + after_s - 1
        statistics._last_cloud_s = now + after_s
        assert report(statistics, limits=Limits(expected_rate_hz=10.0)).level == level


@pytest.mark.parametrize(("high", "said"), [(100.0, ""), (30.0, "below 15"), (300.0, "above 150")])
def test_intensity_unlike_in_training_is_a_warning(high: float, said: str) -> None:
    deciles = (0.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 120.0, 255.0)
    model = dataclasses.replace(MODEL, spec=dataclasses.replace(SPEC, training_intensity=deciles))
    statistics = CloudStatistics()
    statistics.inspected(health(0.0, high))
    seen = report(statistics, model=model)
    assert (seen.level, said in seen.message) == (WARN if said else OK, True), seen.message


def test_clouds_in_the_vehicles_frame_are_named_as_such() -> None:
    statistics = CloudStatistics()
    statistics.inspected(health(height_m=0.04))
    assert "0.04 m below the LiDAR, the model was trained at 1.80 m: are the clouds in the vehicle's frame?" in (
        report(statistics).message
    )


@pytest.mark.parametrize(
    ("given", "level"),
    [
        ({"input_problems": ["/driver cannot be received"]}, ERROR),
        ({"backend_problem": "the node ends: out of memory"}, ERROR),
        ({"output_problems": ["/rviz receives nothing"]}, WARN),
        ({"load_problem": "model not taken: corrupt"}, WARN),
        ({"clock_problem": "stamps are 900 days behind"}, WARN),
    ],
)
def test_problems_around_the_clouds_set_the_level(given: dict[str, Any], level: bytes) -> None:
    seen = report(CloudStatistics(), **given)
    (said,) = given.values()
    assert (seen.level, seen.message) == (level, said if isinstance(said, str) else said[0])
