"""One segment (drive) of Waymo Open Dataset v2: its calibration, poses, labels and the readers of its large files."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.rectify import distortion_coefficients
from lidarloop_core.geometry.se3 import SE3
from lidarloop_training import arrow_columns
from lidarloop_training.data.waymo.component import (
    CAMERA,
    LASER,
    OBJECT,
    STAMP,
    RowReader,
    component_path,
    read_columns,
)

LASERS = {"TOP": 1, "FRONT": 2, "SIDE_LEFT": 3, "SIDE_RIGHT": 4, "REAR": 5}
"""``LaserName`` of v2."""

CAMERAS = {1: "CAM_FRONT", 2: "CAM_FRONT_LEFT", 3: "CAM_FRONT_RIGHT", 4: "CAM_SIDE_LEFT", 5: "CAM_SIDE_RIGHT"}
"""``CameraName`` of v2, under the names we give."""

IMAGE = "[CameraImageComponent].image"
PIXEL_POSES = "[LiDARPoseComponent].range_image_return1"

_CAMERA_SE3_OPTICAL = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
"""Waymo's camera frame looks along x, with y left and z up."""

_LIDAR_CALIBRATION = "[LiDARCalibrationComponent]."
_CAMERA_CALIBRATION = "[CameraCalibrationComponent]."
_CAMERA_IMAGE = "[CameraImageComponent]."
_VEHICLE_POSE = "[VehiclePoseComponent].world_from_vehicle.transform"
_BOX = "[LiDARBoxComponent]."
_BOX_FIELDS = ("center.x", "center.y", "center.z", "size.x", "size.y", "size.z", "heading")
_INTRINSIC_FIELDS = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")

_END_OF_TIME_S = 2**63 * 1e-9
"""The time that 64 bits of nanoseconds hold."""


def return_column(number: int) -> str:
    """The column of a LiDAR's first or second return, without ``.values`` and ``.shape``."""
    return f"[LiDARComponent].range_image_return{number}"


@dataclass(frozen=True)
class LaserCalibration:
    """Mounting and beams of one LiDAR; ``values_rad`` is None where beams are evenly spread from minimum to maximum."""

    vehicle_SE3_lidar: SE3
    minimum_rad: float
    maximum_rad: float
    values_rad: npt.NDArray[np.float64] | None


@dataclass(frozen=True)
class CameraCalibration:
    """One camera; the mounting is that of the optical frame (x right, y down, z forward)."""

    name: str
    vehicle_SE3_camera: SE3
    intrinsics: npt.NDArray[np.float64]
    distortion: npt.NDArray[np.float64]
    width: int
    height: int


@dataclass(frozen=True)
class CameraRow:
    """A picture in the component ``camera_image``: the row, and the vehicle when the picture's middle was exposed."""

    row: int
    calibration: CameraCalibration
    stamp_ns: int
    world_SE3_vehicle: SE3


@dataclass(frozen=True)
class Labels:
    """The boxes of a segment or of one frame.

    Attributes:
        boxes: (N, 7) x y z length width height heading in the vehicle's frame, at the frame's pose.
        types: (N,) ``BoxType``.
        ids: (N,) object ids.
        speeds: (N, 3) metres per second along the world's axes; NaN where there is none.
        num_points: (N,) LiDAR points inside.
        difficulty: (N,) ``DifficultyLevelType`` for detection; 0 where unknown.
    """

    boxes: npt.NDArray[np.float64]
    types: npt.NDArray[np.int64]
    ids: npt.NDArray[np.object_]
    speeds: npt.NDArray[np.float64]
    num_points: npt.NDArray[np.int64]
    difficulty: npt.NDArray[np.int64]

    def __getitem__(self, rows: npt.NDArray[np.int64] | list[int]) -> Labels:
        return Labels(
            self.boxes[rows],
            self.types[rows],
            self.ids[rows],
            self.speeds[rows],
            self.num_points[rows],
            self.difficulty[rows],
        )


