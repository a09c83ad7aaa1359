"""The KITTI tracking benchmark: sequences at 10 Hz with tracked boxes, the left colour camera and the ego's path.

Labels lie in the camera's frame and exist only for what the left colour camera sees: an object beside or behind the
vehicle has no box, and a detection of it is no false positive. Their tracks give the objects' identities, and with the
ego poses their velocities, of which KITTI publishes none.

A sweep takes about 0.1 s and is NOT compensated for ego-motion: at 12 m/s the scene shears by more than 1 m from the
first to the last ray. What lies ahead was measured while the camera, which the Velodyne triggers, exposed its image.
So the image is given the sweep's ego pose, though its stamp is some 10 ms later: points ahead and labels then lie on
it.

Ego poses come from ``tracking_poses``. Reflectances of 0–1 are given as intensities of 0–255. Checked on two real
sequences: see ``benchmarks/check_streets.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.boxes import BOX_COLUMNS, Boxes3D, points_in_boxes
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.geometry.track_velocities import track_velocities
from lidarloop_core.io.cloud_file import KITTI, read_unit_intensities
from lidarloop_core.sample import Annotations, CameraImage, LidarPose, Sample, SampleKey, Sweep
from lidarloop_training.data.kitti.calibration import (
    EGO_SE3_LIDAR,
    KittiCalibration,
    picture_of,
    read_tracking_calibration,
)
from lidarloop_training.data.kitti.classes import KITTI_CLASSES, KITTI_TO_NUSCENES, TRACKING_NAMES
from lidarloop_training.data.kitti.labels import box_in_lidar, label_lines
from lidarloop_training.data.kitti.tracking_poses import read_orbslam3, read_oxts, read_stamps

Poses = Literal["oxts", "orbslam3"]

LIDAR_COLUMNS = ("x", "y", "z", "intensity")


class KittiTrackingSource:
    """The frames of one sequence or of several, each sequence a drive. Picklable."""

    def __init__(
        self,
        root: Path,
        *,
        sequences: Sequence[str] | None = None,
        num_sweeps: int = 1,
        cameras: bool = True,
        poses: Poses = "oxts",
        own_classes: bool = False,
    ) -> None:
        """Lists the frames.

        Args:
            root: the folder with ``velodyne/<sequence>``, ``calib`` and, if there, ``label_02``, ``image_02``,
                ``oxts`` and ``timestamps``, or the one above its ``training``.
            sequences: names such as ``"0003"``; None for all there are.
            num_sweeps: sweeps per sample, fewer at the start of a sequence; 1 where it has no poses.
            cameras: whether samples carry the images of ``image_02``, where there are some.
            poses: where ego poses come from: the folder ``oxts`` or ``poses_velo_orbslam3``. A sequence without a file
                there has no poses.
            own_classes: whether boxes keep KITTI's own eight classes; else they come in nuScenes' ten classes, without
                those that have none there.

        Raises:
            DatasetError: no clouds, or a sequence that is not there.
        """
        root = Path(root)
        self.root = root / "training" if (root / "training").is_dir() else root
        found = sorted(path.name for path in (self.root / "velodyne").glob("*") if any(path.glob("*.bin")))
        missing = [name for name in sequences or () if name not in found]
        if missing or not found:
            raise DatasetError(
                f"{self.root}: holds no {', '.join(f'velodyne/{name}' for name in missing) or 'velodyne/0000/*.bin'}; "
                f"expected {'one of the sequences ' + ', '.join(found) if found else 'the KITTI tracking folders'}"
            )
        self._num_sweeps = num_sweeps
        self._with_cameras = cameras
        self._poses = poses
        self._own_classes = own_classes
        self._frames = [
            (name, position)
            for name in found
            if sequences is None or name in sequences
            for position in range(len(list((self.root / "velodyne" / name).glob("*.bin"))))
        ]

    def __len__(self) -> int:
        return len(self._frames)

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        """The names of all frames, in order.

        Raises:
            DatasetError: a sequence's timestamps do not fit its clouds.
        """
        return tuple(self._sequence(name).key(position) for name, position in self._frames)

    def __getitem__(self, index: int) -> Sample:
        """Reads one frame and those before it, and counts the points of its cloud in each box.

        Raises:
            DatasetError: a file is missing or damaged.
        """
        name, position = self._frames[index]
        sequence = self._sequence(name)
        num_sweeps = self._num_sweeps if sequence.poses is not None else 1
        sweeps = tuple(sequence.sweep(i) for i in range(position, max(-1, position - num_sweeps), -1))
        annotations = self.annotations(index)
        if annotations is not None:
            counts = points_in_boxes(sweeps[0].points, annotations.boxes.values).sum(axis=1)
            annotations = replace(annotations, num_lidar_pts=counts)
        token, drive, stamp_ns = sequence.key(position)
        cameras = sequence.cameras(position) if self._with_cameras else ()
        return Sample(token, drive, stamp_ns, sweeps, cameras, annotations)

    def annotations(self, index: int) -> Annotations | None:
        """The boxes without their numbers of points, which KITTI does not publish; None where it is not labelled.

        Raises:
            DatasetError: labels, calibration, poses or timestamps are damaged.
        """
        name, position = self._frames[index]
        labels = self._sequence(name).labels
        return None if labels is None else labels.at(position, name, self._own_classes)

    def pose(self, index: int) -> LidarPose:
        """Where the Velodyne is; without ego-motion where the sequence has no poses.

        Raises:
            DatasetError: poses or timestamps are damaged, or there are fewer than frames.
        """
        name, position = self._frames[index]
        return LidarPose(EGO_SE3_LIDAR, self._sequence(name).pose(position))

    def _sequence(self, name: str) -> _Sequence:
        return _read_sequence(self.root, name, self._poses)


@dataclass(frozen=True)
class _Labels:
    """The boxes of a sequence, all frames one after another.

    Attributes:
        positions: (N,) frame of each box, as its place in the sequence.
        values: (N, 9) box columns, LiDAR frame.
        names: N KITTI classes.
        tracks: (N,) track numbers.
    """

    positions: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    names: tuple[str, ...]
    tracks: npt.NDArray[np.int64]

    def at(self, position: int, sequence: str, own_classes: bool) -> Annotations:
        """The boxes of one frame."""
        wanted = {name: name for name in KITTI_CLASSES} if own_classes else KITTI_TO_NUSCENES
        class_names = KITTI_CLASSES if own_classes else NUSCENES_CLASSES
        rows = [int(row) for row in np.flatnonzero(self.positions == position) if self.names[row] in wanted]
        labels = np.array([class_names.index(wanted[self.names[row]]) for row in rows], np.int64)
        return Annotations(
            boxes=Boxes3D(self.values[rows].astype(np.float32), np.ones(len(rows), np.float32), labels, class_names),
            instance_ids=tuple(f"{sequence}-{self.tracks[row]}" for row in rows),
            num_lidar_pts=np.full(len(rows), -1),
            visibility=np.full(len(rows), np.nan, dtype=np.float32),
        )


@dataclass(frozen=True)
class _Sequence:
    """What is read of a sequence but its clouds and images.

    Attributes:
        root: folder of the benchmark.
        name: name of the sequence.
        numbers: N frame numbers.
        stamps_ns: N times of the sweeps, nanoseconds.
        image_stamps_ns: N times of the images, nanoseconds.
        calibration: camera and Velodyne.
        poses: N ``world_SE3_ego``; None where there are none.
        labels: the boxes; None where the sequence is not labelled.
    """

    root: Path
    name: str
    numbers: tuple[int, ...]
    stamps_ns: tuple[int, ...]
    image_stamps_ns: tuple[int, ...]
    calibration: KittiCalibration
    poses: tuple[SE3, ...] | None
    labels: _Labels | None

    def key(self, position: int) -> SampleKey:
        drive = f"kitti-tracking-{self.name}"
        return SampleKey(f"{self.name}-{self.numbers[position]:06d}", drive, self.stamps_ns[position])

    def pose(self, position: int) -> SE3 | None:
        return None if self.poses is None else self.poses[position]

    def sweep(self, position: int) -> Sweep:
        path = self.root / "velodyne" / self.name / f"{self.numbers[position]:06d}.bin"
        points = read_unit_intensities(path, KITTI)
        return Sweep(points, LIDAR_COLUMNS, self.stamps_ns[position], EGO_SE3_LIDAR, self.pose(position))

    def cameras(self, position: int) -> tuple[CameraImage, ...]:
        path = picture_of(self.root / "image_02" / self.name, f"{self.numbers[position]:06d}")
        if path is None:
            return ()
        return (self.calibration.camera_image(path, self.image_stamps_ns[position], self.pose(position)),)


@lru_cache(maxsize=32)
def _read_sequence(root: Path, name: str, source: Poses) -> _Sequence:
    numbers = _frame_numbers(root / "velodyne" / name)
    calibration, lidar_SE3_imu = read_tracking_calibration(root / "calib" / f"{name}.txt")
    stamps_ns, image_stamps_ns = read_stamps(root / "timestamps" / f"{name}.txt", numbers)
    if source == "oxts":
        poses = read_oxts(root / "oxts" / f"{name}.txt", numbers, lidar_SE3_imu)
    else:
        poses = read_orbslam3(root / "poses_velo_orbslam3" / f"{name}.txt", numbers)
    path = root / "label_02" / f"{name}.txt"
    labels = _read_labels(path, numbers, calibration) if path.is_file() else None
    if labels is not None and poses is not None:
        labels = _with_velocities(labels, np.array(stamps_ns), poses)
    return _Sequence(root, name, numbers, stamps_ns, image_stamps_ns, calibration, poses, labels)


def _frame_numbers(folder: Path) -> tuple[int, ...]:
    names = [path.stem for path in folder.glob("*.bin")]
    try:
        return tuple(sorted(int(name) for name in names))
    except ValueError:
        raise DatasetError(f"{folder}: received clouds such as {names[0]}.bin; expected numbers: 000000.bin") from None


def _read_labels(path: Path, numbers: tuple[int, ...], calibration: KittiCalibration) -> _Labels:
    """All boxes of the frames that have a cloud; velocities unknown."""
    place = {number: position for position, number in enumerate(numbers)}
    lidar_SE3_reference = calibration.reference_SE3_lidar.inverse()
    positions, values, names, tracks = [], [], [], []
    for line_number, words in label_lines(path):
        try:
            number, track, name = int(words[0]), int(words[1]), TRACKING_NAMES.get(words[2], words[2])
            if name == "DontCare":
                continue
            if name not in KITTI_CLASSES or len(words) < 17:
                raise ValueError("no label")
            box = box_in_lidar(np.array(words[10:17], dtype=np.float64), lidar_SE3_reference)
        except (ValueError, IndexError):
            raise DatasetError(
                f"{path}, line {line_number}: received {' '.join(words)[:40]!r}…; expected frame, track, one of "
                f"{', '.join(KITTI_CLASSES)}, DontCare, then 14 numbers: restore the file"
            ) from None
        if number in place:
            positions.append(place[number])
            values.append(box)
            names.append(name)
            tracks.append(track)
    return _Labels(
        np.array(positions, np.int64),
        np.array(values, np.float64).reshape(-1, len(BOX_COLUMNS)),
        tuple(names),
        np.array(tracks, np.int64),
    )


def _with_velocities(labels: _Labels, stamps_ns: npt.NDArray[np.int64], poses: tuple[SE3, ...]) -> _Labels:
    """The labels with velocities over the ground, by their tracks."""
    lidars = [pose @ EGO_SE3_LIDAR for pose in poses]
    rotations = np.array([lidar.rotation for lidar in lidars])[labels.positions]
    places = np.array([lidar.translation for lidar in lidars])[labels.positions]
    in_world = np.einsum("nij,nj->ni", rotations, labels.values[:, :3]) + places
    velocities = track_velocities(stamps_ns[labels.positions], labels.tracks, in_world)
    values = labels.values.copy()
    values[:, 7:9] = np.einsum("nji,nj->ni", rotations, velocities)[:, :2]
    return replace(labels, values=values)
