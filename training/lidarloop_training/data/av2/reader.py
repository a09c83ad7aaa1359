"""The Argoverse 2 Sensor Dataset: sweeps, cuboids, ego poses, pictures and the lane map of its logs.

A published sweep holds the points of both LiDARs, compensated for ego-motion to the sweep's stamp and given in the ego
frame (rear axle, x forward, y left, z up), as float16. No single sensor's frame fits them all, so the ego frame is
taken for the LiDAR's: ``ego_SE3_lidar`` is the identity, points and cuboids are just as published, and every cuboid
holds exactly its ``num_interior_pts``. The sensors sit 1.64 m and 1.53 m above that frame, and the road lies about
0.33 m below it: mind that when a model of another mounting height reads these clouds.

Intensities are 0–255 as published. The laser number, 0–63 over both LiDARs, is the ring; ``offset_ns`` is not kept, for
the motion has been compensated. The world frame of the samples is the city's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.geometry.track_velocities import track_velocities
from lidarloop_core.geometry.trajectory import Trajectory
from lidarloop_core.io import regular_file
from lidarloop_core.io.images import ImageFile
from lidarloop_core.sample import Annotations, CameraImage, LaneMap, LidarPose, Sample, SampleKey, Sweep
from lidarloop_training.data.av2.classes import AV2_CATEGORIES, AV2_TO_NUSCENES
from lidarloop_training.data.av2.lane_map import read_lane_map

_MOST_TABLE_BYTES = 1 << 34

LIDAR_COLUMNS = ("x", "y", "z", "intensity", "ring")

MAX_POSE_GAP_NS = 100_000_000
MAX_CAMERA_OFFSET_NS = 50_000_000

_FILE_COLUMNS = ("x", "y", "z", "intensity", "laser_number")
_POSE_COLUMNS = ("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")
_CUBOID_COLUMNS = (
    "timestamp_ns", "track_uuid", "category", "length_m", "width_m", "height_m", "num_interior_pts", *_POSE_COLUMNS,
)  # fmt: skip
_WHOLE_NUMBER_COLUMNS = ("timestamp_ns", "num_interior_pts")
_TEXT_COLUMNS = ("track_uuid", "category", "sensor_name")

_Table = dict[str, npt.NDArray[Any]]


class Av2Source:
    """The sweeps of one log, or of every log below a folder (``val``, ``sensor``, …), log by log in time order.

    Files are listed in the constructor; poses, cuboids and map of a log are read with its first sample. Picklable.
    """

    def __init__(
        self,
        root: Path,
        *,
        num_sweeps: int = 1,
        cameras: bool = True,
        lane_map: bool = True,
        own_classes: bool = False,
    ) -> None:
        """Lists the sweeps.

        Args:
            root: a log's folder (with ``sensors/lidar``), or one up to three levels above logs.
            num_sweeps: sweeps per sample, fewer at the start of a log.
            cameras: whether samples carry the pictures of ``sensors/cameras``, where there are some.
            lane_map: whether samples carry the lane map, where there is one.
            own_classes: whether boxes keep Argoverse's own thirty categories; else they come in nuScenes' ten classes,
                without those that have none there.

        Raises:
            DatasetError: no log, or a sweep whose name is no time stamp.
        """
        self.root = Path(root)
        self._num_sweeps = num_sweeps
        self._with_cameras = cameras
        self._with_map = lane_map
        self._own_classes = own_classes
        self._frames: list[tuple[Path, int, int]] = []  # log, position in the log, stamp
        self._stamps: dict[Path, list[int]] = {}
        for log in _logs(self.root):
            self._stamps[log] = _stamps(log / "sensors" / "lidar", ".feather")
            self._frames += [(log, i, stamp_ns) for i, stamp_ns in enumerate(self._stamps[log])]
        if not self._frames:
            raise DatasetError(
                f"{self.root}: holds no sensors/lidar/*.feather; expected a log of Argoverse 2's Sensor Dataset, or a "
                "folder of logs"
            )

    def __len__(self) -> int:
        return len(self._frames)

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        return tuple(SampleKey(f"{log.name}-{stamp_ns}", log.name, stamp_ns) for log, _, stamp_ns in self._frames)

    def __getitem__(self, index: int) -> Sample:
        """Reads one sweep and those before it.

        Raises:
            DatasetError: a file is missing or broken, or no pose is known at a sweep's stamp.
        """
        folder, position, stamp_ns = self._frames[index]
        log = _read_log(folder)
        newest_first = self._stamps[folder][max(0, position + 1 - self._num_sweeps) : position + 1][::-1]
        return Sample(
            token=self.keys[index].token,
            scene=folder.name,
            stamp_ns=stamp_ns,
            sweeps=tuple(_read_sweep(log, stamp) for stamp in newest_first),
            cameras=tuple(_pictures(log, stamp_ns)) if self._with_cameras else (),
            annotations=self._annotations(log, stamp_ns),
            lane_map=_read_map(folder) if self._with_map else None,
        )

    def annotations(self, index: int) -> Annotations | None:
        """The cuboids of one sweep; None where the log has none.

        Raises:
            DatasetError: a table of the log is missing or damaged.
        """
        folder, _, stamp_ns = self._frames[index]
        return self._annotations(_read_log(folder), stamp_ns)

    def pose(self, index: int) -> LidarPose:
        """The ego pose at one sweep, whose LiDAR frame is the ego frame.

        Raises:
            DatasetError: no pose is known at its stamp, or a table of the log is damaged.
        """
        folder, _, stamp_ns = self._frames[index]
        return LidarPose(SE3.identity(), _read_log(folder).pose(stamp_ns))

    def labelled_stamps(self) -> Iterator[tuple[int, SE3, Annotations]]:
        """What is labelled, whether the sweep is there or not: for looks at tracks and maps alone.

        Yields:
            For every stamp that has cuboids, log by log in time order: the stamp, ``world_SE3_ego`` and the cuboids in
            the ego frame, metres.

        Raises:
            DatasetError: a table of a log is missing or damaged.
        """
        for folder in self._stamps:
            log = _read_log(folder)
            for stamp_ns in np.unique(log.cuboids.stamps_ns).tolist() if log.cuboids is not None else ():
                annotations = self._annotations(log, stamp_ns)
                assert annotations is not None
                yield stamp_ns, log.pose(stamp_ns), annotations

    def _annotations(self, log: _Log, stamp_ns: int) -> Annotations | None:
        if log.cuboids is None:
            return None
        class_names = AV2_CATEGORIES if self._own_classes else NUSCENES_CLASSES
        labels = log.cuboids.own_labels if self._own_classes else log.cuboids.nuscenes_labels
        rows = np.flatnonzero((log.cuboids.stamps_ns == stamp_ns) & (labels >= 0))
        values = log.cuboids.values[rows]
        boxes = Boxes3D(values.astype(np.float32), np.ones(len(rows), np.float32), labels[rows], class_names)
        return Annotations(
            boxes=boxes,
            instance_ids=tuple(log.cuboids.tracks[rows].tolist()),
            num_lidar_pts=log.cuboids.num_interior_pts[rows],
            visibility=np.full(len(rows), np.nan, np.float32),
        )


@dataclass(frozen=True)
class _Cuboids:
    """All cuboids of a log, in the ego frame of their stamps."""

    stamps_ns: npt.NDArray[np.int64]
    tracks: npt.NDArray[np.object_]
    values: npt.NDArray[np.float64]  # (N, 9)
    own_labels: npt.NDArray[np.int64]
    nuscenes_labels: npt.NDArray[np.int64]  # -1 where nuScenes has no such class
    num_interior_pts: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Log:
    folder: Path
    city_SE3_egos: Trajectory
    cuboids: _Cuboids | None
    pictures: dict[str, list[int]]  # camera → stamps
    calibration: dict[str, tuple[npt.NDArray[np.float64], int, int, SE3]]  # K, width, height, ego_SE3_camera

    def pose(self, stamp_ns: int) -> SE3:
        """``city_SE3_ego``."""
        try:
            return self.city_SE3_egos.at(stamp_ns, max_gap_ns=MAX_POSE_GAP_NS)
        except LookupError:
            raise DatasetError(
                f"{self.folder / _POSES}: no pose at {stamp_ns} ns; expected one at every sweep and picture, or two "
                f"around it within {MAX_POSE_GAP_NS} ns: restore the file"
            ) from None


_POSES = "city_SE3_egovehicle.feather"
_ANNOTATIONS = "annotations.feather"


def _logs(root: Path) -> list[Path]:
    """Folders that hold sensors/lidar: ``root`` or up to three levels below it, in order of their paths."""
    patterns = ("sensors/lidar", "*/sensors/lidar", "*/*/sensors/lidar", "*/*/*/sensors/lidar")
    return sorted(path.parent.parent for pattern in patterns for path in root.glob(pattern) if path.is_dir())


def _stamps(folder: Path, suffix: str) -> list[int]:
    names = [path.stem for path in folder.glob(f"*{suffix}")]
    others = [name for name in names if not name.isdecimal()]
    if others:
        raise DatasetError(
            f"{folder / others[0]}{suffix}: its name is no time stamp; expected nanoseconds such as "
            f"315966265259836000{suffix}: take other files out of the folder"
        )
    return sorted(map(int, names))


@lru_cache(maxsize=16)  # a loader that shuffles comes back to a log; 2 MB each
def _read_log(folder: Path) -> _Log:
    stamps = {
        path.name: _stamps(path, ".jpg") for path in sorted((folder / "sensors" / "cameras").glob("*")) if path.is_dir()
    }
    pictures = {name: found for name, found in stamps.items() if found}
    calibration = _read_calibration(folder / "calibration", list(pictures))
    log = _Log(folder, _read_poses(folder / _POSES), None, pictures, calibration)
    return dataclasses.replace(log, cuboids=_read_cuboids(log)) if (folder / _ANNOTATIONS).is_file() else log


def _read_poses(path: Path) -> Trajectory:
    table = _read_table(path, ("timestamp_ns", *_POSE_COLUMNS))
    quaternions_wxyz = np.column_stack([table[name] for name in _POSE_COLUMNS[:4]]).astype(np.float64)
    # All at once: SE3.from_wxyz would take four times as long for the thousands of poses of a log.
    translations = np.column_stack([table[name] for name in _POSE_COLUMNS[4:]]).astype(np.float64)
    with _poses_of(path):
        rotations = Rotation.from_quat(quaternions_wxyz[:, [1, 2, 3, 0]]).as_matrix()
        return Trajectory.from_poses(table["timestamp_ns"].tolist(), map(SE3, rotations, translations))


@contextmanager
def _poses_of(path: Path) -> Iterator[None]:
    """Names the file of quaternions that are no rotation: scipy and ``SE3`` raise a ValueError."""
    try:
        yield
    except ValueError as error:
        raise DatasetError(
            f"{path}: received a pose that is none ({error}); expected quaternions of length 1: restore the file"
        ) from None


@lru_cache(maxsize=16)
def _read_map(folder: Path) -> LaneMap | None:
    paths = sorted((folder / "map").glob("log_map_archive_*.json"))
    return read_lane_map(paths[0]) if paths else None


def _read_sweep(log: _Log, stamp_ns: int) -> Sweep:
    path = log.folder / "sensors" / "lidar" / f"{stamp_ns}.feather"
    table = _read_table(path, _FILE_COLUMNS, finite=False)  # what reads clouds expects wild points
    points = np.empty((len(table["x"]), len(LIDAR_COLUMNS)), np.float32)
    for i, name in enumerate(_FILE_COLUMNS):
        points[:, i] = table[name]
    return Sweep(points, LIDAR_COLUMNS, stamp_ns, SE3.identity(), log.pose(stamp_ns))


def _read_cuboids(log: _Log) -> _Cuboids:
    path = log.folder / _ANNOTATIONS
    table = _read_table(path, _CUBOID_COLUMNS)
    categories = table["category"].tolist()
    unknown = sorted(set(categories) - set(AV2_CATEGORIES))
    if unknown:
        raise DatasetError(f"{path}: received categories {', '.join(unknown)}; expected {', '.join(AV2_CATEGORIES)}")
    w, x, y, z = (table[name] for name in _POSE_COLUMNS[:4])
    centers = np.column_stack([table[name] for name in _POSE_COLUMNS[4:]])
    stamps_ns, tracks = table["timestamp_ns"].astype(np.int64), table["track_uuid"]
    values = np.column_stack(
        [
            centers,
            *(table[name] for name in ("length_m", "width_m", "height_m")),
            np.arctan2(2 * (x * y + w * z), 1 - 2 * (y * y + z * z)),  # of the turned x axis
            _velocities(log, stamps_ns, tracks, centers),
        ]
    )
    own = {name: label for label, name in enumerate(AV2_CATEGORIES)}
    nuscenes = {name: NUSCENES_CLASSES.index(other) for name, other in AV2_TO_NUSCENES.items()}
    return _Cuboids(
        stamps_ns,
        tracks,
        values,
        np.array([own[name] for name in categories], dtype=np.int64),
        np.array([nuscenes.get(name, -1) for name in categories], dtype=np.int64),
        table["num_interior_pts"].astype(np.int64),
    )


def _velocities(
    log: _Log, stamps_ns: npt.NDArray[np.int64], tracks: npt.NDArray[np.object_], centers: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(N, 2) over the ground, m/s, along the ego's axes; NaN where the track has no neighbour near enough.

    Argoverse publishes none.
    """
    unique_ns, which = np.unique(stamps_ns, return_inverse=True)
    poses = [log.pose(int(stamp_ns)) for stamp_ns in unique_ns]
    rotations = np.array([pose.rotation for pose in poses]).reshape(-1, 3, 3)[which]
    in_city = np.einsum("nij,nj->ni", rotations, centers)
    in_city += np.array([pose.translation for pose in poses]).reshape(-1, 3)[which]
    velocities = track_velocities(stamps_ns, tracks, in_city)
    turned: npt.NDArray[np.float64] = np.einsum("nji,nj->ni", rotations, velocities)[:, :2]
    return turned