class Segment:
    """What is read once for a segment: everything but range images and pictures."""

    def __init__(self, root: Path, name: str, returns: Sequence[int], *, cameras: bool) -> None:
        """Reads the small components and indexes the large ones.

        Raises:
            DatasetError: a component is missing or damaged.
        """
        self.lidar_path = component_path(root, "lidar", name)
        self._poses = _poses(component_path(root, "vehicle_pose", name))
        self._lasers = _laser_calibrations(component_path(root, "lidar_calibration", name))
        self._lidar_rows = _index(self.lidar_path, LASER)
        fields = [f"{return_column(number)}.{part}" for number in returns for part in ("values", "shape")]
        self._lidar = RowReader(self.lidar_path, fields)
        self._pixel_poses, self._pixel_pose_rows = _open_pixel_poses(root, name)
        self._labels, self._label_rows = _read_labels(root, name)
        self._camera_rows: dict[int, list[CameraRow]] = {}
        self.pictures: RowReader | None = None
        if cameras and (root / "camera_image").is_dir():
            calibrations = _camera_calibrations(component_path(root, "camera_calibration", name))
            images = component_path(root, "camera_image", name)
            self._camera_rows = _camera_rows(images, calibrations)
            self.pictures = RowReader(images, [IMAGE])

    def pose(self, stamp_us: int) -> SE3:
        """The vehicle in the world, roughly in the middle of the frame; points and boxes refer to it."""
        return self._poses[stamp_us]

    def laser(self, number: int) -> LaserCalibration:
        return self._lasers[number]

    def range_images(self, stamp_us: int, laser: int) -> dict[str, Any]:
        """``[…].range_image_returnN.values`` and ``.shape`` → scalar.

        Raises:
            DatasetError: the frame has no row of this LiDAR.
        """
        row = self._lidar_rows.get((stamp_us, laser))
        if row is None:
            raise DatasetError(
                f"{self.lidar_path}: holds no row of frame {stamp_us} and laser {laser}, which vehicle_pose or "
                "lidar_calibration names: download the component again, or leave the LiDAR out"
            )
        return self._lidar.row(row)

    def pixel_poses(self, stamp_us: int, laser: int) -> npt.NDArray[np.float32] | None:
        """(H, W, 6) of a LiDAR whose points are not in one vehicle frame yet; None for the others."""
        row = self._pixel_pose_rows.get((stamp_us, laser))
        if self._pixel_poses is None or row is None:
            return None
        fields = self._pixel_poses.row(row)
        return image_of(fields, PIXEL_POSES, 6, self._pixel_poses.path)

    def labels(self, stamp_us: int) -> Labels | None:
        """The frame's labels; None where the segment has no labels at all."""
        return None if self._labels is None else self._labels[self._label_rows.get(stamp_us, [])]

    def camera_rows(self, stamp_us: int) -> list[CameraRow]:
        return self._camera_rows.get(stamp_us, [])


def image_of(row: dict[str, Any], field: str, num_channels: int, path: Path) -> npt.NDArray[np.float32] | None:
    """(H, W, C) image of ``num_channels`` channels from a flat list and its shape; None where both are null or empty.

    Raises:
        DatasetError: they do not fit each other.
    """
    values, shape = row[f"{field}.values"], row[f"{field}.shape"].as_py()
    flat = _flat(values)
    if not shape and flat is not None and not len(flat):
        return None
    if flat is None or not _is_image_shape(shape, num_channels) or np.prod(shape) != len(flat):
        received = f"no list of numbers in {field}" if flat is None else f"{len(flat)} values of {field}"
        raise DatasetError(
            f"{path}: received {received} with shape {str(shape)[:50]}; expected height × width × "
            f"{num_channels} values: restore the file"
        )
    return flat.reshape(shape)


def _flat(values: pa.Scalar) -> npt.NDArray[np.float32] | None:
    """(N,) the numbers of a list, none of them for null; None where it is no list of numbers."""
    if not values.is_valid:
        return np.empty(0, np.float32)
    try:
        flat: npt.NDArray[np.float32] = values.values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    except (AttributeError, TypeError, ValueError):
        return None
    return flat if flat.ndim == 1 else None


