"""A PandaSet sequence as it is published: gzipped pickles of data frames, in the world frame.

    lidar/NN.pkl.gz                 x y z i t d; lidar/poses.json, lidar/timestamps.json
    camera/<name>/NN.jpg            with poses.json, timestamps.json and intrinsics.json beside them
    annotations/cuboids/NN.pkl.gz   uuid label yaw position.* dimensions.* cuboids.sensor_id …
    annotations/semseg/NN.pkl.gz    class, by the cloud's index; classes.json

Source: the devkit's readme and docstrings. The pose's frame has x to the right, y forward and z up. A cuboid's
dimensions.x is its width, dimensions.y its length; at yaw 0 it heads along the world's y, and angles count
counter-clockwise. No published file was at hand: the facts were checked against a sequence that somebody else had
converted to ``compact``, and the files in the tests are written by pandas.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_training.data.pandaset.json_files import layout_checked, nanoseconds, pinhole, read_json
from lidarloop_training.data.pandaset.pickled_frame import PickledFrame, read_frame
from lidarloop_training.data.pandaset.recording import CAMERAS, PANDAR64, Cloud, Cuboids, Picture, point_labels

SOURCE_SE3_EGO = SE3(np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.zeros(3))
"""PandaSet's vehicle frame from ours: its x is our -y, its y our x."""

_TURN_RAD = np.pi / 2


class PublishedRecording:
    """A sequence's folder. Picklable."""

    def __init__(self, folder: Path) -> None:
        """Reads the LiDAR's poses and times.

        Raises:
            DatasetError: they are missing or damaged, or there are fewer than clouds.
        """
        self.folder = folder
        self.frames: Sequence[int] = _numbers(folder / "lidar")
        stamps, poses = folder / "lidar" / "timestamps.json", folder / "lidar" / "poses.json"
        all_stamps, all_poses = read_json(stamps), read_json(poses)
        with layout_checked(stamps):
            self.stamps_ns: Sequence[int] = tuple(nanoseconds(all_stamps[frame]) for frame in self.frames)
        with layout_checked(poses):
            self.poses: Sequence[SE3] = tuple(_pose(all_poses[frame]) @ SOURCE_SE3_EGO for frame in self.frames)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def has_labels(self) -> bool:
        return (self.folder / "annotations" / "cuboids").is_dir()

    @cached_property
    def has_point_labels(self) -> bool:
        return (self.folder / "annotations" / "semseg" / "classes.json").is_file()

    def cloud(self, position: int) -> Cloud:
        """The Pandar64's points of one frame.

        Raises:
            DatasetError: a file is missing or damaged.
        """
        path = self.folder / "lidar" / f"{self.frames[position]:02d}.pkl.gz"
        frame = _table(path, ("x", "y", "z", "i", "d"))
        kept = frame.columns["d"] == PANDAR64
        in_world = np.column_stack([frame.columns[name][kept] for name in ("x", "y", "z")]).astype(np.float64)
        xyz = self.poses[position].inverse().transform(in_world)
        points = np.column_stack([xyz, frame.columns["i"][kept]]).astype(np.float32)
        return Cloud(points, self._point_labels(position, frame.index)[kept] if self.has_point_labels else None)

    def _point_labels(self, position: int, index: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """(N,) labels of the points with that index; 0 where there is none."""
        folder = self.folder / "annotations" / "semseg"
        content = read_json(folder / "classes.json")
        with layout_checked(folder / "classes.json"):
            names = {int(number): str(name) for number, name in content.items()}
        path = folder / f"{self.frames[position]:02d}.pkl.gz"
        labelled = _table(path, ("class",))
        with layout_checked(path):
            ids, order = labelled.columns["class"].astype(np.int64), np.argsort(labelled.index, kind="stable")
            place = np.searchsorted(labelled.index, index, sorter=order).clip(max=max(len(ids) - 1, 0))
            found = labelled.index[order[place]] == index if len(ids) else np.zeros(len(index), bool)
            return point_labels(names, np.where(found, ids[order[place]], 0) if len(ids) else np.zeros(len(index), int))

    def cuboids(self, position: int) -> Cuboids:
        """The labelled objects of one frame, in the vehicle frame.

        Raises:
            DatasetError: the file is missing or damaged.
        """
        path = self.folder / "annotations" / "cuboids" / f"{self.frames[position]:02d}.pkl.gz"
        places = [f"position.{axis}" for axis in "xyz"]
        sizes = ["dimensions.y", "dimensions.x", "dimensions.z"]
        columns = _table(path, ("uuid", "label", "yaw", "cuboids.sensor_id", *places, *sizes)).columns
        with layout_checked(path):
            ego_SE3_world = self.poses[position].inverse()
            in_world = np.column_stack([columns[name].astype(np.float64) for name in places])
            yaws = ego_SE3_world.rotate_yaws(columns["yaw"].astype(np.float64) + _TURN_RAD)
            size = np.column_stack([columns[name].astype(np.float64) for name in sizes])
            return Cuboids(
                tuple(str(name) for name in columns["label"]),
                tuple(str(name) for name in columns["uuid"]),
                np.column_stack([ego_SE3_world.transform(in_world), size, yaws]),
                columns["cuboids.sensor_id"].astype(np.int64),
            )

    def pictures(self, position: int) -> Sequence[Picture]:
        """The images of one frame; none is loaded.

        Raises:
            DatasetError: a calibration is missing or damaged.
        """
        return tuple(
            self._picture(self.folder / "camera" / name, CAMERAS[name], self.frames[position])
            for name in CAMERAS
            if (self.folder / "camera" / name).is_dir()
        )

    def _picture(self, folder: Path, name: str, frame: int) -> Picture:
        intrinsics, stamps, poses = (folder / f"{what}.json" for what in ("intrinsics", "timestamps", "poses"))
        lens, all_stamps, all_poses = (read_json(path) for path in (intrinsics, stamps, poses))
        with layout_checked(intrinsics):
            matrix = pinhole(lens)
        with layout_checked(stamps):
            stamp_ns = nanoseconds(all_stamps[frame])
        with layout_checked(poses):
            return Picture(name, folder / f"{frame:02d}.jpg", matrix, stamp_ns, _pose(all_poses[frame]))


def _numbers(folder: Path) -> tuple[int, ...]:
    """Numbers of the clouds that are there."""
    names = [path.name.split(".")[0] for path in folder.glob("*.pkl.gz")]
    if not names or not all(name.isdecimal() for name in names):
        raise DatasetError(f"{folder}: holds {len(names)} clouds *.pkl.gz; expected 00.pkl.gz, 01.pkl.gz, …")
    return tuple(sorted(int(name) for name in names))


def _pose(record: dict[str, dict[str, float]]) -> SE3:
    """``world_SE3_sensor``."""
    place, heading = record["position"], record["heading"]
    return SE3.from_wxyz([heading[axis] for axis in "wxyz"], [place[axis] for axis in "xyz"])


def _table(path: Path, columns: Sequence[str]) -> PickledFrame:
    frame = read_frame(path)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DatasetError(f"{path}: has no column {', '.join(missing)}; expected {', '.join(columns)}: restore it")
    return frame
