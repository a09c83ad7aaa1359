"""A PandaSet sequence packed for evaluation: clouds as .npz, cuboids and poses as JSON, all in the vehicle frame.

frames.json     intrinsics, stamps, ego poses, and the pose of each camera at its exposure
lidar/NN.npz    xyz, intensity, dt, sensor, semseg
boxes/NN.json   label, track, center, size_lwh, yaw, sensor_id
camera/*/NN.jpg half of the published size
semseg_classes.json
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import outside, regular_file
from lidarloop_training.data.pandaset.json_files import layout_checked, nanoseconds, pinhole, read_json
from lidarloop_training.data.pandaset.recording import CAMERAS, PANDAR64, Cloud, Cuboids, Picture, point_labels

_MOST_BYTES = 1 << 28


class CompactRecording:
    """A sequence's folder. Picklable."""

    def __init__(self, folder: Path) -> None:
        """Reads frames.json.

        Raises:
            DatasetError: it is missing or damaged.
        """
        self.folder = folder
        self._index = folder / "frames.json"
        content = read_json(self._index)
        with layout_checked(self._index):
            self._records: list[dict[str, Any]] = content["frames"]
            self._intrinsics = {name: pinhole(lens) for name, lens in content["intrinsics"].items()}
            self.frames: Sequence[int] = tuple(int(record["frame"]) for record in self._records)
            self.stamps_ns: Sequence[int] = tuple(nanoseconds(record["stamp"]) for record in self._records)
            self.poses: Sequence[SE3] = tuple(SE3.from_matrix(record["T_world_ego"]) for record in self._records)
            if not self.frames:
                raise ValueError("no frames")

    @property
    def name(self) -> str:
        return self.folder.name.removeprefix("pandaset_")

    @property
    def has_labels(self) -> bool:
        return (self.folder / "boxes").is_dir()

    @cached_property
    def has_point_labels(self) -> bool:
        return (self.folder / "semseg_classes.json").is_file()

    @cached_property
    def _class_names(self) -> dict[int, str]:
        path = self.folder / "semseg_classes.json"
        content = read_json(path)
        with layout_checked(path):
            return {int(number): str(name) for number, name in content.items()}

    def cloud(self, position: int) -> Cloud:
        """The Pandar64's points of one frame.

        Raises:
            DatasetError: a file is missing or damaged.
        """
        path = self.folder / "lidar" / f"{self.frames[position]:02d}.npz"
        try:
            regular_file.require(path, _MOST_BYTES)
            with np.load(path, allow_pickle=False) as arrays:
                columns = {name: arrays[name] for name in ("xyz", "intensity", "sensor", "semseg")}
        except (*outside.DAMAGED_ZIP, KeyError, ValueError) as error:
            raise DatasetError(
                f"{path}: cannot be read ({type(error).__name__}: {error}); expected xyz, intensity, sensor and "
                "semseg: restore the file"
            ) from None
        num_points = len(columns["sensor"])
        shapes = {name: (num_points, 3) if name == "xyz" else (num_points,) for name in columns}
        if any(columns[name].shape != shape for name, shape in shapes.items()):
            raise DatasetError(f"{path}: received columns of different lengths; expected one row a point: restore it")
        kept = columns["sensor"] == PANDAR64
        points = np.column_stack([columns["xyz"][kept], columns["intensity"][kept]]).astype(np.float32)
        labels = point_labels(self._class_names, columns["semseg"][kept]) if self.has_point_labels else None
        return Cloud(points, labels)

    def cuboids(self, position: int) -> Cuboids:
        """The labelled objects of one frame, in the vehicle frame.

        Raises:
            DatasetError: the file is missing or damaged.
        """
        path = self.folder / "boxes" / f"{self.frames[position]:02d}.json"
        records = read_json(path)
        with layout_checked(path):
            values = np.array([[*r["center"], *r["size_lwh"], r["yaw"]] for r in records], dtype=np.float64)
            return Cuboids(
                tuple(str(record["label"]) for record in records),
                tuple(str(record["track"]) for record in records),
                values.reshape(len(records), 7),
                np.array([int(record["sensor_id"]) for record in records], np.int64),
            )

    def pictures(self, position: int) -> Sequence[Picture]:
        """The images of one frame; none is loaded.

        Raises:
            DatasetError: a calibration is missing or damaged.
        """
        record = self._records[position]
        with layout_checked(self._index):
            return tuple(
                Picture(
                    CAMERAS[name],
                    self.folder / "camera" / name / f"{self.frames[position]:02d}.jpg",
                    self._intrinsics[name],
                    self.stamps_ns[position] + nanoseconds(camera["time_minus_sweep_stamp"]),
                    self.poses[position] @ SE3.from_matrix(camera["T_cam_from_ego"]).inverse(),
                )
                for name, camera in record["cameras"].items()
            )
