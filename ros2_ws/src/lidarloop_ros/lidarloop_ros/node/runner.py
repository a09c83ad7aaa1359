"""Runs one node as a process: clean on signals, alive after an exception, and ended when the node asks for it."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable
from typing import Protocol, cast

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node
from rclpy.task import Future
from rclpy.utilities import try_shutdown

# What a supervisor (launch's respawn, systemd's Restart=on-failure) takes as a reason to start the node again.
EXIT_FOR_RESPAWN = 3


class RunnableNode(Protocol):
    """A ``rclpy.node.Node`` that says when it has to end.

    Attributes:
        ended: done when the node can go on no more.
    """

    ended: Future

    @property
    def context(self) -> Context: ...

    def get_logger(self) -> RcutilsLogger: ...

    def callback_failed(self, error: Exception) -> None:
        """An exception left a callback; the node goes on."""
        ...

    def last_words(self) -> None:
        """Called before a node that has ended is destroyed."""
        ...

    def destroy_node(self) -> None: ...


def run(make_node: Callable[[], RunnableNode], args: list[str] | None = None) -> int:
    """Spins until SIGINT or SIGTERM, which end it with 0, or until ``node.ended``, with ``EXIT_FOR_RESPAWN``."""
    try:
        rclpy.init(args=args)
        executor = SingleThreadedExecutor()
        node = make_node()
        try:
            executor.add_node(cast(Node, node))
            return _spin(executor, node)
        finally:
            # A second, impatient SIGINT must not interrupt the cleaning up.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            executor.shutdown()
            node.destroy_node()
            try_shutdown()
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0


def _spin(executor: SingleThreadedExecutor, node: RunnableNode) -> int:
    # Not spin_until_future_complete: it adds a callback to the future for every message, and so grows without end.
    node.ended.add_done_callback(lambda _: executor.create_task(_nothing))
    while node.context.ok() and not node.ended.done():
        try:
            executor.spin_once()
        except (KeyboardInterrupt, ExternalShutdownException):
            raise
        except Exception as error:  # rclpy lets an exception of any callback end the spinning
            node.get_logger().error(f"a callback failed:\n{traceback.format_exc()}", throttle_duration_sec=5.0)
            node.callback_failed(error)
    if not node.ended.done():
        return 0
    node.last_words()
    return EXIT_FOR_RESPAWN


def _nothing() -> None:
    """Work for an executor that waits for work."""