def _is_image_shape(shape: Any, num_channels: int) -> bool:
    are_sizes = isinstance(shape, list) and all(type(size) is int and size > 0 for size in shape)
    return are_sizes and len(shape) == 3 and bool(shape[2] == num_channels)


def read_stamps(path: Path) -> list[int]:
    """The frames of a ``vehicle_pose`` file in order, microseconds.

    Raises:
        DatasetError: see ``read_columns``; or there is no frame.
    """
    stamps: list[int] = sorted(read_columns(path, [STAMP]).column(STAMP).to_pylist())
    if not stamps:
        raise DatasetError(f"{path}: holds no frame; expected a pose for each: restore the file")
    return stamps


def _poses(path: Path) -> dict[int, SE3]:
    table = read_columns(path, [STAMP, _VEHICLE_POSE])
    stamps = table.column(STAMP).to_pylist()
    return dict(zip(stamps, _transforms(table.column(_VEHICLE_POSE), path), strict=True))


def _transforms(column: pa.ChunkedArray, path: Path) -> list[SE3]:
    """4 × 4 matrices, stored row by row in 16 numbers each."""
    try:
        return [SE3.from_matrix(np.array(numbers, dtype=np.float64).reshape(4, 4)) for numbers in column.to_pylist()]
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path}: holds a transform that is none ({error}): restore the file") from None


def _index(path: Path, sensor: str) -> dict[tuple[int, int], int]:
    """(frame, sensor) → row of a component."""
    table = read_columns(path, [STAMP, sensor])
    keys = zip(table.column(STAMP).to_pylist(), table.column(sensor).to_pylist(), strict=True)
    return {key: row for row, key in enumerate(keys)}


def _laser_calibrations(path: Path) -> dict[int, LaserCalibration]:
    beams = _LIDAR_CALIBRATION + "beam_inclination."
    extrinsic = _LIDAR_CALIBRATION + "extrinsic.transform"
    table = read_columns(path, [LASER, extrinsic, beams + "min", beams + "max", beams + "values"])
    found = {}
    mountings = _transforms(table.column(extrinsic), path)
    limits = np.stack([_floats(table, beams + end, path) for end in ("min", "max")], axis=1).tolist()
    keys = (table.column(column).to_pylist() for column in (LASER, beams + "values"))
    for mounting, laser, values, (low, high) in zip(mountings, *keys, limits, strict=True):
        beams_rad = _beams(values, path) if values else None
        if beams_rad is None and not (np.isfinite(low) and np.isfinite(high)):
            raise DatasetError(
                f"{path}: received no inclinations of the beams of laser {laser}; expected a list, or least and "
                "greatest: restore the file"
            )
        found[laser] = LaserCalibration(mounting, low, high, beams_rad)
    if LASERS["TOP"] not in found:
        raise DatasetError(f"{path}: lacks the calibration of the top LiDAR (laser 1): restore the file")
    return found


def _beams(values: Any, path: Path) -> npt.NDArray[np.float64]:
    """(H,) inclinations, radians."""
    try:
        beams_rad = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        beams_rad = np.empty(0)
    if beams_rad.ndim != 1 or not len(beams_rad) or not np.isfinite(beams_rad).all():
        raise DatasetError(f"{path}: received beam inclinations that are no list of finite numbers: restore the file")
    return beams_rad


def _open_pixel_poses(root: Path, name: str) -> tuple[RowReader | None, dict[tuple[int, int], int]]:
    if not (root / "lidar_pose").is_dir():
        warnings.warn(
            f"{root}: has no component lidar_pose; points of the top LiDAR are not compensated for the vehicle's "
            "motion during the sweep: download it to have them so",
            stacklevel=2,
        )
        return None, {}
    path = component_path(root, "lidar_pose", name)
    return RowReader(path, [f"{PIXEL_POSES}.values", f"{PIXEL_POSES}.shape"]), _index(path, LASER)


