"""Interface packages: apt's, or those generated from pip_ros; either way they must be the official types."""

from __future__ import annotations

import importlib
import time
from pathlib import Path

import pytest
from rclpy.serialization import deserialize_message, serialize_message

from lidarloop_ros.replay.node_process import isolated_node

# DDS readers and writers of a type find each other by this hash. That of vision_msgs and tf2_msgs: of Jazzy's released
# packages. Autoware's: computed by rosbags, which gives the same for TFMessage, from the field lists of release 1.11.
OFFICIAL_HASHES = {
    "vision_msgs/msg/Detection3DArray": "793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018",
    "vision_msgs/msg/LabelInfo": "3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783",
    "vision_msgs/msg/VisionClass": "1e4a11f0fed50b5623cb8ff26ca0e37952a48a9c074d16f804b44e9164c2037a",
    "tf2_msgs/msg/TFMessage": "e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
    "tf2_msgs/msg/TF2Error": "db2485e7d6a0ec75bf087e058ee45df682acc3a621ca7780503d10aac141809a",
    "autoware_perception_msgs/msg/DetectedObjects": "2facd6b15786cbd1f720cdd23d22e6d60d2e7e83b8dff8fd401330e24edb187b",
}
PACKAGES = ("vision_msgs", "tf2_msgs", "autoware_perception_msgs")


def message_class(name: str) -> type:
    package, _, message = name.split("/")
    found: type = getattr(importlib.import_module(f"{package}.msg"), message)
    return found


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> str:
    """Each that is installed; the nodes can do without Autoware's."""
    name = str(request.param)
    if name == "autoware_perception_msgs":
        pytest.importorskip(name, reason="Autoware's messages are not installed")
    return name


def test_type_hashes_on_the_wire_are_the_official_ones(package: str) -> None:
    expected = {name: value for name, value in OFFICIAL_HASHES.items() if name.startswith(f"{package}/")}
    with isolated_node("hashes") as node:
        # DDS tells the hash of a writer to readers elsewhere and to its own participant alike.
        for number, name in enumerate(expected):
            node.create_publisher(message_class(name), f"/hash_{number}", 1)
        deadline = time.monotonic() + 5.0
        found: dict[str, str] = {}
        while len(found) < len(expected) and time.monotonic() < deadline:
            for number, name in enumerate(expected):
                for info in node.get_publishers_info_by_topic(f"/hash_{number}"):
                    assert info.topic_type_hash.version == 1
                    found[name] = bytes(info.topic_type_hash.value).hex()
            time.sleep(0.01)
    assert found == expected


def test_every_field_list_has_its_class(repository: Path, package: str) -> None:
    folder = repository / "ros2_ws" / "src" / "pip_ros" / package
    files = [path for kind in ("msg", "srv", "action") for path in folder.glob(f"{kind}/*.{kind}")]
    assert files
    for path in files:
        assert hasattr(importlib.import_module(f"{package}.{path.parent.name}"), path.stem)


def test_a_detection_survives_serialisation() -> None:
    detections = message_class("vision_msgs/msg/Detection3DArray")()
    detections.header.frame_id = "lidar_top"
    detection = message_class("vision_msgs/msg/Detection3D")(id="7")
    hypothesis = message_class("vision_msgs/msg/ObjectHypothesisWithPose")()
    hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = "car", 0.75
    detection.results.append(hypothesis)
    detection.bbox.size.x = 4.5
    detections.detections.append(detection)
    assert deserialize_message(serialize_message(detections), type(detections)) == detections


def test_fields_are_checked() -> None:
    """Humble always does; here ROS_PYTHON_CHECK_FIELDS must have been set before the first import."""
    with pytest.raises(AssertionError):
        message_class("vision_msgs/msg/Detection3D")(id=7)


def test_a_vehicles_colcon_does_not_build_them(repository: Path) -> None:
    assert (repository / "ros2_ws" / "src" / "pip_ros" / "COLCON_IGNORE").is_file()
