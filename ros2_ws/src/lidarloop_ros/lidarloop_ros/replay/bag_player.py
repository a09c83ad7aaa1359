"""Plays a bag's messages, byte for byte, at the pace of the recording."""

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
    """Topics of a bag that are played to the node.

    Attributes:
        cloud: topic of the LiDAR's clouds.
        odometry: topic of the odometry; "" without one.
        transforms: /tf_static and /tf, as far as the bag has them.
    """

    cloud: str
    odometry: str
    transforms: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """All topics, transforms first."""
        return (*self.transforms, *((self.odometry,) if self.odometry else ()), self.cloud)


def find_topics(reader: BagReader, cloud: str = "") -> BagTopics:
    """Finds the LiDAR's topic by its type, and odometry and TF beside it.

    Args:
        reader: the bag.
        cloud: the LiDAR's topic; "" takes ``/lidar/points``, or the only cloud topic of the bag.

    Raises:
        BagError: the bag has no cloud topic, or several to choose from, or ``cloud`` is none of them.
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
        node: owns the publishers.
        reader: the open bag.
        topics: the topics to play.
    """

    def __init__(self, node: Node, reader: BagReader, topics: BagTopics) -> None:
        self._node = node
        self._reader = reader
        self._topics = topics
        self._publishers = {topic: self._publisher(topic) for topic in topics.all}

    def is_connected(self) -> bool:
        """Whether the clouds have a subscriber, and every subscription that is announced has been matched."""
        counts = self.subscriber_counts()
        return counts[self._topics.cloud] > 0 and all(
            count >= self._node.count_subscribers(topic) for topic, count in counts.items()
        )

    def subscriber_counts(self) -> dict[str, int]:
        """Topic → number of its subscribers."""
        return {topic: publisher.get_subscription_count() for topic, publisher in self._publishers.items()}

    def play(self, *, rate: float) -> Iterator[tuple[int, int]]:
        """Publishes all messages, latched topics first.

        Each message has its own due time, counted from the start: one that is late does not delay those after it.

        Args:
            rate: 2 plays twice as fast.

        Yields:
            For each cloud its stamp and the monotonic time at which it was sent, both in nanoseconds.
        """
        latched = [topic for topic in self._topics.all if topic in self._reader.latched_topics]
        if latched:
            for topic, _, data in self._reader.raw_messages(latched):
                self._publishers[topic].publish(data)
        start_ns = first_ns = 0
        timed = [topic for topic in self._topics.all if topic not in latched]
        for topic, time_ns, data in self._reader.raw_messages(timed):
            # The next message is read before it is due, so that reading delays nothing.
            if not start_ns:
                start_ns, first_ns = time.monotonic_ns(), time_ns
            _sleep_until(start_ns + round((time_ns - first_ns) / rate))
            sent_ns = time.monotonic_ns()
            self._publishers[topic].publish(data)
            if topic == self._topics.cloud:
                yield header_stamp_ns(data), sent_ns

    def _publisher(self, topic: str) -> Publisher:
        latched = topic in self._reader.latched_topics
        # A late subscriber receives every latched message.
        depth = max(self._reader.message_counts[topic], 1) if latched else 10
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        return self._node.create_publisher(
            message_type(self._reader.topics[topic]), topic, QoSProfile(depth=depth, durability=durability)
        )


def header_stamp_ns(data: bytes) -> int:
    """Stamp, in nanoseconds, of a serialised message whose first field is a std_msgs/Header."""
    sec, nanosec = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)  # after the encapsulation
    return int(sec) * 1_000_000_000 + int(nanosec)


def _sleep_until(due_ns: int) -> None:
    remaining_ns = due_ns - time.monotonic_ns()
    if remaining_ns > 0:
        time.sleep(remaining_ns * 1e-9)
