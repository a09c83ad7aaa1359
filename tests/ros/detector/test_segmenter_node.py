"""The node with a segmenter over DDS: the labelled cloud in the place of boxes, and the same care for faults."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String
from std_srvs.srv import Trigger

from lidarloop_core.inference.segmenter import NO_LABEL
from lidarloop_core.io.messages import stamp_ns
from lidarloop_core.model.model_file import write_model
from lidarloop_core.pointcloud.decode import decode_cloud
from lidarloop_core.pointcloud.grid import VoxelGrid
from lidarloop_ros.replay.node_process import NodeError, NodeProcess, isolated_node
from tests.builders import VOXEL_SEGMENTER, by_intensity_onnx, make_spec
from tests.core.voxel_network import STREET_POINTS, voxel_network
from tests.ros.conftest import Robot
from tests.ros.networks import SPEC as DETECTOR_SPEC
from tests.ros.networks import mean_of_pillar_onnx

SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND
WARN, ERROR = DiagnosticStatus.WARN, DiagnosticStatus.ERROR
CLASS_NAMES = ("road", "wall", "tree")
SPEC = dataclasses.replace(VOXEL_SEGMENTER, class_names=CLASS_NAMES, num_sweeps=1)
THREE_POINTS = [[5.1, 3.1, 0.0, 10], [5.2, 3.2, 0.5, 120], [-7.5, 2.5, 0.0, 230]]


def write_segmenter(path: Path, **changes: Any) -> Path:
    spec = make_spec(SPEC, **changes)
    write_model(path, by_intensity_onnx(spec), spec)
    return path


class SegmenterRobot(Robot):
    """A ``Robot`` that listens to the labelled clouds."""

    def __init__(self, node: Node, process: NodeProcess) -> None:
        self.labelled: list[PointCloud2] = []
        self.class_names: list[list[str]] = []
        node.create_subscription(PointCloud2, "/lidar_detector/points/labelled", self.labelled.append, 100)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, "/lidar_detector/class_names", self._keep_class_names, latched)
        super().__init__(node, process)

    def _keep_class_names(self, msg: Any) -> None:
        self.class_names.append(json.loads(msg.data))

    def bring_up(self, **parameters: Any) -> None:
        self.detector.set_parameters({"max_age_s": 0.0} | parameters)
        self.detector.configure()
        self.detector.activate()
        self.wait_for(lambda: self._points.get_subscription_count() > 0, "a subscriber of clouds")
        self.wait_for(lambda: self.node.count_publishers(f"{self.name}/points/labelled") > 0, "a publisher")

    def label(self, msg: PointCloud2) -> tuple[PointCloud2, npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Sends a cloud and waits for its labels and scores, both (N,)."""
        count = len(self.labelled)
        self.send(msg)
        self.wait_for(lambda: len(self.labelled) > count, "a labelled cloud")
        found = decode_cloud(self.labelled[count])
        return self.labelled[count], found["label"], found["score"]


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SegmenterRobot]:
    """A node that is active with the segmenter, shared by the tests of the module."""
    model = write_segmenter(tmp_path_factory.mktemp("model") / "model.onnx")
    with isolated_node("robot") as node, NodeProcess("lidarloop_ros.detector.node") as process:
        robot = SegmenterRobot(node, process)
        robot.bring_up(model=str(model))
        yield robot


@pytest.fixture(autouse=True)
def _as_activated(robot: SegmenterRobot) -> None:
    robot.forget()
    robot.labelled.clear()


