"""The node under load: what it adds to the network's time, and whether it grows over very many frames.

python -m benchmarks.onboard.load soak 100000 results/onboard_soak.json     # the long run; hours on two cores
python -m benchmarks.onboard.load overhead
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Float64
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

from benchmarks.checks import (
    REPOSITORY,
    SHIPPED_MODEL,
    Context,
    Row,
    as_json,
    at_least,
    at_most,
    commit,
    report_only,
    runs_studies,
)
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import atomic
from lidarloop_core.io.messages import cloud_message, odometry_message, transforms_message
from lidarloop_core.machine import machine
from lidarloop_ros.detector.outputs import STAGES
from lidarloop_ros.messages.conversions import message_type
from lidarloop_ros.replay.bag_player import header_stamp_ns
from lidarloop_ros.replay.node_process import ManagedNode, NodeProcess, isolated_node

STORED_SOAK = REPOSITORY / "results/onboard_soak.json"
NODE = "/lidar_detector"
T0 = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
NUM_POINTS = 30_000
SEED = 3
POSES_PER_CLOUD = 5
ANSWER_TIMEOUT_S = 30.0
LONG, SHORT = 100_000, 2_000
# Soak: frames between two looks at the process, and every so many frames one that cannot be decoded.
SAMPLE_EVERY = 50
BAD_EVERY = 500
# Targets of time are ratios of one run: milliseconds tell one machine from another, or a busy one from a calm one.
OVERHEAD_SHARE = 0.15
P99_BY_P50 = 3.0
# The first part of a soak is not judged: caches and allocators fill.
WARM_UP_SHARE = 0.3


@dataclass(frozen=True)
class Soak:
    """A long run.

    Attributes:
        command: command line of the run.
        machine: processor, cores, memory and system.
        commit: git commit of the code that ran.
        seed: seed of the toy-town drive of the clouds.
        frames: answered so far, at each look.
        rss_mb: resident memory of its own (not pages of files, which come and go), 10^6 bytes, at each look.
        threads: number of threads, at each look.
        files: open file descriptors, at each look.
        num_lost: frames never answered, of those that could be.
        frames_per_s: mean over the run, frames per second.
    """

    command: list[str]
    machine: dict[str, Any]
    commit: str
    seed: int
    frames: list[int]
    rss_mb: list[float]
    threads: list[int]
    files: list[int]
    num_lost: int
    frames_per_s: float

    def slope_mb_per_10k(self) -> float:
        """Least squares over what comes after the warm-up."""
        judged = np.array(self.frames) >= WARM_UP_SHARE * self.frames[-1]
        slope, _ = np.polyfit(np.array(self.frames)[judged], np.array(self.rss_mb)[judged], 1)
        return float(slope * 10_000)

    def growth(self, name: str) -> int:
        """Largest number after the warm-up, less that at its end."""
        values = getattr(self, name)
        begin = int(WARM_UP_SHARE * len(values))
        return int(max(values[begin:]) - values[begin])


def check_soak(context: Context) -> Iterator[Row]:
    """A short soak now, and the stored long one."""
    if runs_studies():
        atomic.write_bytes(STORED_SOAK, as_json(asdict(soak(LONG))))
    if STORED_SOAK.exists():
        stored = Soak(**json.loads(STORED_SOAK.read_text()))
        yield at_least("soak: frames of the long run", float(stored.frames[-1]), LONG)
        yield at_most("  memory, MB per 10,000 frames after the warm-up", stored.slope_mb_per_10k(), 1.0)
        yield from _rows_of_soak(stored)
    else:
        yield Row("soak: frames of the long run", None, f"≥ {LONG:g}", False, f"no {STORED_SOAK.name}: FULL=1 makes it")
    short = soak(SHORT)
    yield at_least("soak: frames of the short run, now", float(short.frames[-1]), SHORT)
    # So short a run cannot tell a slope from the allocator's steps; a leak of one cloud per frame would be 4,800 MB.
    yield at_most("  memory, MB per 10,000 frames after the warm-up", short.slope_mb_per_10k(), 25.0)
    yield from _rows_of_soak(short)


def _rows_of_soak(run: Soak) -> Iterator[Row]:
    yield at_most("  growth of threads", float(run.growth("threads")), 0)
    yield at_most("  growth of open files", float(run.growth("files")), 0)
    yield at_most("  frames lost", float(run.num_lost), 0)
    yield report_only("  frames per second", run.frames_per_s)


def check_overhead(context: Context) -> Iterator[Row]:
    """What the node adds to the network's time at 30k points, and how evenly it answers: both as ratios of one run."""
    for name, merges in (("one sweep", False), ("three sweeps merged by odometry", True)):
        stages = measure_stages(merges=merges)
        overhead_ms = stages["total"] - stages["infer"]
        ratio = float(np.median(overhead_ms) / np.median(stages["infer"]))
        yield at_most(f"node at 30k points, {name}: all but the network, share of its p50", ratio, OVERHEAD_SHARE)
        p50_ms, p99_ms = np.percentile(stages["total"], (50, 99)).tolist()
        yield at_most("  total, p99 / p50", p99_ms / p50_ms, P99_BY_P50)
        yield report_only("  all but the network, ms p50", float(np.median(overhead_ms)))
        for stage in STAGES:
            yield report_only(f"  {stage}, ms p50", float(np.median(stages[stage])))


