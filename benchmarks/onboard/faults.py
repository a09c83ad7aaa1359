"""The fault table as it is answered now, and how soon a node that died is back.

python -m benchmarks.onboard.faults
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from rclpy.node import Node

from benchmarks.checks import REPOSITORY, SHIPPED_MODEL, Context, Row, all_of, at_most, report_only
from benchmarks.onboard.load import NODE, Driver, clouds
from lidarloop_ros.replay.node_process import ManagedNode, NodeProcess, isolated_node


def check_faults(context: Context) -> Iterator[Row]:
    """Runs every test of the table in a process of its own, and writes its page to OUT/faults.md.

    Raises:
        RuntimeError: if the tests wrote no page.
    """
    page = context.out / "faults.md"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "fault", "tests/ros", "--faults-page", str(page)]
    page.unlink(missing_ok=True)
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if not page.exists():
        raise RuntimeError(run.stdout[-2000:] + run.stderr[-2000:])
    rows = re.findall(r"^\| .* \| ([a-z, ]+) \|$", page.read_text(), re.M)
    results = [result for result in rows if result != "result"]
    yield all_of("faults of docs/faults.md: rows whose every test has passed", results.count("passed"), len(results))
    restarts, libraries = zip(*[(restart_s(), libraries_s()) for _ in range(3)], strict=True)  # by turns
    ratio = statistics.median(restarts) / statistics.median(libraries)
    yield at_most("node killed and started again: detecting after, times that its libraries take to load", ratio, 5.0)
    yield report_only("  seconds", statistics.median(restarts))


def restart_s() -> float:
    """Seconds from the start of a second process to its first detections, after the first was killed.

    Raises:
        RuntimeError: if the second process detects nothing.
    """
    message = clouds(1_000, 1)[0]
    with isolated_node("restart") as node:
        with NodeProcess("lidarloop_ros.detector.node") as process:
            driver = Driver(node, merges=False)
            _bring_up(node, process)
            driver.ask(message, 0)
            os.kill(process.pid, signal.SIGKILL)
        begin_s = time.monotonic()
        with NodeProcess("lidarloop_ros.detector.node") as process:
            _bring_up(node, process)
            # DDS still counts the dead node's subscription: whether the new one listens shows only in an answer.
            for i in range(1, 100):
                driver.send(message, i)
                if driver.wait_for(1, timeout_s=0.1):
                    return time.monotonic() - begin_s
    raise RuntimeError("the node that was started again answers nothing")


def libraries_s() -> float:
    """Seconds that a process takes to load what the node is made of and to compile one line: what it cannot do without.

    Raises:
        CalledProcessError: if one of the libraries is missing.
    """
    code = "import numba, onnxruntime, rclpy, sensor_msgs.msg, vision_msgs.msg; numba.njit(lambda x: x + 1)(1)"
    begin_s = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.monotonic() - begin_s


def _bring_up(node: Node, process: NodeProcess) -> None:
    detector = ManagedNode(node, process, NODE)
    detector.set_parameters({"model": str(SHIPPED_MODEL), "max_age_s": 0.0, "motion_source": "none"})
    detector.configure()
    detector.activate()


if __name__ == "__main__":
    print(f"{restart_s():.2f} s from the start of the process to its first detections")