def test_points_carry_the_models_labels_under_the_clouds_header(robot: SegmenterRobot) -> None:
    stamp = T0 + 123_456_789
    msg, labels, scores = robot.label(robot.cloud(THREE_POINTS, stamp))
    assert (stamp_ns(msg.header), msg.header.frame_id) == (stamp, "lidar_top")
    assert [field.name for field in msg.fields] == ["x", "y", "z", "intensity", "label", "score"]
    assert (labels.dtype, scores.dtype) == (np.uint8, np.float32)
    assert labels.tolist() == [0, 1, 2]
    np.testing.assert_allclose(scores, np.array([10, 120, 230]) / 255, rtol=1e-6)
    found = decode_cloud(msg)
    for place, name in enumerate(("x", "y", "z", "intensity")):
        np.testing.assert_array_equal(found[name], np.array(THREE_POINTS, np.float32)[:, place])
    robot.wait_for(lambda: robot.class_names, "class names")
    assert robot.class_names[-1] == list(CLASS_NAMES)
    assert not robot.detections
    status = robot.status_where(
        lambda s: any(pair.key == "num_labelled" and pair.value == "3" for pair in s.values), "number of labels"
    )
    assert not [pair for pair in status.values if pair.key == "num_boxes"]


def test_points_out_of_range_have_no_label(robot: SegmenterRobot) -> None:
    far = [[60.0, 0, 0, 120], *THREE_POINTS[1:]]
    _, labels, scores = robot.label(robot.cloud(far, T0 + SECOND))
    assert labels.tolist() == [NO_LABEL, 1, 2]
    assert scores[0] == 0
    _, labels, _ = robot.label(robot.cloud(far[:1], T0 + 2 * SECOND))
    assert labels.tolist() == [NO_LABEL]


@pytest.mark.fault("empty_cloud")
def test_an_empty_cloud_is_answered_with_an_empty_cloud(robot: SegmenterRobot) -> None:
    msg, labels, _ = robot.label(robot.cloud([], T0 + 3 * SECOND))
    assert (stamp_ns(msg.header), msg.width, len(labels)) == (T0 + 3 * SECOND, 0, 0)


@pytest.mark.fault("not_finite")
def test_points_that_are_not_finite_are_left_out_and_reported(robot: SegmenterRobot) -> None:
    bad = [[np.nan, 0, 0, 120], *THREE_POINTS[1:], [1, 1, 0, np.nan]]
    msg, labels, _ = robot.label(robot.cloud(bad, T0 + 4 * SECOND))
    assert labels.tolist() == [1, 2]
    assert msg.is_dense
    robot.reported(WARN, "intensity is NaN or infinite")


@pytest.mark.fault("undecodable")
def test_a_cloud_without_intensity_is_rejected_and_the_next_answered(robot: SegmenterRobot) -> None:
    msg = robot.cloud(THREE_POINTS, T0 + 5 * SECOND)
    msg.fields[3].name = "reflectance"
    robot.send(msg)
    robot.reported(ERROR, "cloud lacks field intensity")
    _, labels, _ = robot.label(robot.cloud(THREE_POINTS, T0 + 6 * SECOND))
    assert labels.tolist() == [0, 1, 2]


@pytest.mark.fault("capacity")
def test_capacity_overflow_is_warned_and_the_rest_answered(robot: SegmenterRobot) -> None:
    x, y = np.meshgrid(np.arange(-9.4, 9.6, 0.4), np.arange(-6.2, 6.4, 0.4))
    layer = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size), np.full(x.size, 120)])
    crowd = np.concatenate([layer + np.array([0, 0, z, 0]) for z in (0.25, 0.75)])
    _, labels, scores = robot.label(robot.cloud(crowd, T0 + 7 * SECOND))
    assert np.count_nonzero(labels == 1) == 1500
    assert np.count_nonzero(labels == NO_LABEL) == len(crowd) - 1500
    assert ((scores == 0) == (labels == NO_LABEL)).all()
    robot.reported(WARN, "voxels at level 0, the model takes 1500")


@pytest.mark.fault("capacity")
@pytest.mark.parametrize("level", [1, 2])
def test_overflow_below_the_first_level_is_warned_and_every_point_answered(
    robot: SegmenterRobot, tmp_path: Path, level: int
) -> None:
    """By a network whose labels depend on every table."""
    assert isinstance(STREET_POINTS.grid, VoxelGrid)
    levels = list(STREET_POINTS.grid.levels)
    levels[level - 1] = dataclasses.replace(levels[level - 1], capacity=100)
    spec = make_spec(STREET_POINTS, class_names=CLASS_NAMES, num_sweeps=1, capacity=3000, levels=tuple(levels))
    write_model(tmp_path / "model.onnx", voxel_network(spec), spec)
    before = robot.detector.parameters()["model"]
    crowd = np.random.default_rng(0).uniform((-50, -50, -4, 0), (50, 50, 2, 200), (2000, 4))
    try:
        answer = load(robot, tmp_path / "model.onnx")
        assert answer.success, answer.message
        _, labels, _ = robot.label(robot.cloud(crowd, T0 + (7 + level) * SECOND))
        assert len(labels) == 2000
        assert NO_LABEL not in labels
        robot.reported(WARN, f"voxels at level {level}, the model takes 100")
    finally:
        load(robot, Path(before))


