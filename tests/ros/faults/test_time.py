"""What is wrong with time: stamps, clocks, ego-motion. One node, configured anew for each test."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from rosgraph_msgs.msg import Clock

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.messages import stamp_ns
from tests.ros.conftest import Robot

MS = 1_000_000
SECOND = 1_000 * MS
T0 = 1_700_000_000 * SECOND
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
ONE_PILLAR = [[5.1, 3.1, 0.0, 10], [5.2, 3.2, 0.5, 20], [5.3, 3.3, 1.0, 30]]
THREE_SWEEPS = {"num_sweeps": 3, "sweep_interval_s": 0.1}


def figures(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


@pytest.mark.fault("stamps")
def test_stamps_of_zero_the_future_and_long_ago_are_dropped(any_robot: Robot, make_model: Callable[..., Path]) -> None:
    any_robot.reconfigure(model=str(make_model()), max_age_s=30.0)
    now = time.time_ns()
    for i, (stamp, said) in enumerate(
        ((0, "stamp is 0"), (now - 100 * SECOND, "stale: stamped 10"), (now + 100 * SECOND, "from the future: stamped"))
    ):
        any_robot.send(any_robot.cloud(ONE_PILLAR, stamp))
        status = any_robot.reported(WARN, said)
        assert figures(status)["frames_refused"] == str(i + 1)
    assert not any_robot.detections
    any_robot.ask(any_robot.cloud(ONE_PILLAR, time.time_ns()))
    assert float(figures(any_robot.status_where(lambda s: "age_ms_max" in figures(s), "an age"))["age_ms_max"]) > 0


@pytest.mark.fault("other_clock")
def test_stamps_of_another_clock_are_answered_with_a_warning(any_robot: Robot, make_model: Callable[..., Path]) -> None:
    any_robot.reconfigure(model=str(make_model()), max_age_s=1.0)
    any_robot.ask(any_robot.cloud(ONE_PILLAR, T0))
    any_robot.reported(WARN, "days behind this computer's clock")


@pytest.mark.fault("duplicate")
def test_a_cloud_that_comes_twice_is_answered_once(any_robot: Robot, make_model: Callable[..., Path]) -> None:
    any_robot.reconfigure(model=str(make_model()))
    any_robot.ask(any_robot.cloud(ONE_PILLAR, T0))
    any_robot.send(any_robot.cloud(ONE_PILLAR, T0))
    any_robot.reported(WARN, "duplicate: the cloud before had the same stamp")
    any_robot.ask(any_robot.cloud(ONE_PILLAR, T0 + SECOND))
    assert [stamp_ns(msg.header) for msg in any_robot.detections] == [T0, T0 + SECOND]


@pytest.mark.fault("time_backward")
def test_simulated_time_that_starts_over_forgets_the_sweeps(
    start_robot: Callable[..., Robot], make_model: Callable[..., Path]
) -> None:
    robot = start_robot("-p", "use_sim_time:=true")
    publisher = robot.node.create_publisher(Clock, "/clock", 10)
    now = [100]
    robot.node.create_timer(0.05, lambda: publisher.publish(Clock(clock=Time(sec=now[0], nanosec=500_000_000))))
    robot.send_static_transform("base_link", "lidar_top", SE3.identity())
    robot.bring_up(model=str(make_model(**THREE_SWEEPS)), max_age_s=30.0)
    robot.wait_for_odometry_subscriber()
    for stamp in (100 * SECOND, 100 * SECOND + 100 * MS):
        robot.send_odometry(stamp, SE3.identity())
        robot.ask(robot.cloud(ONE_PILLAR, stamp))
    robot.status_where(lambda s: figures(s).get("sweeps_used") == "2", "two sweeps merged")
    now[0] = 50
    robot.reported(WARN, "time went backwards")
    robot.send_odometry(50 * SECOND, SE3.identity())
    robot.ask(robot.cloud(ONE_PILLAR, 50 * SECOND))
    robot.status_where(lambda s: figures(s).get("sweeps_used") == "1", "one sweep after the jump")


@pytest.mark.fault("other_clock")
def test_simulated_time_without_a_clock_is_a_warning(
    start_robot: Callable[..., Robot], make_model: Callable[..., Path]
) -> None:
    robot = start_robot("-p", "use_sim_time:=true")
    robot.bring_up(model=str(make_model()), max_age_s=1.0)
    robot.ask(robot.cloud(ONE_PILLAR, T0))
    robot.reported(WARN, "/clock has no publisher")


@pytest.mark.fault("motion")
@pytest.mark.parametrize(("source", "remedy"), [("odometry", "~/input/odometry"), ("tf", "/tf")])
def test_without_motion_clouds_are_dropped_where_that_is_configured(
    any_robot: Robot, make_model: Callable[..., Path], source: str, remedy: str
) -> None:
    any_robot.send_static_transform("base_link", "lidar_top", SE3.identity())
    any_robot.reconfigure(
        model=str(make_model(**THREE_SWEEPS)), motion_source=source, without_motion="drop", motion_error_after_s=3600.0
    )
    any_robot.send(any_robot.cloud(ONE_PILLAR, T0))
    status = any_robot.reported(WARN, "clouds dropped (1)")
    assert remedy in status.message
    assert figures(status)["frames_without_motion"] == "1"
    any_robot.detector.set_parameters({"motion_error_after_s": 0.0})
    any_robot.send(any_robot.cloud(ONE_PILLAR, T0 + 100 * MS))
    status = any_robot.reported(ERROR, "no ego-motion for")
    assert remedy in status.message
    assert not any_robot.detections


@pytest.mark.fault("motion")
def test_services_answer_while_a_cloud_waits_for_its_motion(any_robot: Robot, make_model: Callable[..., Path]) -> None:
    any_robot.send_static_transform("base_link", "lidar_top", SE3.identity())
    any_robot.reconfigure(model=str(make_model(**THREE_SWEEPS)), motion_timeout_s=1.0)
    # On a busy machine a single answer may take longer than the wait itself; it must be quicker once.
    for attempt in range(20):
        answers = len(any_robot.box_clouds)
        any_robot.send(any_robot.cloud(ONE_PILLAR, T0 + attempt * SECOND))
        any_robot.detector.state()
        was_quicker = len(any_robot.box_clouds) == answers
        any_robot.wait_for(lambda: len(any_robot.box_clouds) > answers, "detections")  # noqa: B023
        if was_quicker:
            return
    pytest.fail("the node never answered while it waited")
