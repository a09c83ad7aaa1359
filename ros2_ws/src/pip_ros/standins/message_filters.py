"""Stand-in for ROS 2's `message_filters` (Jazzy), which is on no package index.

It covers what lidarloop uses, with the same names, signatures and results: subscribers whose messages are joined by
equal or nearly equal header stamps. Anything else of message_filters is absent rather than approximated. Where the real
package is installed, it is imported instead of this one.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.time import Time


class SimpleFilter:
    """Hands messages on to callbacks."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., None], *args: Any) -> int:
        """Call `cb(*messages, *args)` for each output; returns the number of the connection."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *msg: Any) -> None:
        for callback, args in self.callbacks.values():
            callback(*msg, *args)


class Subscriber(SimpleFilter):
    """A subscription as a filter; takes what `Node.create_subscription` takes, except the callback.

    Args:
        node: makes the subscription.
        msg_type: class of the messages.
        topic: name of the topic.
        kwargs: as for `create_subscription`; `qos_profile` is 10 when not given.
    """

    def __init__(self, node: Node, msg_type: type, topic: str, **kwargs: Any) -> None:
        super().__init__()
        self.node = node
        self.topic = topic
        self.sub = node.create_subscription(msg_type, topic, self.signalMessage, **{"qos_profile": 10, **kwargs})

    def getTopic(self) -> str:
        return self.topic


class TimeSynchronizer(SimpleFilter):
    """Hands on one message of each input when all have the same stamp.

    Args:
        fs: the inputs.
        queue_size: messages kept of each input while others are waited for; the oldest stamps go first.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int) -> None:
        super().__init__()
        self.queue_size = queue_size
        self.queues: list[dict[int, Any]] = [{} for _ in fs]
        self.lock = threading.Lock()
        self.input_connections = [source.registerCallback(self._receive, index) for index, source in enumerate(fs)]

    def _receive(self, msg: Any, index: int) -> None:
        stamp_ns = Time.from_msg(msg.header.stamp).nanoseconds
        with self.lock:
            queue = self.queues[index]
            queue[stamp_ns] = msg
            while len(queue) > self.queue_size:
                del queue[min(queue)]
            stamps_ns = self._match(stamp_ns, index)
            if stamps_ns is not None:
                self.signalMessage(*(queue.pop(stamp) for queue, stamp in zip(self.queues, stamps_ns, strict=True)))

    def _match(self, stamp_ns: int, index: int) -> Sequence[int] | None:
        """One stamp of each queue that belong together with the message that just came, or None."""
        if all(stamp_ns in queue for queue in self.queues):
            return [stamp_ns] * len(self.queues)
        return None


class ApproximateTimeSynchronizer(TimeSynchronizer):
    """Hands on one message of each input when their stamps lie less than `slop` seconds apart.

    Of several that would do, those nearest to the message that completes the set are taken.
    """

    def __init__(self, fs: Sequence[SimpleFilter], queue_size: int, slop: float) -> None:
        super().__init__(fs, queue_size)
        self._slop_ns = round(slop * 1e9)

    def _match(self, stamp_ns: int, index: int) -> Sequence[int] | None:
        def distance_ns(other_ns: int) -> int:
            return abs(other_ns - stamp_ns)

        choices = [
            [stamp_ns]
            if position == index
            else sorted((other for other in queue if distance_ns(other) <= self._slop_ns), key=distance_ns)
            for position, queue in enumerate(self.queues)
        ]
        sets = (stamps for stamps in itertools.product(*choices) if max(stamps) - min(stamps) < self._slop_ns)
        # The new message may be older than a full queue and already gone again.
        return next(sets, None) if stamp_ns in self.queues[index] else None
