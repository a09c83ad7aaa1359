"""Joins messages of further sensors to clouds by time, each sensor separately: one that fails does not stop others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import message_filters
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from lidarloop_core.io.messages import stamp_ns

# Messages kept until their partner comes: a second of a 10 Hz LiDAR and of a camera at 30 Hz.
_QUEUE_SIZE = 30

OnPart = Callable[[int, str, Any], None]
"""Called with (the cloud's stamp_ns, sensor, message)."""


class TimeJoin:
    """Approximate-time synchronisation of clouds with each of several topics.

    Args:
        node: makes the subscriptions.
        clouds: the filter that hands on the clouds.
        sensors: name → (message class, topic).
        slop_s: largest difference, in seconds, between the stamps of a cloud and a message that belong together.
        on_part: called by the executor's thread for each pair.

    Attributes:
        inputs: the sensors' subscriptions.
    """

    def __init__(
        self,
        node: Node,
        clouds: message_filters.Subscriber,
        sensors: Mapping[str, tuple[type, str]],
        *,
        slop_s: float,
        on_part: OnPart,
    ) -> None:
        self._node = node
        self._on_part = on_part
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.inputs = []
        self._synchronizers = []
        for name, (kind, topic) in sensors.items():
            messages = message_filters.Subscriber(node, kind, topic, qos_profile=qos)
            synchronizer = message_filters.ApproximateTimeSynchronizer([clouds, messages], _QUEUE_SIZE, slop_s)
            synchronizer.registerCallback(self._receive, name)
            self._synchronizers.append(synchronizer)
            self.inputs.append(messages.sub)

    def destroy(self) -> None:
        for subscription in self.inputs:
            self._node.destroy_subscription(subscription)

    def _receive(self, cloud: Any, message: Any, name: str) -> None:
        self._on_part(stamp_ns(cloud.header), name, message)
