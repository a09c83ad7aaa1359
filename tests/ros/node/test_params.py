"""Parameters: overrides that cannot be used refuse to configure, and name the remedy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import DescribeParameters, SetParametersAtomically
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from lidarloop_ros.detector.node import LidarDetector
from lidarloop_ros.detector.params import DetectorParams
from lidarloop_ros.replay.node_process import NodeError, isolated_node
from tests.ros.conftest import Robot


def params_file(tmp_path: Path, values: dict[str, Any], node: str = "lidar_detector") -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({node: {"ros__parameters": values}}))
    return path


@pytest.mark.fault("parameters")
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"score_treshold": 0.3}, "did you mean 'score_threshold'"),
        ({"score_threshold": float("nan")}, "parameter 'score_threshold': received nan"),
        ({"score_threshold": 1.5}, "expected a float from 0.0 to 1.0"),
        ({"score_threshold": 1}, "received 1 (int); expected a float"),
        ({"num_threads": "two"}, "expected a int"),
        ({"providers": []}, "parameter 'providers': received no value or an empty list; expected a list of strings"),
        ({"missing_intensity": []}, "parameter 'missing_intensity': received no value or an empty list"),
        ({"non_finite_warn_share": []}, "expected a float from 0.0 to 1.0"),
        ({"motion_source": "gps"}, "expected one of odometry, tf, pose, twist, twist_imu, none"),
        ({"providers": ["NoSuchExecutionProvider"]}, "NoSuchExecutionProvider"),
        ({"qos_overrides": {"/lidar_detector/input/pionts": {"subscription": {"depth": 2}}}}, "did you mean 'qos_over"),
    ],
)
def test_a_bad_override_refuses_to_configure(
    make_model: Callable[..., Path], tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    path = params_file(tmp_path, {"model": str(make_model()), **values})
    with isolated_node("observer") as observer:
        node = LidarDetector(context=observer.context, cli_args=["--ros-args", "--params-file", str(path)])
        try:
            assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
            assert said in node.configure_problem
            assert "Traceback" not in node.configure_problem
        finally:
            node.destroy_node()


def test_a_good_file_is_used(
    start_robot: Callable[..., Robot], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    qos = {"/lidar_detector/input/points": {"subscription": {"reliability": "reliable", "depth": 2}}}
    values = {"model": str(make_model()), "score_threshold": 0.5, "publish_markers": False, "qos_overrides": qos}
    robot = start_robot("--params-file", str(params_file(tmp_path, values)))
    robot.bring_up()
    # Three points of eight score 3/8, five of eight 5/8.
    points = [[0.5, 0.5, 0, 1]] * 3 + [[8.5, 8.5, 0, 1]] * 5
    _, boxes = robot.ask(robot.cloud(points, 1_000_000_000))
    assert boxes.scores.tolist() == [5 / 8]
    (endpoint,) = robot.node.get_subscriptions_info_by_topic("/lidar_detector/input/points")
    assert endpoint.qos_profile.reliability.name == "RELIABLE"


@pytest.mark.fault("parameters")
def test_live_parameters_take_effect_and_others_are_refused_while_configured(
    any_robot: Robot, make_model: Callable[..., Path]
) -> None:
    robot = any_robot
    robot.reconfigure(model=str(make_model()))
    points = [[0.5, 0.5, 0, 1]] * 3 + [[8.5, 8.5, 0, 1]] * 5
    _, boxes = robot.ask(robot.cloud(points, 1_000_000_000))
    assert sorted(boxes.scores.tolist()) == [3 / 8, 5 / 8]
    robot.detector.set_parameters({"score_threshold": 0.5})
    _, boxes = robot.ask(robot.cloud(points, 2_000_000_000))
    assert boxes.scores.tolist() == [5 / 8]
    for name, value in (("base_frame", "base"), ("motion_source", "tf"), ("max_points", 5_000)):
        with pytest.raises(NodeError, match="clean the node up first"):
            robot.detector.set_parameters({name: value})
    for threshold in (float("nan"), -0.1, 1.1):
        with pytest.raises(NodeError, match="refused"):
            robot.detector.set_parameters({"score_threshold": threshold})


@pytest.mark.fault("parameters")
def test_classes_thresholds_and_suppression_change_at_once_or_not_at_all(
    any_robot: Robot, make_model: Callable[..., Path]
) -> None:
    robot = any_robot
    robot.reconfigure(model=str(make_model()))
    names: list[list[str]] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

    def keep_names(message: Any) -> None:
        names.append(json.loads(message.data))

    robot.node.create_subscription(String, "/lidar_detector/class_names", keep_names, latched)
    robot.wait_for(lambda: names, "class names")
    # Points mod 3 is the class, points / 8 the score: two cars 10 m and 30 m away, a pedestrian.
    points = [[10.5, 0.5, 0, 1]] * 3 + [[30.5, 0.5, 0, 1]] * 3 + [[-10.5, 0.5, 0, 1]] * 4
    client = robot.node.create_client(SetParametersAtomically, "/lidar_detector/set_parameters_atomically")

    def change(**values: str) -> SetParametersResult:
        messages = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        return robot.detector.call(client, SetParametersAtomically.Request(parameters=messages)).result

    def published(second: int) -> list[tuple[str, float]]:
        count = len(robot.detections)
        robot.send(robot.cloud(points, second * 1_000_000_000))
        robot.wait_for(lambda: len(robot.detections) > count, "detections")
        found = robot.detections[-1].detections
        return sorted((d.results[0].hypothesis.class_id, round(d.bbox.center.position.x, 3)) for d in found)

    everything = [("car", 10.5), ("car", 30.5), ("pedestrian", -10.5)]
    assert published(1) == everything
    for bad, said in (
        ({"score_thresholds": "car: 0.2 <20, 0.4", "class_remap": "cra: person"}, "'cra'; expected one of the classes"),
        ({"score_thresholds": "car: 0.2 <20, 0.4", "nms_ious": "car: 1.5"}, "from 0 to 1"),
        ({"score_thresholds": "car: 0.2 <20", "class_remap": "pedestrian: person"}, "expected a number"),
    ):
        result = change(**bad)
        assert not result.successful
        assert said in result.reason
        assert robot.detector.parameters()["score_thresholds"] == ""
    assert published(2) == everything

    assert change(score_thresholds="car: 0.2 <20, 0.4", class_remap="pedestrian: person").successful
    assert published(3) == [("car", 10.5), ("person", -10.5)]
    robot.wait_for(lambda: names[-1] == ["car", "pedestrian", "barrier", "person"], "the new class names")
    assert change(score_thresholds="", class_remap="").successful
    assert published(4) == everything


def test_every_parameter_is_described(any_robot: Robot) -> None:
    robot = any_robot
    names = [field.name for field in dataclasses.fields(DetectorParams)]
    client = robot.node.create_client(DescribeParameters, "/lidar_detector/describe_parameters")
    descriptors = robot.detector.call(client, DescribeParameters.Request(names=names)).descriptors
    assert all(d.description and d.additional_constraints for d in descriptors)
    assert set(robot.detector.parameters()) == set(names)
