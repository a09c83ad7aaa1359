"""The layouts for RViz and Foxglove show what the detector really has: topics, types, fields and QoS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rclpy.node import NodeNameNonExistentError
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible

from lidarloop_ros.conversions import message_type
from lidarloop_ros.node_process import NodeProcess, isolated_node
from tests.ros.conftest import Robot

CLOUD, MARKERS = "sensor_msgs/msg/PointCloud2", "visualization_msgs/msg/MarkerArray"
RVIZ_SHOWS = {"rviz_default_plugins/PointCloud2": CLOUD, "rviz_default_plugins/MarkerArray": MARKERS}
FOXGLOVE_3D_SHOWS = {CLOUD, MARKERS}


@pytest.fixture(scope="module")
def robot(make_model: Callable[..., Path]) -> Iterator[Robot]:
    """The node, active, with the topic of clouds that the launch files give it."""
    remapping = "~/input/points:=/lidar/points"
    with isolated_node("robot") as node, NodeProcess("lidarloop_ros.detector_node", ["-r", remapping]) as process:
        robot = Robot(node, process)
        robot.detector.set_parameters({"model": str(make_model())})
        robot.detector.configure()
        robot.detector.activate()
        robot.wait_for(lambda: "/lidar/points" in topics(robot), "subscriber of clouds")
        robot.wait_for(lambda: "/lidar_detector/class_names" in topics(robot), "publishers")  # the last to be made
        yield robot


def topics(robot: Robot) -> dict[str, str]:
    """Topic → type of all that the node publishes or listens to; none before it is discovered."""
    node = robot.node
    try:
        own = node.get_publisher_names_and_types_by_node("lidar_detector", "/")
        own += node.get_subscriber_names_and_types_by_node("lidar_detector", "/")
    except NodeNameNonExistentError:
        return {}
    return {topic: kind for topic, (kind, *_) in own}


def test_rviz_shows_topics_that_there_are(robot: Robot, repository: Path) -> None:
    layout = yaml.safe_load((repository / "launch" / "rviz" / "perception.rviz").read_text())
    displays = [display for display in layout["Visualization Manager"]["Displays"] if "Topic" in display]
    assert {display["Class"] for display in displays} == set(RVIZ_SHOWS)
    for display in displays:
        assert topics(robot)[display["Topic"]["Value"]] == RVIZ_SHOWS[display["Class"]]


def test_rviz_can_receive_them(robot: Robot, repository: Path) -> None:
    """A driver's clouds are best effort, as of ROS's sensor data; the node's publishers tell their own QoS."""
    layout = yaml.safe_load((repository / "launch" / "rviz" / "perception.rviz").read_text())
    for display in layout["Visualization Manager"]["Displays"]:
        if "Topic" not in display:
            continue
        publishers = robot.node.get_publishers_info_by_topic(display["Topic"]["Value"])
        offered = [p.qos_profile for p in publishers if p.node_name == "lidar_detector"]
        offered = offered or [QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)]
        for profile in offered:
            assert qos_check_compatible(profile, rviz_qos(display["Topic"]))[0] != QoSCompatibility.ERROR


def rviz_qos(topic: dict[str, Any]) -> QoSProfile:
    def key(policy: str) -> str:
        return topic[policy].lower().replace(" ", "_")

    return QoSProfile(
        depth=topic["Depth"],
        reliability=ReliabilityPolicy.get_from_short_key(key("Reliability Policy")),
        durability=DurabilityPolicy.get_from_short_key(key("Durability Policy")),
    )


def test_foxglove_shows_topics_and_fields_that_there_are(robot: Robot, repository: Path) -> None:
    panels = json.loads((repository / "launch" / "foxglove" / "perception.json").read_text())["configById"]
    published = topics(robot)
    for name, panel in panels.items():
        match name.split("!")[0]:
            case "3D":
                for topic in panel["topics"]:
                    assert published[topic] in FOXGLOVE_3D_SHOWS
            case "Plot":
                for path in panel["paths"]:
                    topic, _, field = path["value"].partition(".")
                    assert field in message_type(published[topic]).get_fields_and_field_types()
            case "RawMessages":
                assert panel["topicPath"] in published
            case "DiagnosticSummary":
                assert published[panel["topicToRender"]] == "diagnostic_msgs/msg/DiagnosticArray"
            case other:
                pytest.fail(f"the test does not know the panel {other}")


def test_foxglove_lays_out_every_panel_once(repository: Path) -> None:
    layout = json.loads((repository / "launch" / "foxglove" / "perception.json").read_text())

    def panels(part: Any) -> list[str]:
        return [part] if isinstance(part, str) else panels(part["first"]) + panels(part["second"])

    assert sorted(panels(layout["layout"])) == sorted(layout["configById"])
