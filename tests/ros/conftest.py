"""Fixtures for tests on real ROS 2: a small model with a closed form, and the node as a process of its own."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here: neither apt's nor the pip wheels")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.messages import (
    boxes_from_cloud,
    cloud_message,
    odometry_message,
    transforms_message,
)
from lidarloop_core.model.model_file import write_model
from lidarloop_ros.detector.params import DetectorParams
from lidarloop_ros.messages.conversions import message_type
from lidarloop_ros.replay.node_process import ManagedNode, NodeProcess, isolated_node
from tests.builders import make_spec
from tests.ros.faults.fault_table import FAULTS
from tests.ros.faults.faults_page import TESTS, marked_tests, render
from tests.ros.networks import CLASS_NAMES, SPECS, mean_of_pillar_onnx, mean_of_voxel_onnx


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults-page", metavar="FILE", help="write the table of faults, with this run's results")


_outcomes: dict[tuple[str, str], set[str]] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    path, _, name = report.nodeid.partition("::")
    if report.when == "call" or report.outcome != "passed":
        name = re.split(r"[\[@]", name)[0]  # without parameters, and without the group that xdist adds
        _outcomes.setdefault((str(Path(path).relative_to(TESTS.name)), name), set()).add(report.outcome)


def pytest_sessionfinish(session: pytest.Session) -> None:
    page = session.config.getoption("--faults-page", default=None)
    if page and not hasattr(session.config, "workerinput"):  # not in xdist's workers, which know only their own
        Path(page).parent.mkdir(parents=True, exist_ok=True)
        Path(page).write_text(render(FAULTS, marked_tests(), _outcomes))


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``make_model(on="pillars", busy_layers=0, **spec_changes)`` → path of a sealed model on pillars or voxels."""
    made: dict[str, Path] = {}

    def make(*, on: str = "pillars", busy_layers: int = 0, **changes: Any) -> Path:
        key = f"{on} {busy_layers} {sorted(changes.items())}"
        if key not in made:
            spec = make_spec(SPECS[on], **changes)
            made[key] = tmp_path_factory.mktemp("model") / "model.onnx"
            network = mean_of_voxel_onnx(spec) if on == "voxels" else mean_of_pillar_onnx(spec, busy_layers=busy_layers)
            write_model(made[key], network, spec)
        return made[key]

    return make


