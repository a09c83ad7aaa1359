"""PandaSet's stored street as samples: the 360° LiDAR, six cameras, cuboids and point classes.

A reader for the benchmark alone, of the layout that streets/unpack.py restores.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.images import ImageFile
from lidarloop_core.sample import Annotations, CameraImage, Sample, Sweep

EGO_SE3_LIDAR = SE3(np.eye(3), np.array([0.80, 0.0, 1.85]))
"""The Pandar64 in the vehicle's frame."""

GROUND_CLASSES = (6, 7, 8, 9, 10, 11, 12)
"""Ground, road, its markings, sidewalk and driveway."""


def read_samples(folder: Path, every: int) -> Iterator[Sample]:
    """Every so many-th sample of a drive, e.g. pandaset_002, in the frame of the Pandar64.

    The points' column ``label`` holds the data set's own classes; 0 is none. Boxes have the data set's names.
    """
    drive = json.loads((folder / "frames.json").read_text())
    for frame in drive["frames"][::every]:
        yield _sample(folder, drive, frame)


def _sample(folder: Path, drive: dict[str, Any], frame: dict[str, Any]) -> Sample:
    number = f"{frame['frame']:02d}"
    stamp_ns = round(frame["stamp"] * 1e9)
    cloud = np.load(folder / "lidar" / f"{number}.npz")
    turning = cloud["sensor"] == 0
    xyz = EGO_SE3_LIDAR.inverse().transform(cloud["xyz"][turning])
    points = np.column_stack([xyz, cloud["intensity"][turning], cloud["semseg"][turning]]).astype(np.float32)
    world_SE3_ego = SE3.from_matrix(frame["T_world_ego"])
    sweep = Sweep(points, ("x", "y", "z", "intensity", "label"), stamp_ns, EGO_SE3_LIDAR, world_SE3_ego)
    cameras = [
        _camera(folder / "camera" / name / f"{number}.jpg", name, drive, pose, sweep)
        for name, pose in frame["cameras"].items()
    ]
    boxes = json.loads((folder / "boxes" / f"{number}.json").read_text())
    return Sample(number, folder.name, stamp_ns, (sweep,), tuple(cameras), _annotations(boxes))


def _camera(path: Path, name: str, drive: dict[str, Any], pose: dict[str, Any], sweep: Sweep) -> CameraImage:
    """One camera, whose pose holds the ego-motion since the sweep's stamp already: its ego pose is the sweep's."""
    k = drive["intrinsics"][name]
    width, height = drive["image_size"]
    return CameraImage(
        name=name,
        load=ImageFile(path),
        intrinsics=np.array([[k["fx"], 0, k["cx"]], [0, k["fy"], k["cy"]], [0, 0, 1]]),
        width=width,
        height=height,
        stamp_ns=sweep.stamp_ns + round(pose["time_minus_sweep_stamp"] * 1e9),
        ego_SE3_camera=SE3.from_matrix(pose["T_cam_from_ego"]).inverse(),
        world_SE3_ego=sweep.world_SE3_ego,
    )


def _annotations(boxes: list[dict[str, Any]]) -> Annotations:
    """Boxes of both LiDARs and those that the Pandar64 alone saw; the other LiDAR's twins are left out."""
    own = [box for box in boxes if box["sensor_id"] != 1]
    names = tuple(sorted({box["label"] for box in own}))
    values = np.array([[*b["center"], *b["size_lwh"], b["yaw"], np.nan, np.nan] for b in own], np.float32)
    in_ego = Boxes3D(
        values, np.ones(len(own), np.float32), np.array([names.index(b["label"]) for b in own], np.int64), names
    )
    return Annotations(
        in_ego.transformed(EGO_SE3_LIDAR.inverse()),
        tuple(box["track"] for box in own),
        np.array([box["n_points_own_sensor"] for box in own], np.int64),
        np.full(len(own), np.nan, np.float32),
    )