def _read_calibration(folder: Path, cameras: Sequence[str]) -> dict[str, tuple[npt.NDArray[np.float64], int, int, SE3]]:
    """The cameras that have images. These are published undistorted: k1, k2 and k3 are what was corrected."""
    if not cameras:
        return {}
    lens_columns = ("fx_px", "fy_px", "cx_px", "cy_px", "width_px", "height_px")
    lenses = _read_table(folder / "intrinsics.feather", ("sensor_name", *lens_columns))
    mountings_path = folder / "egovehicle_SE3_sensor.feather"
    mountings = _read_table(mountings_path, ("sensor_name", *_POSE_COLUMNS))
    found = {}
    for name in cameras:
        rows = [np.flatnonzero(table["sensor_name"] == name) for table in (lenses, mountings)]
        if not all(len(row) for row in rows):
            raise DatasetError(f"{folder}: has no {name}, of which there are images; restore the calibration")
        lens, mounting = (int(row[0]) for row in rows)
        fx, fy, cx, cy, width, height = (float(lenses[column][lens]) for column in lens_columns)
        intrinsics = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        pose = [float(mountings[column][mounting]) for column in _POSE_COLUMNS]
        with _poses_of(mountings_path):
            found[name] = (intrinsics, int(width), int(height), SE3.from_wxyz(pose[:4], pose[4:]))
    return found


