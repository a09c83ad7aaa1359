"""Runs one node as a process: ends cleanly on signals, survives exceptions, and ends when the node asks for it."""

from __future__ import annotations

import re
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Protocol, cast

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node
from rclpy.task import Future
from rclpy.utilities import try_shutdown

RCLError = rclpy_implementation.RCLError

# A supervisor (launch's respawn, systemd's Restart=on-failure) starts the node again after this exit code.
EXIT_FOR_RESPAWN = 3


class RunnableNode(Protocol):
    """A ``rclpy.node.Node`` that can ask for its end.

    Attributes:
        ended: done when the node cannot go on; its result is the reason.
    """

    ended: Future

    @property
    def context(self) -> Context: ...

    def get_logger(self) -> RcutilsLogger: ...

    def callback_failed(self, error: Exception) -> None:
        """An exception left a callback; the node goes on."""
        ...

    def report_end(self) -> None:
        """Reports why the node has ended; called before it is destroyed."""
        ...

    def destroy_node(self) -> None: ...


def run(make_node: Callable[[], RunnableNode], args: list[str] | None = None) -> int:
    """Spins a node until SIGINT or SIGTERM, or until ``node.ended`` is done.

    Args:
        make_node: makes the node, once ROS is initialised.
        args: ROS arguments; None takes the command line's.

    Returns:
        Exit code: 0 after a signal, ``EXIT_FOR_RESPAWN`` after ``node.ended``, 1 where the ROS arguments cannot be
        used, e.g. a parameter file that is no YAML.
    """
    try:
        try:
            rclpy.init(args=args)
        except RCLError as error:
            print(f"the node cannot start: {_one_line(error)}", file=sys.stderr)
            return 1
        executor = SingleThreadedExecutor()
        node = make_node()
        try:
            executor.add_node(cast(Node, node))
            return _spin(executor, node)
        finally:
            # A second SIGINT must not interrupt the cleaning up.
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
            if not node.context.ok():
                return 0  # a signal came while a callback worked, which could not answer any more
            node.get_logger().error(f"a callback failed:\n{traceback.format_exc()}", throttle_duration_sec=5.0)
            node.callback_failed(error)
    if not node.ended.done():
        return 0
    node.report_end()
    return EXIT_FOR_RESPAWN


def _one_line(error: Exception) -> str:
    """rcl's message without the places in its source files."""
    return re.sub(r", at /[^,\n]*", "", str(error)).replace("\n", " ")


def _nothing() -> None:
    """Wakes an executor that waits for work."""
