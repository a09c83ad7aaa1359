"""The results of a replay: detections.json, latency.json and a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import tf2_ros
from rclpy.serialization import deserialize_message
from rclpy.time import Time
from rich.console import Console
from rich.table import Table
from tf2_msgs.msg import TFMessage

from lidarloop_core import __version__
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.geometry.trajectory import Trajectory
from lidarloop_core.io import atomic
from lidarloop_core.io.bag import BagReader
from lidarloop_core.io.messages import pose_from_message, stamp_ns, transform_from_message
from lidarloop_core.io.results import write_results
from lidarloop_core.model.model_file import ModelFile
from lidarloop_ros.inputs.motion import MAX_GAP_NS
from lidarloop_ros.replay.bag_player import BagTopics
from lidarloop_ros.replay.recorder import deadline_misses, latency_summary, stage_summary
from lidarloop_ros.replay.session import ReplayRecord


def write_detections(path: Path, record: ReplayRecord, reader: BagReader, model: ModelFile) -> Path:
    """Writes detections.json, in the world frame if the bag gives the LiDAR's poses, else in the LiDAR's frame.

    Returns:
        ``path``.
    """
    poses = lidar_poses(reader, record.topics, record.boxes)
    boxes = {
        str(s): b.transformed(poses[s]) if poses else b for s, b in record.boxes.items() if not poses or s in poses
    }
    num_without_pose = len(record.boxes) - len(boxes)
    if num_without_pose:
        Console(stderr=True).print(
            f"{num_without_pose} of {len(record.boxes)} answered clouds are not in {path.name}: "
            "the bag's odometry does not reach them",
            markup=False,
        )
    meta = {
        "frame": "world" if poses else "lidar",
        "model_sha256": model.sha256,
        "provenance": {
            "command": f"lidarloop replay {__version__}",
            "bag": reader.path.name,
            "topic": record.topics.cloud,
            "rate": record.settings.rate,
            "model": model.spec.name,
            "node_parameters": dict(record.node_parameters),
            "num_without_pose": num_without_pose,
        },
    }
    write_results(path, boxes, meta)
    return path


def write_latency(path: Path, record: ReplayRecord, model_sha256: str) -> Path:
    """Writes latency.json: latencies, counts, rate and memory. Returns ``path``."""
    num_detected = len(record.latency_ms)
    document = {
        "latency_ms": latency_summary(record.latency_ms),
        "stage_ms": stage_summary(record.stage_ms),
        "frames_sent": record.num_sent,
        "frames_detected": num_detected,
        "frames_dropped": record.num_sent - num_detected,
        "deadline_misses": deadline_misses(record.latency_ms),
        "rate_hz": round((record.num_sent - 1) / record.sent_for_s, 3) if record.sent_for_s else 0.0,
        "rss_mb": round(record.peak_rss_mb, 1),
        "model_sha256": model_sha256,
    }
    atomic.write_bytes(path, json.dumps(document, indent=1).encode())
    return path


def lidar_poses(reader: BagReader, topics: BagTopics, boxes: Mapping[int, Boxes3D]) -> dict[int, SE3]:
    """Poses of the LiDAR at the clouds' stamps.

    Args:
        reader: the open bag.
        topics: the topics that were played.
        boxes: stamp_ns → boxes, of each answered cloud.

    Returns:
        stamp_ns → ``world_SE3_lidar``, of each cloud that the bag's odometry covers; empty without odometry or mounting
        pose.
    """
    if not topics.odometry or "/tf_static" not in topics.transforms or not boxes:
        return {}
    trajectory, base_frame = _trajectory(reader, topics.odometry)
    base_SE3_lidar = _mounting_pose(reader, base_frame, _lidar_frame(reader, topics.cloud))
    if base_SE3_lidar is None:
        return {}
    poses = {}
    for stamp in boxes:
        try:
            poses[stamp] = trajectory.at(stamp, max_gap_ns=MAX_GAP_NS) @ base_SE3_lidar
        except LookupError:
            continue
    return poses


def print_summary(record: ReplayRecord, paths: tuple[Path, ...]) -> None:
    """Prints the figures as a table, then the paths of the files."""
    latency, num_detected = latency_summary(record.latency_ms), len(record.latency_ms)
    table = Table(title=f"{record.num_sent} clouds through lidar_detector")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_row("detected", str(num_detected))
    table.add_row("dropped", str(record.num_sent - num_detected))
    table.add_row("boxes", str(sum(len(boxes) for boxes in record.boxes.values())))
    for name in ("p50", "p99", "p99_9", "max"):
        table.add_row(f"latency {name.replace('_', '.')}", f"{latency[name]:.1f} ms")
    for stage, summary in stage_summary(record.stage_ms).items():
        table.add_row(f"  {stage} p50", f"{summary['p50']:.1f} ms")
    table.add_row("deadline misses", str(deadline_misses(record.latency_ms)))
    table.add_row("node memory, peak", f"{record.peak_rss_mb:.0f} MB")
    console = Console()
    console.print(table)
    if record.worst_status:
        console.print(f"the node reported: {record.worst_status}", markup=False)
    for path in paths:
        console.print(str(path), markup=False, soft_wrap=True)


def _trajectory(reader: BagReader, topic: str) -> tuple[Trajectory, str]:
    trajectory, child_frame = Trajectory(), ""
    for _, _, msg in reader.messages([topic]):
        trajectory.add(stamp_ns(msg.header), pose_from_message(msg.pose.pose))
        child_frame = msg.child_frame_id
    return trajectory, child_frame


def _mounting_pose(reader: BagReader, base_frame: str, lidar_frame: str) -> SE3 | None:
    buffer = tf2_ros.Buffer()
    for _, _, data in reader.raw_messages(["/tf_static"]):
        for transform in deserialize_message(data, TFMessage).transforms:
            buffer.set_transform_static(transform, "bag")
    try:
        return transform_from_message(buffer.lookup_transform(base_frame, lidar_frame, Time()).transform)
    except tf2_ros.TransformException:
        return None


def _lidar_frame(reader: BagReader, topic: str) -> str:
    _, _, msg = next(iter(reader.messages([topic])))
    return str(msg.header.frame_id)