class Driver:
    """The other side of the node: clouds one by one, each answered before the next is sent.

    Args:
        node: publishes and listens.
        merges: whether poses are sent, so that the model's sweeps are merged.
    """

    def __init__(self, node: Node, *, merges: bool) -> None:
        self._merges = merges
        self._answered = threading.Condition()
        self._last_ns = 0
        self.num_lost = 0
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.points = node.create_publisher(PointCloud2, f"{NODE}/input/points", 10)
        self._odometry = node.create_publisher(Odometry, f"{NODE}/input/odometry", 10)
        mounting = node.create_publisher(TFMessage, "/tf_static", latched)
        mounting.publish(transforms_message([("base_link", "lidar_top", SE3.identity())], 0, message_type))
        node.create_subscription(Detection3DArray, f"{NODE}/detections", self._on_detections, 10, raw=True)

    def ask(self, msg: PointCloud2, index: int, pose_period_s: float = 0.0) -> None:
        """Sends the frame ``index``, the poses up to it and then its cloud, and waits for its detections."""
        # At 50 Hz: so the node's poses too, of which it keeps 2,000, are full while a soak warms up.
        for i in range(-POSES_PER_CLOUD + 1, 1):
            time.sleep(pose_period_s)
            self.move(index + i / POSES_PER_CLOUD)  # the last one right before the cloud, as a vehicle's may be
        self.send(msg, index)
        self.num_lost += not self.wait_for(index, ANSWER_TIMEOUT_S)

    def move(self, index: float) -> None:
        """Sends the pose of a frame, or of a time between two, if the node merges sweeps."""
        if self._merges:
            pose = SE3.from_yaw(0.0, (0.5 * index % 1000, 0.0, 0.0))
            stamp_ns = T0 + round(index * PERIOD_NS)
            self._odometry.publish(odometry_message(pose, (5, 0, 0), (0, 0, 0), stamp_ns, message_type))

    def wait_for(self, index: int, timeout_s: float) -> bool:
        """Whether the frame ``index``, or a later one, is answered in time."""
        with self._answered:
            return self._answered.wait_for(lambda: self._last_ns >= T0 + index * PERIOD_NS, timeout_s)

    def send(self, msg: PointCloud2, index: float) -> None:
        """Sends a cloud without waiting."""
        msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(T0 + round(index * PERIOD_NS), 1_000_000_000)
        self.points.publish(msg)

    def _on_detections(self, data: bytes) -> None:
        with self._answered:
            self._last_ns = header_stamp_ns(data)
            self._answered.notify()


@contextmanager
def running_node(*, merges: bool) -> Iterator[tuple[Node, NodeProcess, Driver]]:
    """The shipped model in the node, active, in a process of its own."""
    with isolated_node("load") as node, NodeProcess("lidarloop_ros.detector.node") as process:
        driver = Driver(node, merges=merges)
        detector = ManagedNode(node, process, NODE)
        source = "odometry" if merges else "none"
        detector.set_parameters({"model": str(SHIPPED_MODEL), "max_age_s": 0.0, "motion_source": source})
        detector.configure()
        detector.activate()
        deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
        while not driver.points.get_subscription_count() and time.monotonic() < deadline_s:
            time.sleep(0.01)
        yield node, process, driver