class Robot:
    """The other side of the node under test: publishes clouds, odometry and TF, and keeps what the node says."""

    def __init__(self, node: Node, process: NodeProcess, name: str = "/lidar_detector") -> None:
        self.node = node
        self.process = process
        self.name = name
        self.detections: list[Detection3DArray] = []
        self.box_clouds: list[PointCloud2] = []
        self.statuses: list[DiagnosticStatus] = []
        self._statuses_before_send = 0
        self._points = node.create_publisher(PointCloud2, f"{name}/input/points", 10)
        self._odometry = node.create_publisher(Odometry, f"{name}/input/odometry", 50)
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._static = node.create_publisher(TFMessage, "/tf_static", latched)
        self._tf = node.create_publisher(TFMessage, "/tf", 100)
        node.create_subscription(Detection3DArray, f"{name}/detections", self.detections.append, 100)
        node.create_subscription(PointCloud2, f"{name}/boxes", self.box_clouds.append, 100)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._keep_statuses, 100)
        # Last: when its last client is answered, the node has heard of all the above too, and no first message is lost.
        self.detector = ManagedNode(node, process, name)

    def _keep_statuses(self, message: Any) -> None:
        self.statuses.extend(message.status)

    def bring_up(self, **parameters: Any) -> None:
        """Configures and activates, then waits until the node listens. The stamps here are of no clock."""
        self.detector.set_parameters({"max_age_s": 0.0} | parameters)
        self.detector.configure()
        self.detector.activate()
        self.wait_for(lambda: self._points.get_subscription_count() > 0, "a subscriber of clouds")
        self.wait_for(lambda: self.node.count_publishers(f"{self.name}/boxes") > 0, "a publisher of boxes")

    def reconfigure(self, **parameters: Any) -> None:
        """Brings the node up anew, from its defaults: as good as a new process, and much quicker."""
        if self.detector.state().label == "active":
            assert self.detector.transition(Transition.TRANSITION_DEACTIVATE)
        if self.detector.state().label == "inactive":
            assert self.detector.transition(Transition.TRANSITION_CLEANUP)
        # What the node has destroyed must be gone here too, or its successor is taken for it.
        self.wait_for(lambda: self._points.get_subscription_count() == 0, "end of the subscription")
        self.wait_for(lambda: self.node.count_publishers(f"{self.name}/boxes") == 0, "end of the publishers")
        defaults = {field.name: field.default for field in dataclasses.fields(DetectorParams)}
        usable = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
        self.bring_up(**usable | {"max_age_s": 0.0} | parameters)
        self.forget()

    def forget(self) -> None:
        """Everything heard so far."""
        for heard in (self.detections, self.box_clouds, self.statuses):
            heard.clear()
        self._statuses_before_send = 0

    @staticmethod
    def cloud(points: npt.ArrayLike, stamp: int, frame_id: str = "lidar_top") -> PointCloud2:
        """A cloud of (x, y, z, intensity) points."""
        values = np.asarray(points, np.float32).reshape(-1, 4)
        columns = {name: values[:, i] for i, name in enumerate(("x", "y", "z", "intensity"))}
        return cloud_message(columns, stamp, frame_id, message_type)

    def send(self, msg: PointCloud2) -> None:
        self._statuses_before_send = len(self.statuses)
        self._points.publish(msg)

    def ask(self, msg: PointCloud2) -> tuple[Detection3DArray, Boxes3D]:
        """Sends a cloud and waits for both forms of its detections."""
        count = len(self.box_clouds)
        self.send(msg)
        self.wait_for(lambda: len(self.box_clouds) > count and len(self.detections) > count, "detections")
        return self.detections[count], boxes_from_cloud(self.box_clouds[count], CLASS_NAMES)[0]

    def send_odometry(self, stamp: int, odom_SE3_base: SE3, child_frame_id: str = "base_link") -> None:
        self._odometry.publish(
            odometry_message(odom_SE3_base, (0, 0, 0), (0, 0, 0), stamp, message_type, child_frame_id=child_frame_id)
        )

    def send_static_transform(self, parent: str, child: str, parent_SE3_child: SE3) -> None:
        self._static.publish(transforms_message([(parent, child, parent_SE3_child)], 0, message_type))

    def send_transform(self, stamp: int, parent: str, child: str, parent_SE3_child: SE3) -> None:
        self._tf.publish(transforms_message([(parent, child, parent_SE3_child)], stamp, message_type))

    def wait_for_odometry_subscriber(self) -> None:
        self.wait_for(lambda: self._odometry.get_subscription_count() > 0, "a subscriber of odometry")

    def wait_for_transform_subscriber(self) -> None:
        self.wait_for(lambda: self._tf.get_subscription_count() > 0, "a subscriber of /tf")

    def reported(self, level: bytes, part: str) -> DiagnosticStatus:
        """The diagnostic of that level, with ``part`` in its message, since the last cloud was sent."""
        return self.status_since_send(
            lambda s: s.level == level and part in s.message, f"diagnostic of level {level!r} with '{part}'"
        )

    def status_since_send(self, condition: Callable[[DiagnosticStatus], bool], what: str) -> DiagnosticStatus:
        """The first diagnostic since the last cloud was sent that fulfils ``condition``: for what is said once.

        The report about that cloud may have come while its detections were waited for.
        """
        return self._first_status(condition, what, self._statuses_before_send)

    def status_where(self, condition: Callable[[DiagnosticStatus], bool], what: str) -> DiagnosticStatus:
        """The first diagnostic from now on that fulfils ``condition``: for what lasts longer than one report."""
        return self._first_status(condition, what, len(self.statuses))

    def stream_until(
        self, condition: Callable[[DiagnosticStatus], bool], what: str, cloud: Callable[[int], PointCloud2]
    ) -> DiagnosticStatus:
        """Sends ``cloud(0)``, ``cloud(1)`` … until a diagnostic from now on fulfils ``condition``."""
        start, num_sent, due_s = len(self.statuses), 0, 0.0
        found: list[DiagnosticStatus] = []

        def look() -> bool:
            nonlocal num_sent, due_s
            if time.monotonic() > due_s:
                self.send(cloud(num_sent))
                num_sent, due_s = num_sent + 1, time.monotonic() + 0.1
            found.extend(status for status in self.statuses[start:] if condition(status))
            return bool(found)

        self.wait_for(look, what)
        return found[0]

    def _first_status(self, condition: Callable[[DiagnosticStatus], bool], what: str, start: int) -> DiagnosticStatus:
        found: list[DiagnosticStatus] = []

        def look() -> bool:
            found.extend(status for status in self.statuses[start:] if condition(status))
            return bool(found)

        self.wait_for(look, what)
        return found[0]

    def wait_for(self, condition: Callable[[], object], what: str, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.process.require_alive()
            if time.monotonic() > deadline:
                said = [f"{status.level!r} {status.message}" for status in self.statuses[-3:]]
                pytest.fail(f"no {what} within {timeout_s} s; diagnostics {said}; log:\n{self.process.log_tail(20)}")
            time.sleep(0.002)


on_both_grids = pytest.mark.parametrize("running_robot", ["pillars", "voxels"], indirect=True)
"""For tests that take ``active_robot``."""


@pytest.fixture(scope="module")
def running_robot(request: pytest.FixtureRequest, make_model: Callable[..., Path]) -> Iterator[Robot]:
    """A node that is active with the plain model, shared by the tests of a module; take ``active_robot``."""
    with isolated_node("shared_robot") as node, NodeProcess("lidarloop_ros.detector.node") as process:
        robot = Robot(node, process)
        robot.bring_up(model=str(make_model(on=getattr(request, "param", "pillars"))))
        yield robot


@pytest.fixture
def active_robot(running_robot: Robot) -> Robot:
    """The shared node, activated afresh: its counts begin at nothing."""
    assert running_robot.detector.transition(Transition.TRANSITION_DEACTIVATE)
    running_robot.detector.set_parameters({"score_threshold": 0.1})
    running_robot.forget()
    assert running_robot.detector.transition(Transition.TRANSITION_ACTIVATE)
    return running_robot


@pytest.fixture
def start_robot() -> Iterator[Callable[..., Robot]]:
    """``start_robot(*ros_arguments)`` → the node, unconfigured, in a process of its own, with a robot around it."""
    with ExitStack() as stack:

        def start(*arguments: str) -> Robot:
            node = stack.enter_context(isolated_node("robot"))
            process = stack.enter_context(NodeProcess("lidarloop_ros.detector.node", arguments))
            return Robot(node, process)

        yield start


@pytest.fixture(scope="module")
def any_robot(make_model: Callable[..., Path]) -> Iterator[Robot]:
    """A node, shared by the tests of a module, each of which begins with ``reconfigure``."""
    with isolated_node("robot") as node, NodeProcess("lidarloop_ros.detector.node") as process:
        yield Robot(node, process)


@pytest.fixture
def robot(start_robot: Callable[..., Robot]) -> Robot:
    return start_robot()
