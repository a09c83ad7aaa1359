"""Parameters: overrides that cannot be used refuse to configure, and name the remedy."""

from __future__ import annotations

import dataclasses

import pytest
import yaml
from rcl_interfaces.srv import DescribeParameters
from rclpy.lifecycle import TransitionCallbackReturn

from lidarloop_ros.detector_node import LidarDetector
from lidarloop_ros.node_process import NodeError, isolated_node
from lidarloop_ros.params import DetectorParams


def params_file(tmp_path, values, node="lidar_detector"):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({node: {"ros__parameters": values}}))
    return path


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"score_treshold": 0.3}, "did you mean 'score_threshold'"),
        ({"score_threshold": float("nan")}, "parameter 'score_threshold': received nan"),
        ({"score_threshold": 1.5}, "expected a float from 0.0 to 1.0"),
        ({"score_threshold": 1}, "received 1 (int); expected a float"),
        ({"num_threads": "two"}, "expected a int"),
        ({"motion_source": "gps"}, "expected one of odometry, tf, none"),
        ({"providers": ["NoSuchExecutionProvider"]}, "NoSuchExecutionProvider"),
        ({"qos_overrides": {"/lidar_detector/input/pionts": {"subscription": {"depth": 2}}}}, "did you mean 'qos_over"),
    ],
)
def test_a_bad_override_refuses_to_configure(make_model, tmp_path, values, said):
    path = params_file(tmp_path, {"model": str(make_model()), **values})
    with isolated_node("observer") as observer:
        node = LidarDetector(context=observer.context, cli_args=["--ros-args", "--params-file", str(path)])
        try:
            assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
            assert said in node.configure_problem
            assert "Traceback" not in node.configure_problem
        finally:
            node.destroy_node()


def test_a_good_file_is_used(start_robot, make_model, tmp_path):
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


def test_live_parameters_take_effect_and_others_are_refused_while_configured(robot, make_model):
    robot.bring_up(model=str(make_model()))
    points = [[0.5, 0.5, 0, 1]] * 3 + [[8.5, 8.5, 0, 1]] * 5
    _, boxes = robot.ask(robot.cloud(points, 1_000_000_000))
    assert sorted(boxes.scores.tolist()) == [3 / 8, 5 / 8]
    robot.detector.set_parameters({"score_threshold": 0.5})
    _, boxes = robot.ask(robot.cloud(points, 2_000_000_000))
    assert boxes.scores.tolist() == [5 / 8]
    for name, value in (("model", "other.onnx"), ("base_frame", "base"), ("motion_source", "tf")):
        with pytest.raises(NodeError, match="clean the node up first"):
            robot.detector.set_parameters({name: value})
    for value in (float("nan"), -0.1, 1.1):
        with pytest.raises(NodeError, match="refused"):
            robot.detector.set_parameters({"score_threshold": value})


def test_every_parameter_is_described(robot):
    names = [field.name for field in dataclasses.fields(DetectorParams)]
    client = robot.node.create_client(DescribeParameters, "/lidar_detector/describe_parameters")
    descriptors = robot.detector.call(client, DescribeParameters.Request(names=names)).descriptors
    assert all(d.description and d.additional_constraints for d in descriptors)
    assert robot.detector.parameters()["providers"] == ["CPUExecutionProvider"]