def clouds(num_points: int, num_clouds: int) -> list[PointCloud2]:
    """Scans of a toy-town drive, filled up or thinned to so many points."""
    from lidarloop_training.toytown.drive import ToyTownDrive

    drive = ToyTownDrive(SEED, duration_s=num_clouds / 10, cameras=False)
    rng = np.random.default_rng(0)
    messages = []
    for i in range(num_clouds):
        sweep = drive[i].keyframe
        chosen = np.sort(rng.choice(len(sweep.points), num_points, replace=num_points > len(sweep.points)))
        columns: dict[str, npt.NDArray[np.float32]] = {
            name: sweep.points[chosen, sweep.columns.index(name)] for name in ("x", "y", "z", "intensity")
        }
        messages.append(cloud_message(columns, 0, "lidar_top", message_type))
    return messages


def measure_stages(*, merges: bool, num_frames: int = 200) -> dict[str, npt.NDArray[np.float64]]:
    """Stage → (N,) ms of each frame, as the node measures them; poses come at 50 Hz, clouds at some 10 Hz."""
    messages = clouds(NUM_POINTS, 10)
    seen: dict[str, list[float]] = {stage: [] for stage in STAGES}
    with running_node(merges=merges) as (node, _, driver):
        for stage in STAGES:
            topic = f"{NODE}/debug/latency_ms/{stage}"
            node.create_subscription(Float64, topic, partial(_append, seen[stage]), 100)
        for i in range(num_frames):
            driver.ask(messages[i % len(messages)], i, pose_period_s=0.1 / POSES_PER_CLOUD)
        time.sleep(0.5)
    length = min(map(len, seen.values()))
    # The first frames meet cold caches, and the node has just heard of its listeners.
    return {stage: np.array(values[-length:])[length // 10 :] for stage, values in seen.items()}


def _append(values: list[float], message: Float64) -> None:
    values.append(message.data)


def soak(num_frames: int) -> Soak:
    """As many frames as fast as they are answered, some of them undecodable; every sweep merged."""
    messages = clouds(NUM_POINTS, 10)
    bad = clouds(100, 1)[0]
    bad.row_step += 1
    made_by = commit()  # a long run may see others come
    frames, rss_mb, threads, files = [], [], [], []
    with running_node(merges=True) as (_, process, driver):
        start_s = time.monotonic()
        for i in range(1, num_frames + 1):
            if i % BAD_EVERY == 0:
                driver.send(bad, i - 0.5)
            driver.ask(messages[i % len(messages)], i)
            if i % SAMPLE_EVERY == 0:
                process.require_alive()
                frames.append(i)
                rss_mb.append(_status(process.pid, "RssAnon") * 1024 / 1e6)
                threads.append(_status(process.pid, "Threads"))
                files.append(len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
        seconds = time.monotonic() - start_s
        num_lost = driver.num_lost
    return Soak(sys.argv, machine(), made_by, SEED, frames, rss_mb, threads, files, num_lost, num_frames / seconds)


def _status(pid: int, name: str) -> int:
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith(f"{name}:"))
    return int(line.split()[1])


def main() -> None:
    if sys.argv[1] == "soak":
        run = soak(int(sys.argv[2]))
        atomic.write_bytes(Path(sys.argv[3]), as_json(asdict(run)))
        print(f"{run.slope_mb_per_10k():.2f} MB per 10,000 frames, {run.num_lost} lost, {run.frames_per_s:.1f} per s")
        return
    for merges in (False, True):
        stages = measure_stages(merges=merges)
        print("merges" if merges else "one sweep", {k: round(float(np.median(v)), 2) for k, v in stages.items()})
        overhead_ms, infer_ms = np.median(stages["total"] - stages["infer"]), np.median(stages["infer"])
        print(f"  all but the network: p50 {overhead_ms:.2f} ms, {overhead_ms / infer_ms:.3f} of the network's")


if __name__ == "__main__":
    main()
