"""The layouts for RViz and Foxglove show what the detector really has: topics, types, fields and QoS."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible

from lidarloop_ros.messages.conversions import message_type
from lidarloop_ros.replay.node_process import ManagedNode, NodeProcess, isolated_node

CLOUD, MARKERS = "sensor_msgs/msg/PointCloud2", "visualization_msgs/msg/MarkerArray"
RVIZ_SHOWS = {"rviz_default_plugins/PointCloud2": CLOUD, "rviz_default_plugins/MarkerArray": MARKERS}
FOXGLOVE_3D_SHOWS = {CLOUD, MARKERS}


@pytest.fixture(scope="module")
def observer(make_model: Callable[..., Path]) -> Iterator[Node]:
    """A node that has nothing on the layouts' topics itself, beside the detector, which has what a launch gives it."""
    remapping = "~/input/points:=/lidar/points"
    with isolated_node("observer") as node, NodeProcess("lidarloop_ros.detector.node", ["-r", remapping]) as process:
        detector = ManagedNode(node, process, "/lidar_detector")
        detector.set_parameters({"model": str(make_model())})
        detector.configure()
        detector.activate()
        deadline_s = time.monotonic() + 60
        # Made first and last of all.
        while not {"/lidar_detector/detections", "/lidar/points", "/lidar_detector/class_names"} <= topics(node).keys():
            process.require_alive()
            assert time.monotonic() < deadline_s, topics(node)
            time.sleep(0.05)
        yield node


def topics(observer: Node) -> dict[str, str]:
    """Topic → type of all that the detector publishes or listens to."""
    return {topic: kind for topic, (kind, *_) in observer.get_topic_names_and_types()}


def test_rviz_shows_topics_that_there_are(observer: Node, repository: Path) -> None:
    layout = yaml.safe_load((repository / "launch" / "rviz" / "perception.rviz").read_text())
    displays = [display for display in layout["Visualization Manager"]["Displays"] if "Topic" in display]
    assert {display["Class"] for display in displays} == set(RVIZ_SHOWS)
    for display in displays:
        assert topics(observer)[display["Topic"]["Value"]] == RVIZ_SHOWS[display["Class"]]


def test_rviz_can_receive_them(observer: Node, repository: Path) -> None:
    """A driver's clouds are best effort, as of ROS's sensor data; the node's publishers tell their own QoS."""
    layout = yaml.safe_load((repository / "launch" / "rviz" / "perception.rviz").read_text())
    for display in layout["Visualization Manager"]["Displays"]:
        if "Topic" not in display:
            continue
        publishers = observer.get_publishers_info_by_topic(display["Topic"]["Value"])
        offered = [publisher.qos_profile for publisher in publishers]
        offered = offered or [QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)]
        for profile in offered:
            assert qos_check_compatible(profile, rviz_qos(display["Topic"]))[0] != QoSCompatibility.ERROR


def rviz_qos(topic: dict[str, Any]) -> QoSProfile:
    def key(policy: str) -> str:
        return str(topic[policy]).lower().replace(" ", "_")

    return QoSProfile(
        depth=topic["Depth"],
        reliability=ReliabilityPolicy.get_from_short_key(key("Reliability Policy")),
        durability=DurabilityPolicy.get_from_short_key(key("Durability Policy")),
    )


def test_foxglove_shows_topics_and_fields_that_there_are(observer: Node, repository: Path) -> None:
    panels = json.loads((repository / "launch" / "foxglove" / "perception.json").read_text())["configById"]
    published = topics(observer)
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
