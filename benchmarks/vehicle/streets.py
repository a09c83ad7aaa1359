"""Deskewing on real streets: KITTI's sweeps, which are not compensated, and PandaSet's own times of points.

KITTI gives no time for each point. Its LiDAR turns clockwise from straight behind, ten times a second, and the stamp is
that of facing forward, so a point's time follows from its azimuth.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.checks import Context, Row, all_of, report_only
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.geometry.trajectory import Trajectory
from lidarloop_core.io.bag import message_type
from lidarloop_core.io.messages import cloud_message
from lidarloop_core.pointcloud.deskew import deskewed, motion_during
from lidarloop_core.pointcloud.point_time import PointTimeReader
from lidarloop_core.sample import Sweep

SEQUENCE = "0003"
TURN_S = 0.1035
"""Between consecutive sweeps of this drive."""
ORB_SLAM_TOO_LONG = 1.03
"""Its translations against registered clouds and against OXTS; see the samples' README."""
_VOXEL_M = 0.3
_COLUMNS = ("x", "y", "z", "intensity", "time")


def times_of_turn(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(N,) seconds after facing forward at which a LiDAR that turns clockwise measured (N, 3+) points."""
    times: npt.NDArray[np.float32] = -np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi) * TURN_S
    return times.astype(np.float32)


def check_kitti_overlap(context: Context) -> Iterator[Row]:
    """Share of a sweep's points in occupied voxels of the sweep before, two frames apart, by poses."""
    folder = _unpacked(context, "kitti_tracking")
    frames = np.loadtxt(folder / f"poses_velo_orbslam3/{SEQUENCE}.txt")
    stamps_ns = _stamps_ns(folder / f"timestamps/{SEQUENCE}.txt")
    numbers = [int(row[0]) for row in frames]
    poses = [SE3.from_matrix(row[1:].reshape(3, 4) * [1, 1, 1, 1 / ORB_SLAM_TOO_LONG]) for row in frames]
    trajectory = Trajectory.from_poses([stamps_ns[number] for number in numbers], poses)
    overlaps: dict[str, list[float]] = {"raw": [], "deskewed": []}
    before: dict[str, npt.NDArray[np.float32]] = {}
    for number, pose in zip(numbers, poses, strict=True):
        cloud = np.fromfile(folder / f"velodyne/{SEQUENCE}/{number:06d}.bin", np.float32).reshape(-1, 4)
        points = np.column_stack([cloud, times_of_turn(cloud)])
        sweep = Sweep(points, _COLUMNS, stamps_ns[number], SE3.identity(), pose)
        moved = motion_during(
            lambda at_ns: trajectory.at(at_ns, max_gap_ns=500_000_000, max_beyond_ns=100_000_000),
            *(sweep.stamp_ns, -TURN_S / 2, TURN_S / 2),
        )
        for way, found in (("raw", deskewed(sweep, None)), ("deskewed", deskewed(sweep, moved))):
            now = pose.transform(_judged(found.points))
            if way in before:
                overlaps[way].append(_overlap(before[way], now))
            before[way] = now
    raw, straight = (float(np.mean(overlaps[way])) for way in ("raw", "deskewed"))
    better = int(np.sum(np.array(overlaps["deskewed"]) > np.array(overlaps["raw"])))
    yield report_only(f"KITTI {SEQUENCE}, {len(overlaps['raw'])} pairs at 12 m/s: overlap raw", raw)
    yield Row("  overlap deskewed", straight, f"> {raw:.4g}", straight > raw)
    yield report_only("  pairs whose overlap rose, share", better / len(overlaps["raw"]))


def check_pandaset_times(context: Context) -> Iterator[Row]:
    """PandaSet's own ``dt``, as a driver's field, is understood in every sweep."""
    folder = _unpacked(context, "pandaset_002")
    frames = json.loads((folder / "frames.json").read_text())["frames"]
    num_read, reader, described = 0, PointTimeReader(), ""
    for frame in frames:
        sweep = np.load(folder / f"lidar/{frame['frame']:02d}.npz")
        xyz = sweep["xyz"].astype(np.float32)
        columns = {"x": xyz[:, 0], "y": xyz[:, 1], "z": xyz[:, 2], "time": sweep["dt"].astype(np.float32)}
        stamp_ns = round(1e9 * frame["stamp"])
        read = reader.read_points(cloud_message(columns, stamp_ns, "lidar", message_type), ("x", "y", "z"), stamp_ns)
        num_read += not read.problem
        described = str(read.times)
    row = all_of("PandaSet: sweeps whose own times are understood", num_read, len(frames))
    yield Row(row.what, row.value, f"{row.target}: {described}", row.holds)


def _unpacked(context: Context, name: str) -> Path:
    script = context.data / "streets/unpack.py"
    subprocess.run([sys.executable, str(script), str(context.scratch), "--only", name], check=True, capture_output=True)
    return context.scratch / name


def _stamps_ns(path: Path) -> dict[int, int]:
    """Frame → time of its sweep, nanoseconds of the day."""
    return {int(frame): round(1e9 * seconds) for frame, seconds, _ in np.loadtxt(path)}


def _judged(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What stands up within 4 to 40 m: the road looks the same wherever it is put."""
    distance = np.hypot(points[:, 0], points[:, 1])
    chosen: npt.NDArray[np.float32] = points[(distance > 4) & (distance < 40) & (points[:, 2] > -1.2), :3]
    return chosen


def _overlap(before: npt.NDArray[np.float32], now: npt.NDArray[np.float32]) -> float:
    first, second = (_voxels(points) for points in (before, now))
    return float(np.isin(second, np.unique(first)).mean())


def _voxels(points: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """(N,) one number for each voxel."""
    cells = np.floor(points / _VOXEL_M).astype(np.int64) + 2**19
    numbers: npt.NDArray[np.int64] = (cells[:, 0] << 40) + (cells[:, 1] << 20) + cells[:, 2]
    return numbers
