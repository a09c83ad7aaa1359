"""The process round a node: it outlives exceptions, ends when the node asks for it, and does not grow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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


CONFIGURING = """
import os, signal, sys, time
from diagnostic_msgs.msg import DiagnosticStatus
from lidarloop_ros.node.params import NodeParams
from lidarloop_ros.node.runner import run
from lidarloop_ros.node.shell import LifecycleShell

class Slow(LifecycleShell):
    def __init__(self):
        super().__init__("slow", NodeParams)
        self.create_timer(0.01, self.trigger_configure)
    def configure(self):
        os.kill(os.getpid(), signal.{signal})
        while self.context.ok():
            time.sleep(0.001)
        self.create_publisher(DiagnosticStatus, "late", 1)
    def start(self): pass
    def stop(self): pass
    def release(self): pass
    def diagnose(self, *, name, hardware_id): return DiagnosticStatus()
    def callback_failed(self, error): raise error

sys.exit(run(Slow))
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_while_configuring_ends_the_node_without_a_traceback(name: str) -> None:
    with isolated_node("observer"):
        command = [sys.executable, "-c", CONFIGURING.replace("{signal}", name)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr + result.stdout


def test_a_parameter_file_that_is_no_yaml_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "tab.yaml"
    file.write_text("/**:\n\tros__parameters:\n\t\tscore_threshold: 0.5\n")
    command = [sys.executable, "-m", "lidarloop_ros.detector.node", "--ros-args", "--params-file", str(file)]
    with isolated_node("observer"):
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert f"the node cannot start: failed to initialize rcl: Couldn't parse params file: '--params-file {file}'" in (
        result.stderr
    )
