"""Clouds of 200,000 points at 10 Hz from process to process, with the shipped Fast DDS profile and without.

python -m benchmarks.onboard.transport with        # or: without; prints what arrived, and how late
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import domain_coordinator
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2

from benchmarks.checks import REPOSITORY, Context, Row, all_of, at_most, report_only
from lidarloop_core.io.messages import cloud_message
from lidarloop_ros.messages.conversions import message_type
from lidarloop_ros.node import fastdds
from lidarloop_ros.replay.bag_player import header_stamp_ns

NUM_POINTS = 200_000
NUM_CLOUDS = 100
PERIOD_S = 0.1
TOPIC = "/points"
QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
# For what is under way when the last cloud is sent.
LINGER_S = 2.0


@dataclass(frozen=True)
class Transport:
    """What arrived of ``NUM_CLOUDS``.

    Attributes:
        num_delivered: clouds.
        latency_ms: sent → received, of each.
    """

    num_delivered: int
    latency_ms: list[float]


def check_transport(context: Context) -> Iterator[Row]:
    """All clouds arrive with the profile; both ways' p99 beside it."""
    figures = {with_profile: measure(with_profile=with_profile) for with_profile in (True, False)}
    size_mb = NUM_POINTS * 16 / 1e6
    what = f"{NUM_POINTS // 1000}k-point clouds ({size_mb:.1f} MB) at {1 / PERIOD_S:.0f} Hz"
    yield all_of(f"{what}, with the profile: delivered", figures[True].num_delivered, NUM_CLOUDS)
    yield at_most("  transport p99, ms", float(np.percentile(figures[True].latency_ms, 99)), 1e3 * PERIOD_S)
    without = figures[False]
    yield report_only(f"{what}, without: share delivered", without.num_delivered / NUM_CLOUDS)
    if without.latency_ms:
        yield report_only("  transport p99 of those, ms", float(np.percentile(without.latency_ms, 99)))


def measure(*, with_profile: bool) -> Transport:
    """One sender and one receiver, each a process, on a DDS domain of their own."""
    with domain_coordinator.domain_id() as domain:
        environment = {
            **{k: v for k, v in os.environ.items() if k not in fastdds.environment()},
            **(fastdds.environment() if with_profile else {}),
            "ROS_DOMAIN_ID": str(domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        }
        command = [sys.executable, "-m", "benchmarks.onboard.transport"]
        pipe = subprocess.PIPE
        receiver = subprocess.Popen(
            [*command, "receive"], cwd=REPOSITORY, env=environment, stdin=pipe, stdout=pipe, text=True
        )
        sender = subprocess.Popen([*command, "send"], cwd=REPOSITORY, env=environment)
        try:
            sender.wait(timeout=120)
            received, _ = receiver.communicate(timeout=60)  # closes its stdin: no more comes
        finally:
            for process in (sender, receiver):
                process.kill()
                process.wait()
    return Transport(**json.loads(received))


def send() -> None:
    """Publishes the clouds, stamped with the monotonic clock, once a subscriber is there."""
    rclpy.init()
    node = Node("sender")
    publisher = node.create_publisher(PointCloud2, TOPIC, QOS)
    points = np.random.default_rng(0).uniform(-50, 50, (4, NUM_POINTS)).astype(np.float32)
    msg = cloud_message(dict(zip(("x", "y", "z", "intensity"), points, strict=True)), 0, "lidar_top", message_type)
    assert isinstance(msg.data, array)
    while not publisher.get_subscription_count():
        time.sleep(0.01)
    time.sleep(0.5)  # the receiver may see this publisher a moment after it is seen
    start_s = time.monotonic()
    for i in range(NUM_CLOUDS):
        time.sleep(max(0.0, start_s + i * PERIOD_S - time.monotonic()))
        now_ns = time.monotonic_ns()
        msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(now_ns, 1_000_000_000)
        publisher.publish(msg)
    time.sleep(LINGER_S)


def receive() -> None:
    """Prints the latency of what arrives until its stdin is closed."""
    rclpy.init()
    node = Node("receiver")
    latency_ms: list[float] = []

    def on_cloud(data: bytes) -> None:
        latency_ms.append((time.monotonic_ns() - header_stamp_ns(data)) * 1e-6)

    node.create_subscription(PointCloud2, TOPIC, on_cloud, QOS, raw=True)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not select.select([sys.stdin], [], [], 0)[0]:
        executor.spin_once(timeout_sec=0.1)
    print(json.dumps({"num_delivered": len(latency_ms), "latency_ms": latency_ms}))


if __name__ == "__main__":
    if sys.argv[1] in ("with", "without"):
        seen = measure(with_profile=sys.argv[1] == "with")
        late = np.percentile(seen.latency_ms, (50, 99)) if seen.latency_ms else (float("nan"),) * 2
        print(f"{seen.num_delivered} of {NUM_CLOUDS} delivered; p50 {late[0]:.1f} ms, p99 {late[1]:.1f} ms")
    else:
        {"send": send, "receive": receive}[sys.argv[1]]()
