"""Plays a bag's messages, as the bytes they were recorded as, at their recorded pace."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile

from lidarloop_core.errors import BagError
from lidarloop_core.io.bag import BagReader
from lidarloop_ros.messages.conversions import message_type

DEFAULT_CLOUD = "/lidar/points"
CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
ODOMETRY_TYPE = "nav_msgs/msg/Odometry"


@dataclass(frozen=True)
class BagTopics:
    """What of a bag the node gets to see.

    Attributes:
        cloud: the LiDAR.
        odometry: "" where there is none.
        transforms: /tf and /tf_static, those there are.
    """

    cloud: str
    odometry: str
    transforms: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.transforms, *((self.odometry,) if self.odometry else ()), self.cloud)


def find_topics(reader: BagReader, cloud: str = "") -> BagTopics:
    """Finds the LiDAR's topic by its type, and odometry and TF beside it.

    Args:
        reader: the bag.
        cloud: the LiDAR's topic; "" takes ``/lidar/points``, or the only one there is.

    Raises:
        BagError: no cloud topic, several to choose from, or ``cloud`` is none.
    """
    clouds = _of_type(reader, CLOUD_TYPE)
    if cloud:
        reader.require(cloud)
        if cloud not in clouds:
            raise BagError(f"{reader.path}: {cloud} is {reader.topics[cloud]}; expected {CLOUD_TYPE}")
    elif DEFAULT_CLOUD in clouds:
        cloud = DEFAULT_CLOUD
    elif len(clouds) != 1:
        found = ", ".join(clouds) or f"none among {', '.join(reader.topics) or 'no topics'}"
        raise BagError(f"{reader.path}: expected one topic of {CLOUD_TYPE}, found {found}; name it with --topic")
    odometries = _of_type(reader, ODOMETRY_TYPE)
    odometry = "/odom" if "/odom" in odometries else next(iter(odometries), "")
    transforms = tuple(topic for topic in ("/tf_static", "/tf") if topic in reader.topics)
    return BagTopics(cloud or clouds[0], odometry, transforms)


def _of_type(reader: BagReader, message_type_name: str) -> list[str]:
    return [t for t, kind in reader.topics.items() if kind == message_type_name and not t.startswith("/ground_truth/")]


class BagPlayer:
    """Publishers for the topics of a bag.

    Args:
        node: publishes.
        reader: the open bag.
        topics: what to play.
    """

    def __init__(self, node: Node, reader: BagReader, topics: BagTopics) -> None:
        self._node = node
        self._reader = reader
        self._topics = topics
        self._publishers = {topic: self._publisher(topic) for topic in topics.all}

    def is_connected(self) -> bool:
        """Whether somebody takes the clouds, and every subscription that is announced has been matched."""
        counts = self.subscriber_counts()
        return counts[self._topics.cloud] > 0 and all(
            count >= self._node.count_subscribers(topic) for topic, count in counts.items()
        )

    def subscriber_counts(self) -> dict[str, int]:
        return {topic: publisher.get_subscription_count() for topic, publisher in self._publishers.items()}

    def play(self, *, rate: float) -> Iterator[tuple[int, int]]:
        """Publishes everything, latched topics first; yields (stamp_ns, monotonic time_ns when sent) of each cloud.

        Each message has its own due time, counted from the start: being late once does not delay those after it.

        Args:
            rate: 2 plays twice as fast.
        """
        latched = [topic for topic in self._topics.all if topic in self._reader.latched_topics]
        if latched:
            for topic, _, data in self._reader.raw_messages(latched):
                self._publishers[topic].publish(data)
        start_ns = first_ns = 0
        timed = [topic for topic in self._topics.all if topic not in latched]
        for topic, time_ns, data in self._reader.raw_messages(timed):
            # The next message is read while the present one is not yet due: reading costs no punctuality.
            if not start_ns:
                start_ns, first_ns = time.monotonic_ns(), time_ns
            _sleep_until(start_ns + round((time_ns - first_ns) / rate))
            sent_ns = time.monotonic_ns()
            self._publishers[topic].publish(data)
            if topic == self._topics.cloud:
                yield header_stamp_ns(data), sent_ns

    def _publisher(self, topic: str) -> Publisher:
        latched = topic in self._reader.latched_topics
        # Every latched message has to be there for a subscriber that comes late.
        depth = max(self._reader.message_counts[topic], 1) if latched else 10
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        return self._node.create_publisher(
            message_type(self._reader.topics[topic]), topic, QoSProfile(depth=depth, durability=durability)
        )


def header_stamp_ns(data: bytes) -> int:
    """Stamp of a serialised message that begins with a std_msgs/Header: after four bytes of encapsulation."""
    sec, nanosec = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(sec) * 1_000_000_000 + int(nanosec)


def _sleep_until(due_ns: int) -> None:
    remaining_ns = due_ns - time.monotonic_ns()
    if remaining_ns > 0:
        time.sleep(remaining_ns * 1e-9)
