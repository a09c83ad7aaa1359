"""The KITTI object benchmark: single clouds with labels of what the front camera sees.

Labels lie in the camera's frame, at the bottom centre, y down; boxes come out in the Velodyne's frame at the centre.
Reflectances of 0–1 are given as intensities of 0–255.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import BOX_COLUMNS, Boxes3D, points_in_boxes
from lidarloop_core.io.cloud_file import KITTI, read_unit_intensities
from lidarloop_core.sample import Annotations, CameraImage, LidarPose, Sample, SampleKey, Sweep
from lidarloop_training.data.kitti.calibration import (
    EGO_SE3_LIDAR,
    KittiCalibration,
    picture_of,
    read_object_calibration,
)
from lidarloop_training.data.kitti.classes import KITTI_CLASSES, KITTI_TO_NUSCENES
from lidarloop_training.data.kitti.labels import box_in_lidar, label_lines

LIDAR_COLUMNS = ("x", "y", "z", "intensity")

_FIRST_NS = 1_316_995_200_000_000_000
_PERIOD_NS = 100_000_000


class KittiObjectSource:
    """The frames of a folder with ``velodyne``, ``calib`` and, if there, ``label_2`` and ``image_2``.

    The frames come from many drives and have no times: they are given stamps 0.1 s apart and no pose.
    """

    def __init__(self, root: Path, *, cameras: bool = True, own_classes: bool = False) -> None:
        """Lists the files.

        Args:
            root: the folder, or the one above its ``training``.
            cameras: whether samples carry the picture, where there is one.
            own_classes: whether boxes keep KITTI's own eight classes; else they come in nuScenes' ten classes, without
                those that have none there.

        Raises:
            DatasetError: no clouds.
        """
        root = Path(root)
        self.root = root / "training" if (root / "training").is_dir() else root
        self._names = sorted(path.stem for path in (self.root / "velodyne").glob("*.bin"))
        if not self._names:
            raise DatasetError(f"{self.root}: holds no velodyne/*.bin; expected the KITTI object benchmark's folders")
        self._with_cameras = cameras
        self._own_classes = own_classes

    def __len__(self) -> int:
        return len(self._names)

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        return tuple(
            SampleKey(name, "kitti-object", _FIRST_NS + index * _PERIOD_NS) for index, name in enumerate(self._names)
        )

    def __getitem__(self, index: int) -> Sample:
        """Reads one frame, and counts the points of its cloud in each box.

        Raises:
            DatasetError: a file is missing or damaged.
        """
        name = self._names[index]
        calibration = read_object_calibration(self.root / "calib" / f"{name}.txt")
        points = read_unit_intensities(self.root / "velodyne" / f"{name}.bin", KITTI)
        _, drive, stamp_ns = self.keys[index]
        annotations = self._annotations(name, calibration)
        if annotations is not None:
            counts = points_in_boxes(points, annotations.boxes.values).sum(axis=1)
            annotations = replace(annotations, num_lidar_pts=counts)
        return Sample(
            token=name,
            scene=drive,
            stamp_ns=stamp_ns,
            sweeps=(Sweep(points, LIDAR_COLUMNS, stamp_ns, EGO_SE3_LIDAR, None),),
            cameras=self._cameras(name, calibration, stamp_ns),
            annotations=annotations,
        )

    def annotations(self, index: int) -> Annotations | None:
        """The boxes without their numbers of points, which KITTI does not publish; None where it is not labelled.

        Raises:
            DatasetError: the labels or the calibration are damaged.
        """
        name = self._names[index]
        return self._annotations(name, read_object_calibration(self.root / "calib" / f"{name}.txt"))

    def pose(self, index: int) -> LidarPose:
        return LidarPose(EGO_SE3_LIDAR, None)

    def _annotations(self, name: str, calibration: KittiCalibration) -> Annotations | None:
        path = self.root / "label_2" / f"{name}.txt"
        if not path.is_file():
            return None
        values, names = _read_labels(path, calibration)
        wanted = {name: name for name in KITTI_CLASSES} if self._own_classes else KITTI_TO_NUSCENES
        class_names = KITTI_CLASSES if self._own_classes else NUSCENES_CLASSES
        rows = [i for i, name in enumerate(names) if name in wanted]
        labels = np.array([class_names.index(wanted[names[i]]) for i in rows], np.int64)
        boxes = Boxes3D(values[rows], np.ones(len(rows), np.float32), labels, class_names)
        return Annotations(
            boxes=boxes,
            instance_ids=tuple(f"{path.stem}-{i}" for i in rows),
            num_lidar_pts=np.full(len(rows), -1),
            visibility=np.full(len(rows), np.nan, dtype=np.float32),
        )

    def _cameras(self, name: str, calibration: KittiCalibration, stamp_ns: int) -> tuple[CameraImage, ...]:
        path = picture_of(self.root / "image_2", name) if self._with_cameras else None
        return () if path is None else (calibration.camera_image(path, stamp_ns),)


def _read_labels(path: Path, calibration: KittiCalibration) -> tuple[npt.NDArray[np.float32], list[str]]:
    """(N, 9) box columns in the Velodyne's frame, and KITTI's class of each."""
    values, names = [], []
    lidar_SE3_reference = calibration.reference_SE3_lidar.inverse()
    for number, fields in label_lines(path):
        if fields[0] == "DontCare":
            continue
        try:
            if fields[0] not in KITTI_CLASSES or len(fields) < 15:
                raise ValueError("no label")
            values.append(box_in_lidar(np.array(fields[8:15], dtype=np.float64), lidar_SE3_reference))
        except ValueError:
            raise DatasetError(
                f"{path}, line {number}: received {' '.join(fields)[:40]!r}…; expected one of "
                f"{', '.join(KITTI_CLASSES)}, DontCare, then 14 numbers: restore the file"
            ) from None
        names.append(fields[0])
    return np.array(values, np.float32).reshape(-1, len(BOX_COLUMNS)), names
