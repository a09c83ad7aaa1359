"""The View-of-Delft data set: single 64-beam clouds with labels, one camera and poses.

Labels lie in the camera's frame, at the bottom centre. The camera is pitched against the LiDAR, but a box stands
upright in the LiDAR's frame and its rotation is about the LiDAR's vertical axis: yaw = -(rotation + π/2). Intensities
are 0–255 as published. Frames have no times: they are given stamps 0.1 s apart by their numbers, and a new drive begins
where numbers are missing. The ego frame is that of the KITTI readers, whose LiDAR is as high within 0.1 m; the world is
the data set's map frame. The radar is not read. Checked on two real frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError, PoseError
from lidarloop_core.geometry.boxes import BOX_COLUMNS, Boxes3D, points_in_boxes, wrap_angle
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import outside, regular_file
from lidarloop_core.io.cloud_file import CloudFormat, read_format
from lidarloop_core.sample import Annotations, CameraImage, LidarPose, Sample, SampleKey, Sweep
from lidarloop_training.data.kitti.calibration import (
    EGO_SE3_LIDAR,
    KittiCalibration,
    picture_of,
    read_object_calibration,
)
from lidarloop_training.data.kitti.labels import label_lines
from lidarloop_training.data.view_of_delft.classes import VIEW_OF_DELFT_CLASSES, VIEW_OF_DELFT_TO_NUSCENES

LIDAR_COLUMNS = ("x", "y", "z", "intensity")

_FORMAT = CloudFormat("View-of-Delft", 4, 255.0)
_MOST_BYTES = 1 << 24
_FIRST_NS = 1_600_000_000_000_000_000
_PERIOD_NS = 100_000_000


class ViewOfDelftSource:
    """The frames of a folder with ``velodyne``, ``calib`` and, if there, ``label_2``, ``image_2`` and ``pose``."""

    def __init__(self, root: Path, *, cameras: bool = True) -> None:
        """Lists the files.

        Args:
            root: ``lidar/training``, or a folder above it.
            cameras: whether samples carry the image, where there is one.

        Raises:
            DatasetError: no clouds, or clouds without numbers for names.
        """
        root = Path(root)
        places = (root, root / "training", root / "lidar" / "training")
        self.root = next((place for place in places if (place / "velodyne").is_dir()), root)
        self._names = sorted(path.stem for path in (self.root / "velodyne").glob("*.bin"))
        if not self._names or not all(name.isdecimal() for name in self._names):
            raise DatasetError(
                f"{self.root}: holds {len(self._names)} velodyne/*.bin; expected View-of-Delft's lidar/training with "
                "clouds named by numbers, such as 01047.bin"
            )
        self._with_cameras = cameras

    def __len__(self) -> int:
        return len(self._names)

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        keys: list[SampleKey] = []
        for name, before in zip(self._names, [None, *self._names], strict=False):
            follows = before is not None and int(name) == int(before) + 1
            drive = keys[-1].drive if follows else f"view-of-delft-{name}"
            keys.append(SampleKey(name, drive, _FIRST_NS + int(name) * _PERIOD_NS))
        return tuple(keys)

    def __getitem__(self, index: int) -> Sample:
        """Reads one frame, and counts the points of its cloud in each box.

        Raises:
            DatasetError: a file is missing or damaged.
        """
        token, drive, stamp_ns = self.keys[index]
        points = read_format(self.root / "velodyne" / f"{token}.bin", _FORMAT)
        calibration = self._calibration(index)
        annotations = self.annotations(index)
        if annotations is not None:
            counts = points_in_boxes(points, annotations.boxes.values).sum(axis=1)
            annotations = replace(annotations, num_lidar_pts=counts)
        pose = self.pose(index)
        return Sample(
            token=token,
            scene=drive,
            stamp_ns=stamp_ns,
            sweeps=(Sweep(points, LIDAR_COLUMNS, stamp_ns, EGO_SE3_LIDAR, pose.world_SE3_ego),),
            cameras=self._cameras(token, calibration, stamp_ns, pose.world_SE3_ego),
            annotations=annotations,
        )

    def annotations(self, index: int) -> Annotations | None:
        """The boxes without their numbers of points; None where the frame is not labelled.

        Raises:
            DatasetError: the labels or the calibration are damaged.
        """
        path = self.root / "label_2" / f"{self._names[index]}.txt"
        if not path.is_file():
            return None
        boxes = _read_boxes(path, self._calibration(index).reference_SE3_lidar.inverse())
        return Annotations(
            boxes=boxes,
            instance_ids=tuple(f"{path.stem}-{i}" for i in range(len(boxes))),
            num_lidar_pts=np.full(len(boxes), -1),
            visibility=np.full(len(boxes), np.nan, dtype=np.float32),
        )

    def pose(self, index: int) -> LidarPose:
        """Where the LiDAR is; without ego-motion where the frame has no pose file.

        Raises:
            DatasetError: the pose or the calibration is damaged.
        """
        path = self.root / "pose" / f"{self._names[index]}.json"
        if not path.is_file():
            return LidarPose(EGO_SE3_LIDAR, None)
        camera_SE3_lidar = self._calibration(index).reference_SE3_lidar
        return LidarPose(EGO_SE3_LIDAR, _read_camera_pose(path) @ camera_SE3_lidar @ EGO_SE3_LIDAR.inverse())

    def _calibration(self, index: int) -> KittiCalibration:
        return read_object_calibration(self.root / "calib" / f"{self._names[index]}.txt")

    def _cameras(
        self, name: str, calibration: KittiCalibration, stamp_ns: int, world_SE3_ego: SE3 | None
    ) -> tuple[CameraImage, ...]:
        path = picture_of(self.root / "image_2", name) if self._with_cameras else None
        return () if path is None else (calibration.camera_image(path, stamp_ns, world_SE3_ego),)


def _read_boxes(path: Path, lidar_SE3_camera: SE3) -> Boxes3D:
    """In the LiDAR's frame, from ``class … height width length x y z rotation``."""
    values, labels = [], []
    for number, words in label_lines(path):
        name = words[0].lower()
        if name == "dontcare":
            continue
        try:
            if name not in VIEW_OF_DELFT_CLASSES or len(words) < 15:
                raise ValueError("no label")
            height, width, length, x, y, z, rotation = (float(word) for word in words[8:15])
        except ValueError:
            raise DatasetError(
                f"{path}, line {number}: received {' '.join(words)[:40]!r}…; expected one of "
                f"{', '.join(VIEW_OF_DELFT_CLASSES)}, DontCare, then 14 numbers: restore the file"
            ) from None
        if name not in VIEW_OF_DELFT_TO_NUSCENES:
            continue
        bottom = lidar_SE3_camera.transform(np.array([[x, y, z]]))[0]
        yaw = float(wrap_angle(np.array(-(rotation + np.pi / 2))))
        values.append([*bottom[:2], bottom[2] + height / 2, length, width, height, yaw, np.nan, np.nan])
        labels.append(NUSCENES_CLASSES.index(VIEW_OF_DELFT_TO_NUSCENES[name]))
    columns = np.array(values, np.float32).reshape(-1, len(BOX_COLUMNS))
    return Boxes3D(columns, np.ones(len(labels), np.float32), np.array(labels, np.int64), NUSCENES_CLASSES)


def _read_camera_pose(path: Path) -> SE3:
    """``map_SE3_camera``: a JSON object in each line, of which one holds ``mapToCamera``, 16 numbers row by row."""
    try:
        records: Iterator[Any] = (
            outside.parse_json(line) for line in regular_file.read_text(path, _MOST_BYTES).splitlines() if line.strip()
        )
        numbers = next(record["mapToCamera"] for record in records if "mapToCamera" in record)
        return SE3.from_matrix(np.array(numbers, dtype=np.float64).reshape(4, 4))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the file") from None
    except (StopIteration, TypeError, ValueError, PoseError) as error:
        raise DatasetError(
            f"{path}: {type(error).__name__}: {error}; expected a line with mapToCamera, 16 numbers of a rigid "
            "transform: restore the file"
        ) from None
