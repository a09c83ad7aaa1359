"""From /tf and /tf_static into a buffer."""

from __future__ import annotations

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from tf2_ros.buffer import Buffer


class TransformListener:
    """Puts every transform that is sent into `buffer`, for as long as it exists and `node` is spun.

    Args:
        buffer: receives the transforms.
        node: subscribes; spinning it is the caller's part.
        spin_thread: only False is covered by this stand-in.
        qos: of /tf; keep the last 100 when not given.
        static_qos: of /tf_static; keep the last 100, latched, when not given.
    """

    def __init__(
        self,
        buffer: Buffer,
        node: Node,
        *,
        spin_thread: bool = False,
        qos: QoSProfile | int | None = None,
        static_qos: QoSProfile | int | None = None,
    ) -> None:
        if spin_thread:
            raise NotImplementedError("this stand-in of tf2_ros has no spin_thread; spin the node yourself")
        self.buffer = buffer
        self.node = node
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        # Re-entrant, so that a callback of the node's own group may wait for a transform.
        group = ReentrantCallbackGroup()
        qos, static_qos = qos or QoSProfile(depth=100), static_qos or latched
        self.tf_sub = node.create_subscription(TFMessage, "/tf", self._receive, qos, callback_group=group)
        self.tf_static_sub = node.create_subscription(
            TFMessage, "/tf_static", self._receive_static, static_qos, callback_group=group
        )

    def unregister(self) -> None:
        """Stop listening."""
        self.node.destroy_subscription(self.tf_sub)
        self.node.destroy_subscription(self.tf_static_sub)

    def _receive(self, msg: TFMessage) -> None:
        for transform in msg.transforms:
            self.buffer.set_transform(transform, "default_authority")

    def _receive_static(self, msg: TFMessage) -> None:
        for transform in msg.transforms:
            self.buffer.set_transform_static(transform, "default_authority")