def _pictures(log: _Log, stamp_ns: int) -> list[CameraImage]:
    """The picture of each camera nearest to a sweep, by the camera's name in capitals."""
    found = []
    for name, stamps in log.pictures.items():
        nearest_ns = min(stamps, key=lambda stamp: abs(stamp - stamp_ns))
        if abs(nearest_ns - stamp_ns) <= MAX_CAMERA_OFFSET_NS:
            intrinsics, width, height, ego_SE3_camera = log.calibration[name]
            picture = ImageFile(log.folder / "sensors" / "cameras" / name / f"{nearest_ns}.jpg")
            pose = log.pose(nearest_ns)
            found.append(
                CameraImage(name.upper(), picture, intrinsics, width, height, nearest_ns, ego_SE3_camera, pose)
            )
    return found


def _read_table(path: Path, columns: Sequence[str], *, finite: bool = True) -> _Table:
    """Columns of a feather file, float16 and all as they are stored.

    Raises:
        ConfigError: pyarrow is not installed.
        DatasetError: the file is missing, truncated, lacks a column, or a column holds nulls, values of another kind
            or, where ``finite`` is asked for, numbers that are not finite.
    """
    try:
        from pyarrow import ArrowException, feather

        from lidarloop_training import arrow_columns
    except ImportError as error:
        raise ConfigError(
            f"Argoverse 2's feather files received no usable pyarrow ({error}); expected it installed: "
            "pip install 'pyarrow<25'"
        ) from None
    read: Any = feather.read_table  # pyarrow has no types
    try:
        regular_file.require(path, _MOST_TABLE_BYTES)
        table = read(path, memory_map=False)
    except FileNotFoundError:
        raise DatasetError(f"{path}: does not exist; restore the file") from None
    except (ArrowException, OSError) as error:
        raise DatasetError(
            f"{path}: no readable feather file ({error}); it is truncated or of another format"
        ) from None
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise DatasetError(
            f"{path}: lacks column {', '.join(missing)}; found {', '.join(table.column_names)}: restore the file"
        )
    for name in columns:
        is_text, is_whole = name in _TEXT_COLUMNS, name in _WHOLE_NUMBER_COLUMNS
        kind: arrow_columns.Kind = "texts" if is_text else "whole numbers" if is_whole else "numbers"
        arrow_columns.require(table[name], kind, path, name)
    found: _Table = {name: table[name].to_numpy() for name in columns}
    wild = [name for name, values in found.items() if name not in _TEXT_COLUMNS and not np.isfinite(values).all()]
    if finite and wild:
        raise DatasetError(f"{path}: received numbers in {', '.join(wild)} that are not finite: restore the file")
    return found
