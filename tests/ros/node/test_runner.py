"""The process round a node: it outlives exceptions, ends when the node asks for it, and does not grow."""

from __future__ import annotations

import subprocess
import sys

from lidarloop_ros.replay.node_process import isolated_node

NODE = """
import sys
from rclpy.node import Node
from rclpy.task import Future
from lidarloop_ros.node.runner import run

class Ticking(Node):
    def __init__(self):
        super().__init__("ticking")
        self.ended = Future()
        self.num_ticks = self.num_failed = 0
        self.create_timer(0.001, self.tick)

    def tick(self):
        self.num_ticks += 1
        if self.num_ticks == 300:
            print("waiting for the end:", len(self.ended._callbacks))
            self.ended.set_result("enough")
        if self.num_ticks % 100 == 50:
            raise KeyError("a tick")

    def callback_failed(self, error):
        self.num_failed += 1

    def report_end(self):
        print("failed:", self.num_failed, "because:", self.ended.result())

sys.exit(run(Ticking))
"""


def test_a_node_survives_exceptions_and_ends_with_the_respawn_code() -> None:
    with isolated_node("observer"):  # for the DDS domain, which its environment leads to
        result = subprocess.run([sys.executable, "-c", NODE], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 3, result.stderr
    # rclpy's spin_until_future_complete would have added one for each tick.
    assert result.stdout.splitlines() == ["waiting for the end: 1", "failed: 3 because: enough"]
    assert "KeyError: 'a tick'" in result.stderr
