"""The results of a replay: detections.json or labels.json, latency.json and a table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lidarloop_core import __version__
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.geometry.trajectory import Trajectory
from lidarloop_core.io import atomic
from lidarloop_core.io.bag import BagReader
from lidarloop_core.io.constant_edges import ConstantEdges
from lidarloop_core.io.messages import frame_name, pose_from_message, stamp_ns
from lidarloop_core.io.results import write_results
from lidarloop_core.model.model_file import ModelFile
from lidarloop_ros.inputs.motion import MAX_GAP_NS
from lidarloop_ros.replay.bag_player import BagTopics
from lidarloop_ros.replay.recorder import deadline_misses, latency_summary, stage_summary
from lidarloop_ros.replay.session import ReplayRecord


def write_detections(path: Path, record: ReplayRecord, reader: BagReader, model: ModelFile | None) -> Path:
    """Writes the boxes, in the world frame if the bag gives the LiDAR's poses, else in the LiDAR's frame.

    Args:
        path: the file.
        record: what the replay recorded.
        reader: the open bag.
        model: the detector's model; None for the self-labeller.

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
    settings = record.settings
    meta: dict[str, Any] = {
        "frame": "world" if poses else "lidar",
        "provenance": {
            "command": f"lidarloop replay {__version__}",
            "bag": reader.path.name,
            "topic": record.topics.cloud,
            "pace": "lockstep" if settings.lockstep else "recorded",
            **({} if settings.lockstep else {"rate": settings.rate}),
            "clouds_sent": record.num_sent,
            "node": settings.program.name,
            "node_parameters": dict(record.node_parameters),
            "num_without_pose": num_without_pose,
        },
    }
    if model is not None:
        meta["model_sha256"] = model.sha256
        meta["class_names"] = list(model.spec.class_names)
        meta["provenance"]["model"] = model.spec.name
    write_results(path, boxes, meta)
    return path


def write_latency(path: Path, record: ReplayRecord, model_sha256: str) -> Path:
    """Writes latency.json: latencies, counts, rate and memory at the recorded pace. Returns ``path``."""
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
        "load": record.load.as_json(),
        "conditions": _conditions(record),
    }
    atomic.write_bytes(path, json.dumps(document, indent=1).encode())
    return path


def _conditions(record: ReplayRecord) -> str:
    """What the latencies were measured under."""
    settings = record.settings
    speed = "" if settings.rate == 1.0 else f", {settings.rate:g} times as fast"
    part = "" if math.isinf(settings.duration_s) else f", the first {settings.duration_s:g} s of the drive"
    return f"at the recorded pace{speed}{part}; {record.load}"


def lidar_poses(reader: BagReader, topics: BagTopics, boxes: Mapping[int, Boxes3D]) -> dict[int, SE3]:
    """Poses of the LiDAR at the clouds' stamps.

    Args:
        reader: the open bag.
        topics: the topics that were played.
        boxes: stamp_ns → boxes, of each answered cloud.

    Returns:
        stamp_ns → ``world_SE3_lidar``, of each cloud that the bag's odometry covers; empty without odometry or mounting
        pose. Odometry in the LiDAR's own frame needs none.
    """
    if not topics.odometry or not boxes:
        return {}
    trajectory, base_frame = _trajectory(reader, topics.odometry)
    base_SE3_lidar = _mounting_pose(reader, topics, base_frame, _lidar_frame(reader, topics.cloud))
    if base_SE3_lidar is None:
        return {}
    poses = {}
    for stamp in boxes:
        try:
            poses[stamp] = trajectory.at(stamp, max_gap_ns=MAX_GAP_NS) @ base_SE3_lidar
        except LookupError:
            continue
    return poses


def print_summary(record: ReplayRecord, paths: Sequence[Path]) -> None:
    """Prints the figures as a table, then the paths of the files."""
    num_answered = len(record.latency_ms)
    pace = "lockstep" if record.settings.lockstep else "recorded pace"
    table = Table(title=f"{record.num_sent} clouds through {record.settings.program.name.lstrip('/')}, {pace}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_row("answered", str(num_answered))
    table.add_row("dropped", str(record.num_sent - num_answered))
    table.add_row("boxes", str(sum(len(boxes) for boxes in record.boxes.values())))
    if not record.settings.lockstep:
        _add_latency(table, record)
    table.add_row("node memory, peak", f"{record.peak_rss_mb:.0f} MB")
    console = Console()
    console.print(table)
    if not record.settings.lockstep:
        console.print(str(record.load), markup=False, highlight=False)
    if record.worst_status:
        console.print(f"the node reported: {record.worst_status}", markup=False)
    for path in paths:
        console.print(str(path), markup=False, soft_wrap=True)


def _add_latency(table: Table, record: ReplayRecord) -> None:
    latency = latency_summary(record.latency_ms)
    for name in ("p50", "p99", "p99_9", "max"):
        table.add_row(f"latency {name.replace('_', '.')}", f"{latency[name]:.1f} ms")
    for stage, summary in stage_summary(record.stage_ms).items():
        table.add_row(f"  {stage} p50", f"{summary['p50']:.1f} ms")
    table.add_row("deadline misses", str(deadline_misses(record.latency_ms)))


def _trajectory(reader: BagReader, topic: str) -> tuple[Trajectory, str]:
    trajectory, child_frame = Trajectory(), ""
    for _, _, msg in reader.messages([topic]):
        # A pose that cannot be used is left out, as the node does.
        with suppress(ValueError):
            trajectory.add(stamp_ns(msg.header), pose_from_message(msg.pose.pose))
            child_frame = frame_name(msg.child_frame_id)
    return trajectory, child_frame


def _mounting_pose(reader: BagReader, topics: BagTopics, base_frame: str, lidar_frame: str) -> SE3 | None:
    """``base_SE3_lidar`` from /tf_static, or from what stays the same on /tf; None where neither has it."""
    if base_frame == lidar_frame:
        return SE3.identity()
    edges = ConstantEdges()
    for topic in topics.transforms:
        for _, _, msg in reader.messages([topic]):
            edges.add(msg, is_static=topic == "/tf_static")
    try:
        return edges.between(base_frame, lidar_frame)
    except LookupError:
        return None


def _lidar_frame(reader: BagReader, topic: str) -> str:
    _, _, msg = next(iter(reader.messages([topic])))
    return frame_name(msg.header.frame_id)
