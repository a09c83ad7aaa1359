"""The layouts for RViz and Foxglove show what the detector really has: topics, types, fields and QoS."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from lifecycle_msgs.msg import Transition
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible

from lidarloop_core.model.model_file import write_model
from lidarloop_ros.messages.conversions import message_type
from lidarloop_ros.replay.node_process import ManagedNode, NodeProcess, isolated_node
from tests.builders import VOXEL_SEGMENTER as SEGMENTER
from tests.builders import by_intensity_onnx

CLOUD, MARKERS = "sensor_msgs/msg/PointCloud2", "visualization_msgs/msg/MarkerArray"
RVIZ_SHOWS = {"rviz_default_plugins/PointCloud2": CLOUD, "rviz_default_plugins/MarkerArray": MARKERS}
FOXGLOVE_3D_SHOWS = {CLOUD, MARKERS}


class Topic(NamedTuple):
    """What there is on a topic: its type, and the QoS of its publishers."""

    kind: str
    offered: list[QoSProfile]


@pytest.fixture(scope="module")
def published(make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Topic]:
    """All topics that the node publishes or listens to, with a detector or with a segmenter.

    They are seen by a node that has nothing on the layouts' topics itself; the detector has what a launch gives it.
    """
    segmenter = tmp_path_factory.mktemp("model") / "segmenter.onnx"
    write_model(segmenter, by_intensity_onnx(SEGMENTER), SEGMENTER)
    remapping, found = "~/input/points:=/lidar/points", {}
    with isolated_node("observer") as node, NodeProcess("lidarloop_ros.detector.node", ["-r", remapping]) as process:
        detector = ManagedNode(node, process, "/lidar_detector")
        for model, answers in ((make_model(), "detections"), (segmenter, "points/labelled")):
            detector.set_parameters({"model": str(model)})
            detector.configure()
            detector.activate()
            # Made first and last of all.
            awaited = {f"/lidar_detector/{answers}", "/lidar/points", "/lidar_detector/class_names"}
            found |= _topics(node, process, awaited)
            assert detector.transition(Transition.TRANSITION_DEACTIVATE)
            assert detector.transition(Transition.TRANSITION_CLEANUP)
    return found


def _topics(observer: Node, process: NodeProcess, awaited: set[str]) -> dict[str, Topic]:
    deadline_s = time.monotonic() + 60
    while True:
        kinds = {topic: kind for topic, (kind, *_) in observer.get_topic_names_and_types()}
        if awaited <= kinds.keys():
            break
        process.require_alive()
        assert time.monotonic() < deadline_s, kinds
        time.sleep(0.05)
    return {
        topic: Topic(kind, [info.qos_profile for info in observer.get_publishers_info_by_topic(topic)])
        for topic, kind in kinds.items()
    }


def test_rviz_shows_topics_that_there_are(published: dict[str, Topic], repository: Path) -> None:
    layout = yaml.safe_load((repository / "launch" / "rviz" / "perception.rviz").read_text())
    displays = [display for display in layout["Visualization Manager"]["Displays"] if "Topic" in display]
    assert {display["Class"] for display in displays} == set(RVIZ_SHOWS)
    for display in displays:
        assert published[display["Topic"]["Value"]].kind == RVIZ_SHOWS[display["Class"]]


def test_rviz_can_receive_them(published: dict[str, Topic], repository: Path) -> None:
    """A driver's clouds are best effort, as of ROS's sensor data; the node's publishers tell their own QoS."""
    layout = yaml.safe_load((repository / "launch" / "rviz" / "perception.rviz").read_text())
    for display in layout["Visualization Manager"]["Displays"]:
        if "Topic" not in display:
            continue
        offered = published[display["Topic"]["Value"]].offered or [
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        ]
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


def test_foxglove_shows_topics_and_fields_that_there_are(published: dict[str, Topic], repository: Path) -> None:
    panels = json.loads((repository / "launch" / "foxglove" / "perception.json").read_text())["configById"]
    for name, panel in panels.items():
        match name.split("!")[0]:
            case "3D":
                for topic in panel["topics"]:
                    assert published[topic].kind in FOXGLOVE_3D_SHOWS
            case "Plot":
                for path in panel["paths"]:
                    topic, _, field = path["value"].partition(".")
                    assert field in message_type(published[topic].kind).get_fields_and_field_types()
            case "RawMessages":
                assert panel["topicPath"] in published
            case "DiagnosticSummary":
                assert published[panel["topicToRender"]].kind == "diagnostic_msgs/msg/DiagnosticArray"
            case other:
                pytest.fail(f"the test does not know the panel {other}")


def test_foxglove_lays_out_every_panel_once(repository: Path) -> None:
    layout = json.loads((repository / "launch" / "foxglove" / "perception.json").read_text())

    def panels(part: Any) -> list[str]:
        return [part] if isinstance(part, str) else panels(part["first"]) + panels(part["second"])

    assert sorted(panels(layout["layout"])) == sorted(layout["configById"])
