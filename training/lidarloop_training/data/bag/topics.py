"""Which topics of a bag hold what is wanted: chosen by type and by content."""

from __future__ import annotations

import warnings

from lidarloop_core.errors import BagError
from lidarloop_core.io.bag import BagReader
from lidarloop_training.data.bag import layout

CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
ODOMETRY_TYPE = "nav_msgs/msg/Odometry"
TF_TYPE = "tf2_msgs/msg/TFMessage"

STRING_TYPE = "std_msgs/msg/String"
DETECTIONS_TYPE = "vision_msgs/msg/Detection3DArray"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"

_LAYOUT_TYPES = {
    layout.TF: (TF_TYPE, "tf/msg/tfMessage"),  # the second in bags converted from early ROS 1
    layout.TF_STATIC: (TF_TYPE, "tf/msg/tfMessage"),
    layout.LANE_MAP: (STRING_TYPE,),
    layout.GROUND_TRUTH_CLASS_NAMES: (STRING_TYPE,),
    layout.GROUND_TRUTH_DETECTIONS: (DETECTIONS_TYPE,),
    layout.GROUND_TRUTH_BOXES: (CLOUD_TYPE,),
}

NO_ODOMETRY = "none"
"""Name that stands for "no poses" in the place of a topic."""


def foreign(bag: BagReader) -> frozenset[str]:
    """Topics that have a name of the layout but messages of another type: they are left out, with a warning."""
    found = {t for t, kinds in _LAYOUT_TYPES.items() if t in bag.topics and bag.topics[t] not in kinds}
    for topic in sorted(found):
        warnings.warn(
            f"{bag.path}: {topic} is of type {bag.topics[topic]}, expected {' or '.join(_LAYOUT_TYPES[topic])}: "
            "it is left out",
            stacklevel=3,
        )
    return frozenset(found)


def points_topic(bag: BagReader) -> str:
    """``/lidar/points``, or the only topic with clouds that is no ground truth.

    Raises:
        BagError: there is none, or several to choose from.
    """
    return _only(bag, CLOUD_TYPE, layout.POINTS, "points_topics")


def odometry_topic(bag: BagReader) -> str | None:
    """``/odom``, or the only topic with odometry; None where no topic has any.

    Raises:
        BagError: there are several to choose from.
    """
    if not any(bag.message_counts[t] for t in _of_type(bag, ODOMETRY_TYPE)):
        return None
    return _only(bag, ODOMETRY_TYPE, layout.ODOMETRY, "odometry_topic")


def require(bag: BagReader, topic: str, option: str, *message_types: str) -> None:
    """Holds a topic that was named against what the bag has.

    Args:
        bag: the bag.
        topic: the topic.
        option: name of the option that it was named by.
        message_types: types that are allowed.

    Raises:
        BagError: the topic is missing, of another type, or has no message.
    """
    bag.require(topic)
    if bag.topics[topic] not in message_types:
        found = ", ".join(t for kind in message_types for t in _of_type(bag, kind)) or "none"
        raise BagError(
            f"{bag.path}: {topic} is of type {bag.topics[topic]}; {option} expected {' or '.join(message_types)} "
            f"(topics of it: {found}): name one of those, or let the driver publish it"
        )
    if not bag.message_counts[topic]:
        raise BagError(f"{bag.path} has no message on {topic}; name another topic for {option}, or record it again")


def _of_type(bag: BagReader, message_type: str) -> list[str]:
    return [t for t, kind in bag.topics.items() if kind == message_type and not t.startswith("/ground_truth/")]


def _only(bag: BagReader, message_type: str, preferred: str, option: str) -> str:
    """The topic of a type that has messages: the preferred name, or the only one."""
    named = _of_type(bag, message_type)
    found = [t for t in named if bag.message_counts[t]]
    if preferred in found:
        return preferred
    if len(found) == 1:
        return found[0]
    if named and not found:
        raise BagError(f"{bag.path} has no message on {', '.join(named)}; expected some: record the topic again")
    topics = ", ".join(f"{t} ({kind})" for t, kind in bag.topics.items()) or "none"
    raise BagError(
        f"{bag.path} has {len(found)} topics of type {message_type}; expected {preferred} or a single one. "
        f"Topics found: {topics}. Name the one to use: {option}, on the command line --{option.replace('_', '-')}"
    )
