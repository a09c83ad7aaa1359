"""What is wrong around the clouds: backend, callbacks, the graph, other nodes, death."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String
from vision_msgs.msg import Detection3DArray

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.messages import stamp_ns
from lidarloop_ros.replay.node_process import NodeProcess, isolated_node
from tests.ros.conftest import Robot
from tests.ros.faults.faulty_node import FAIL_ALWAYS, FAIL_ONCE, FAIL_STRANGELY, RAISE_IN_CALLBACK_M

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def pillar(intensity: float = 10.0) -> list[list[float]]:
    return [[5.1, 3.1, 0.0, 10], [5.2, 3.2, 0.5, 20], [5.3, 3.3, 1.0, intensity]]


@pytest.fixture
def faulty_robot(make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Robot]:
    """An active node in which clouds call up faults; it merges sweeps, so that odometry matters."""
    folder = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH")))))
    with isolated_node("robot") as node, NodeProcess("faulty_node") as process:
        robot = Robot(node, process)
        robot.send_static_transform("base_link", "lidar_top", SE3.identity())
        robot.bring_up(model=str(make_model(num_sweeps=2)))
        robot.wait_for_odometry_subscriber()
        yield robot


@pytest.mark.fault("backend")
@pytest.mark.fault("callback")
def test_backend_and_callbacks_that_raise(faulty_robot: Robot) -> None:
    robot = faulty_robot
    robot.send_odometry(T0, SE3.from_yaw(0.0, (RAISE_IN_CALLBACK_M, 0.0, 0.0)))
    status = robot.status_where(lambda s: s.level == ERROR and "a callback" in s.message, "an ERROR")
    assert "RuntimeError: called up" in status.message
    robot.send_odometry(T0, SE3.identity())
    robot.ask(robot.cloud(pillar(), T0))

    robot.send(robot.cloud(pillar(FAIL_STRANGELY), T0 + 100 * MS))
    robot.reported(ERROR, "KeyError")

    _, boxes = robot.ask(robot.cloud(pillar(FAIL_ONCE), T0 + 200 * MS))
    assert len(boxes) == 1, "the second try gave them"
    robot.reported(WARN, "inference repeated (1): out of memory")

    heard = len(robot.statuses)
    robot.send(robot.cloud(pillar(FAIL_ALWAYS), T0 + 300 * MS))
    assert robot.process.wait(60.0) == 3, robot.process.log_tail()
    assert "Traceback" not in robot.process.log_tail(3)
    assert "the node ends" in robot.process.log_tail(3)
    errors = [status.message for status in robot.statuses[heard:] if status.level == ERROR]
    assert any("the node ends" in message and "out of memory" in message for message in errors)
    stamps = [stamp_ns(msg.header) for msg in robot.detections]
    assert stamps == [T0, T0 + 200 * MS]


@pytest.mark.fault("death")
def test_a_killed_node_that_is_started_again_detects(make_model: Callable[..., Path]) -> None:
    with isolated_node("robot") as node, ExitStack() as stack:
        first = Robot(node, stack.enter_context(NodeProcess("lidarloop_ros.detector.node")))
        first.bring_up(model=str(make_model()))
        first.ask(first.cloud(pillar(), T0))
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.stop()
        second = Robot(node, stack.enter_context(NodeProcess("lidarloop_ros.detector.node")))
        second.detector.set_parameters({"model": str(make_model()), "max_age_s": 0.0})
        second.detector.configure()
        second.detector.activate()
        # DDS still counts the dead node's endpoints, so whether the new one listens shows only in an answer.
        sent: list[int] = []

        def answered() -> bool:
            if not sent or len(sent) % 50 == 0:
                second.send(second.cloud(pillar(), T0 + (len(sent) + 1) * MS))
            sent.append(0)
            return bool(second.detections)

        second.wait_for(answered, "detections of the new node", 60.0)


@pytest.mark.fault("namespaces")
def test_two_namespaces_do_not_talk_to_each_other(make_model: Callable[..., Path]) -> None:
    with isolated_node("robot") as node, ExitStack() as stack:
        robots = []
        for i, namespace in enumerate(("/front", "/rear")):
            process = stack.enter_context(NodeProcess("lidarloop_ros.detector.node", ["-r", f"__ns:={namespace}"]))
            robot = Robot(node, process, f"{namespace}/lidar_detector")
            robot.bring_up(model=str(make_model()), score_threshold=0.1 * i)
            robots.append(robot)
        for i in range(5):
            for k, robot in enumerate(robots):
                _, boxes = robot.ask(robot.cloud(pillar(), T0 + (2 * i + k) * MS))
                assert len(boxes) == (1 if k else 20), "its own threshold"
        for k, robot in enumerate(robots):
            assert [stamp_ns(msg.header) for msg in robot.detections] == [T0 + (2 * i + k) * MS for i in range(5)]
        both = {"front/lidar_detector", "rear/lidar_detector"}
        robots[0].wait_for(lambda: {s.name for s in robots[0].statuses} == both, "diagnostics of both")


@pytest.mark.fault("mismatch")
@pytest.mark.fault("silence")
def test_publishers_and_subscribers_that_do_not_fit_are_named(
    start_robot: Callable[..., Robot], make_model: Callable[..., Path]
) -> None:
    reliable = "qos_overrides./lidar_detector/input/points.subscription.reliability:=reliable"
    robot = start_robot("-p", reliable)
    node = robot.node
    assert node.destroy_publisher(robot._points)
    robot.detector.set_parameters({"model": str(make_model()), "max_age_s": 0.0})
    robot.detector.configure()
    robot.detector.activate()
    robot.status_where(lambda s: "/lidar_detector/input/points has no publisher" in s.message, "a WARN of silence")

    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    unfit = node.create_publisher(PointCloud2, "/lidar_detector/input/points", best_effort)
    status = robot.status_where(lambda s: s.level == ERROR, "an ERROR")
    assert "/robot cannot be received on /lidar_detector/input/points: reliability: best_effort is offered" in (
        status.message
    )
    assert "qos_overrides./lidar_detector/input/points.subscription" in status.message
    node.destroy_publisher(unfit)
    robot.status_where(lambda s: s.level != ERROR, "the end of the ERROR")

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_subscription(Detection3DArray, "/lidar_detector/detections", lambda _: None, latched)
    robot.status_where(
        lambda s: "/robot receives nothing of /lidar_detector/detections: durability: volatile" in s.message, "a WARN"
    )

    # A publisher of another type has to be in another participant: one DDS participant refuses two types of a name.
    context = Context()
    rclpy.init(args=[], context=context)
    stranger = Node("stranger", context=context, use_global_arguments=False)
    stranger.create_publisher(String, "/lidar_detector/input/points", 1)
    try:
        robot.status_where(
            lambda s: (
                s.level == ERROR
                and "/stranger publishes std_msgs/msg/String on /lidar_detector/input/points, "
                "expected sensor_msgs/msg/PointCloud2"
                in s.message
            ),
            "an ERROR",
        )
    finally:
        stranger.destroy_node()
        rclpy.shutdown(context=context)
