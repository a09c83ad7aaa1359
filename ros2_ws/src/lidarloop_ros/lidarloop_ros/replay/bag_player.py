"""Plays a bag's messages, byte for byte: at the pace of the recording, or each cloud when the caller asks for it."""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile

from lidarloop_core.errors import BagError
from lidarloop_core.io.bag import BagReader
from lidarloop_ros.messages.conversions import message_type
from lidarloop_ros.replay.pace import RecordedPace

DEFAULT_CLOUD = "/lidar/points"
CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
ODOMETRY_TYPE = "nav_msgs/msg/Odometry"
CALIBRATION_TYPE = "sensor_msgs/msg/CameraInfo"
# Between two messages that go along with a cloud in lockstep, so that a burst of them overflows no queue.
_BREATHER_S = 0.001


@dataclass(frozen=True)
class BagTopics:
    """Topics of a bag that are played to the node.

    Attributes:
        cloud: topic of the LiDAR's clouds.
        odometry: topic of the odometry; "" without one.
        transforms: /tf_static and /tf, as far as the bag has them.
        others: what else is played: images, calibrations, lane map.
    """

    cloud: str
    odometry: str
    transforms: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """All topics, transforms first."""
        return (*self.transforms, *self.others, *((self.odometry,) if self.odometry else ()), self.cloud)


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

    def play(
        self, *, rate: float, duration_s: float = math.inf, say: Callable[[str], None] = lambda _: None
    ) -> Iterator[tuple[int, int]]:
        """Publishes all messages at the pace of the recording, latched topics first.

        Each message has its own due time, counted from the start: one that is late does not delay those after it.

        Args:
            rate: 2 plays twice as fast.
            duration_s: how much of the recording is played, seconds.
            say: called with a line about each pause that is long, or is left out.

        Yields:
            For each cloud its stamp and the monotonic time at which it was sent, both in nanoseconds.
        """
        pace = RecordedPace(rate, say)
        for topic, time_ns, data in self._timed_messages():
            # The next message is read before it is due, so that reading delays nothing.
            if pace.elapsed_ns(time_ns) > duration_s * 1e9:
                return
            pace.wait(time_ns, topic)
            sent_ns = self._send(topic, data)
            if topic == self._topics.cloud:
                yield header_stamp_ns(data), sent_ns

    def play_in_lockstep(self, *, duration_s: float = math.inf) -> Iterator[tuple[int, int]]:
        """Publishes each cloud when the caller asks for it, after all that was recorded until the next cloud.

        So ego-motion and images are there before the cloud that they belong to, however slow the machine is.

        Args:
            duration_s: how much of the recording is played, seconds.

        Yields:
            As ``play``.
        """
        pace = RecordedPace(1.0, lambda _: None)
        held: bytes | None = None
        for topic, time_ns, data in self._timed_messages():
            if pace.elapsed_ns(time_ns) > duration_s * 1e9:
                break
            pace.pass_by(time_ns)
            if topic != self._topics.cloud:
                self._send(topic, data)
                time.sleep(_BREATHER_S)
                continue
            if held is not None:
                yield header_stamp_ns(held), self._send(self._topics.cloud, held)
            held = data
        if held is not None:
            yield header_stamp_ns(held), self._send(self._topics.cloud, held)

    def _timed_messages(self) -> Iterator[tuple[str, int, bytes]]:
        """All messages but the latched ones, which are published first, as is the first calibration of each camera."""
        latched = [topic for topic in self._topics.all if topic in self._reader.latched_topics]
        if latched:
            for topic, _, data in self._reader.raw_messages(latched):
                self._publishers[topic].publish(data)
        for topic in self._topics.others:
            if self._reader.topics[topic] == CALIBRATION_TYPE:
                for _, _, data in islice(self._reader.raw_messages([topic]), 1):
                    self._publishers[topic].publish(data)
        return self._reader.raw_messages([topic for topic in self._topics.all if topic not in latched])

    def _send(self, topic: str, data: bytes) -> int:
        """Publishes a message; the monotonic time of that, nanoseconds."""
        sent_ns = time.monotonic_ns()
        self._publishers[topic].publish(data)
        return sent_ns

    def _publisher(self, topic: str) -> Publisher:
        latched = topic in self._reader.latched_topics
        # A late subscriber receives every latched message.
        depth = max(self._reader.message_counts[topic], 1) if latched else 10
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        return self._node.create_publisher(
            message_type(self._reader.topics[topic]), topic, QoSProfile(depth=depth, durability=durability)
        )


def header_stamp_ns(data: bytes) -> int:
    """Stamp, in nanoseconds, of a serialised message whose first field is a std_msgs/Header.

    Raises:
        BagError: the message is too short to have one.
    """
    if len(data) < 12:
        raise BagError(f"a message has {len(data)} bytes; expected a header's stamp in the first 12: it was cut off")
    sec, nanosec = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)  # after the encapsulation
    return int(sec) * 1_000_000_000 + int(nanosec)
