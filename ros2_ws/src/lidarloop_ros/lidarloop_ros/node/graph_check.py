"""Whether publishers and subscribers match: DDS drops the messages of a mismatch without an error."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

from lidarloop_core.fast_dds import profile_in_use, profile_variables, segment_bytes
from lidarloop_core.machine import ros_distro
from lidarloop_ros.node import fastdds

# What DDS gives for a duration that is not set.
FOR_EVER_NS = 2**63 - 1

_CLOUDS_OF = "these are the LiDAR's packets; start {} and take its clouds"
PACKETS = {
    "velodyne_msgs/msg/VelodyneScan": _CLOUDS_OF.format("velodyne_pointcloud's transform node"),
    "ouster_sensor_msgs/msg/PacketMsg": _CLOUDS_OF.format("ouster_ros's os_cloud"),
    "ouster_msgs/msg/PacketMsg": _CLOUDS_OF.format("ouster_ros's os_cloud"),
    "hesai_ros_driver/msg/UdpFrame": _CLOUDS_OF.format("hesai_ros_driver with send_point_cloud_ros: true"),
    "pandar_msgs/msg/PandarScan": _CLOUDS_OF.format("nebula or hesai_ros_driver"),
    "nebula_msgs/msg/NebulaPackets": _CLOUDS_OF.format("nebula_ros's decoder"),
    "rslidar_msg/msg/RslidarPacket": _CLOUDS_OF.format("rslidar_sdk with send_point_cloud_ros: true"),
    "livox_ros_driver2/msg/CustomMsg": "set livox_ros_driver2's xfer_format to 0, which gives PointCloud2",
    "livox_ros_driver/msg/CustomMsg": "set livox_ros_driver's xfer_format to 0, which gives PointCloud2",
    "livox_interfaces/msg/CustomMsg": "set livox_ros2_driver's xfer_format to 0, which gives PointCloud2",
    "point_cloud_interfaces/msg/CompressedPointCloud2": (
        "run point_cloud_transport's republish from its transport to raw, and take the clouds of that"
    ),
}
"""Type of what a LiDAR's driver may publish in the place of clouds → the remedy."""


def input_problems(node: Node, subscriptions: Iterable[Subscription]) -> list[str]:
    """One line, with the remedy, for each publisher that one of the node's subscriptions cannot receive."""
    problems = []
    for subscription in subscriptions:
        topic, expected = subscription.topic_name, _type_name(subscription.msg_type)
        for publisher in node.get_publishers_info_by_topic(topic):
            if publisher.topic_type != expected:
                problems.append(
                    f"{_name(publisher)} publishes {publisher.topic_type} on {topic}, expected {expected}: "
                    + PACKETS.get(publisher.topic_type, "remap one of them")
                )
            elif mismatch := qos_mismatch(publisher.qos_profile, subscription.qos_profile):
                problems.append(
                    f"{_name(publisher)} cannot be received on {topic}: {mismatch}. Set "
                    f"qos_overrides.{topic}.subscription of this node, or the publisher's QoS"
                )
    return problems


def output_problems(node: Node, publishers: Iterable[Any]) -> list[str]:
    """One line, with the remedy, for each subscriber that cannot receive one of the node's publishers."""
    problems = []
    for publisher in publishers:
        topic = publisher.topic_name
        for subscriber in node.get_subscriptions_info_by_topic(topic):
            mismatch = qos_mismatch(publisher.qos_profile, subscriber.qos_profile)
            if mismatch:
                problems.append(
                    f"{_name(subscriber)} receives nothing of {topic}: {mismatch}. Set its QoS, or "
                    f"qos_overrides.{topic}.publisher of this node"
                )
    return problems


def silence_hint(node: Node, topic: str) -> str:
    """What to check when no message arrives on a topic that carries clouds."""
    num_publishers = node.count_publishers(topic)
    if num_publishers == 0:
        return f"{topic} has no publisher; check the LiDAR driver and the remapping of ~/input/points"
    profile = profile_in_use()
    room = segment_bytes(profile) if profile else 0
    too_large = f". Larger clouds than its segment_size, {room / 1e6:.0f} MB, are lost too: raise it" if room else ""
    variable = profile_variables(ros_distro())[0]
    return (
        f"{topic} has {num_publishers} publishers, but nothing arrives. Fast DDS loses clouds above 0.5 MB unless "
        f"the publisher too runs with {variable}={profile or fastdds.profile_path()}{too_large}"
    )


def qos_mismatch(offered: QoSProfile, requested: QoSProfile) -> str:
    """The first policy by which a subscription does not match a publisher, with both values; "" if they match."""
    if (offered.reliability, requested.reliability) == (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE):
        return "reliability: best_effort is offered, reliable is requested"
    if (offered.durability, requested.durability) == (DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL):
        return "durability: volatile is offered, transient_local is requested"
    if _within_s(offered.deadline) > _within_s(requested.deadline):
        return (
            f"deadline: {_within_s(offered.deadline):g} s is offered, {_within_s(requested.deadline):g} s is requested"
        )
    manual = LivelinessPolicy.MANUAL_BY_TOPIC
    if offered.liveliness != manual and requested.liveliness == manual:
        return "liveliness: automatic is offered, manual_by_topic is requested"
    return ""


def _within_s(duration: Duration) -> float:
    """Duration in seconds; infinite where it is not set, or set to the largest value there is."""
    return duration.nanoseconds * 1e-9 if 0 < duration.nanoseconds < FOR_EVER_NS else math.inf


def _type_name(message: Any) -> str:
    package, kind, *_ = message.__module__.split(".")
    return f"{package}/{kind}/{message.__name__}"


def _name(endpoint: TopicEndpointInfo) -> str:
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"