def _read_labels(root: Path, name: str) -> tuple[Labels | None, dict[int, list[int]]]:
    if not (root / "lidar_box").is_dir():
        return None, {}
    numbers = [*(f"{_BOX}box.{field}" for field in _BOX_FIELDS), *(f"{_BOX}speed.{axis}" for axis in "xyz")]
    counts = [_BOX + "type", _BOX + "num_lidar_points_in_box", _BOX + "difficulty_level.detection"]
    path = component_path(root, "lidar_box", name)
    table = read_columns(path, [STAMP, OBJECT, *numbers, *counts])
    values = np.stack([_floats(table, column, path) for column in numbers], axis=1)
    if not np.isfinite(values[:, :7]).all():
        raise DatasetError(f"{path}: received a box with nulls or numbers that are not finite: restore the file")
    types, num_points, difficulty = (np.nan_to_num(_floats(table, c, path)).astype(np.int64) for c in counts)
    ids = np.array(table.column(OBJECT).to_pylist(), dtype=object)
    rows = defaultdict(list)
    for row, stamp_us in enumerate(table.column(STAMP).to_pylist()):
        rows[stamp_us].append(row)
    return Labels(values[:, :7], types, ids, values[:, 7:], num_points, difficulty), dict(rows)


def _floats(table: pa.Table, name: str, path: Path) -> npt.NDArray[np.float64]:
    """(N,) numbers of a column; NaN for null."""
    column = table.column(name)
    arrow_columns.require(column, "numbers", path, name, nullable=True)
    numbers: npt.NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
    return numbers


def _camera_calibrations(path: Path) -> dict[int, CameraCalibration]:
    intrinsic = [f"{_CAMERA_CALIBRATION}intrinsic.{field}" for field in _INTRINSIC_FIELDS]
    extrinsic, width, height = (_CAMERA_CALIBRATION + field for field in ("extrinsic.transform", "width", "height"))
    table = read_columns(path, [CAMERA, extrinsic, width, height, *intrinsic])
    for size in (width, height):
        arrow_columns.require(table.column(size), "whole numbers", path, size)
    lenses = np.stack([_floats(table, field, path) for field in intrinsic], axis=1)
    if not np.isfinite(lenses).all():
        raise DatasetError(f"{path}: received intrinsics with nulls or numbers that are not finite: restore the file")
    found = {}
    mountings = _transforms(table.column(extrinsic), path)
    keys = (table.column(column).to_pylist() for column in (CAMERA, width, height))
    for mounting, lens, camera, num_columns, num_rows in zip(mountings, lenses.tolist(), *keys, strict=True):
        fx, fy, cx, cy, *distortion = lens
        found[camera] = CameraCalibration(
            name=CAMERAS.get(camera, f"CAM_{camera}"),
            vehicle_SE3_camera=mounting @ _CAMERA_SE3_OPTICAL,
            intrinsics=np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]),
            distortion=distortion_coefficients(distortion, str(path)),
            width=num_columns,
            height=num_rows,
        )
    return found


def _camera_rows(path: Path, calibrations: dict[int, CameraCalibration]) -> dict[int, list[CameraRow]]:
    """Frame → its pictures, in order of the cameras' numbers."""
    pose, time = _CAMERA_IMAGE + "pose.transform", _CAMERA_IMAGE + "pose_timestamp"
    table = read_columns(path, [STAMP, CAMERA, pose, time])
    poses = _transforms(table.column(pose), path)
    frames: dict[int, list[tuple[int, CameraRow]]] = defaultdict(list)
    times_s = _floats(table, time, path)
    if not (np.abs(times_s) < _END_OF_TIME_S).all():
        raise DatasetError(f"{path}: received a {time} that is no time in seconds: restore the file")
    keys = (table.column(column).to_pylist() for column in (STAMP, CAMERA))
    for row, (stamp_us, camera, seconds) in enumerate(zip(*keys, times_s.tolist(), strict=True)):
        if camera not in calibrations:
            raise DatasetError(f"{path}: holds pictures of camera {camera}, which camera_calibration does not name")
        found = CameraRow(row, calibrations[camera], round(seconds * 1e6) * 1000, poses[row])
        frames[stamp_us].append((camera, found))
    return {stamp: [found for _, found in sorted(rows, key=lambda r: r[0])] for stamp, rows in frames.items()}