def test_a_detector_takes_a_segmenters_place_after_a_cleanup_alone(robot: SegmenterRobot, tmp_path: Path) -> None:
    segmenter = robot.detector.parameters()["model"]
    spec = dataclasses.replace(DETECTOR_SPEC, class_names=CLASS_NAMES)
    write_model(tmp_path / "detector.onnx", mean_of_pillar_onnx(spec), spec)
    clean_up(robot)
    Robot.bring_up(robot, model=str(tmp_path / "detector.onnx"))
    detections, _ = robot.ask(robot.cloud(THREE_POINTS, T0 + 20 * SECOND))
    assert len(detections.detections) == 2
    clean_up(robot)
    robot.bring_up(model=segmenter)
    _, labels, _ = robot.label(robot.cloud(THREE_POINTS, T0 + 21 * SECOND))
    assert labels.tolist() == [0, 1, 2]


def test_another_segmenter_is_swapped_in_and_a_detector_refused(robot: SegmenterRobot, tmp_path: Path) -> None:
    successor = write_segmenter(tmp_path / "successor.onnx", name="successor")
    answer = load(robot, successor)
    assert answer.success, answer.message
    assert "successor" in answer.message
    _, labels, _ = robot.label(robot.cloud(THREE_POINTS, T0 + 8 * SECOND))
    assert labels.tolist() == [0, 1, 2]

    spec = dataclasses.replace(DETECTOR_SPEC, class_names=CLASS_NAMES)
    write_model(tmp_path / "detector.onnx", mean_of_pillar_onnx(spec), spec)
    robot.detector.set_parameters({"model": str(tmp_path / "detector.onnx")})
    said = "is a model for detection; expected one for segmentation like successor"
    status = robot.status_where(lambda s: s.level == WARN and said in s.message, "a WARN")
    assert "clean the node up and configure it again" in status.message
    robot.wait_for(lambda: robot.detector.parameters()["model"] == str(successor), "the parameter to go back")
    _, labels, _ = robot.label(robot.cloud(THREE_POINTS, T0 + 9 * SECOND))
    assert labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("parameter", ["tracking", "autoware_objects"])
def test_what_needs_boxes_is_refused_with_the_remedy(robot: SegmenterRobot, parameter: str) -> None:
    clean_up(robot)
    robot.detector.set_parameters({parameter: True})
    try:
        with pytest.raises(NodeError, match=f"'{parameter}' received true with .*a model for segmentation"):
            robot.detector.configure()
    finally:
        robot.detector.set_parameters({parameter: False})
        robot.detector.configure()
        robot.detector.activate()
        robot.wait_for(lambda: robot._points.get_subscription_count() > 0, "a subscriber of clouds")


def clean_up(robot: SegmenterRobot) -> None:
    assert robot.detector.transition(Transition.TRANSITION_DEACTIVATE)
    assert robot.detector.transition(Transition.TRANSITION_CLEANUP)
    robot.wait_for(lambda: robot._points.get_subscription_count() == 0, "the end of the subscription")


def load(robot: SegmenterRobot, model: Path) -> Trigger.Response:
    """Names a model, and waits for the outcome of the swap that this begins."""
    robot.detector.set_parameters({"model": str(model)})
    client = robot.node.create_client(Trigger, f"{robot.name}/load_model")
    robot.wait_for(client.service_is_ready, "the service")
    response: Trigger.Response = robot.detector.call(client, Trigger.Request(), timeout_s=20.0)
    return response
