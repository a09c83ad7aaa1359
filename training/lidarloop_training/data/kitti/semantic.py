"""SemanticKITTI: the sequences of the KITTI odometry benchmark with a label for each point.

Clouds carry two columns more than KITTI's: ``label``, an index into ``semantic_classes.LABEL_NAMES`` (0 is not
scored), and ``instance``, the object's number in its sequence (0 where the class has none). Both are integers that
float32 holds exactly. Test sequences have neither column. Reflectances of 0–1 are given as intensities of 0–255.

``poses.txt`` holds the poses of the left camera; the ego frame is the one of the other KITTI readers, on the road below
the Velodyne, and the world is the ego frame of the pose that the file calls the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import regular_file
from lidarloop_core.io.cloud_file import KITTI, read_unit_intensities
from lidarloop_core.sample import CameraImage, LidarPose, Sample, SampleKey, Sweep
from lidarloop_training.data.kitti.calibration import (
    EGO_SE3_LIDAR,
    KittiCalibration,
    read_odometry_calibration,
)
from lidarloop_training.data.kitti.semantic_classes import LABEL_NAMES, RAW_TO_LABEL

_MOST_BYTES = 1 << 28

LIDAR_COLUMNS = ("x", "y", "z", "intensity")
LABEL_COLUMNS = ("label", "instance")

_FIRST_NS = 1_316_995_200_000_000_000
_PERIOD_NS = 100_000_000
_UNKNOWN = -1

_LABELS = np.full(2**16, _UNKNOWN, dtype=np.int64)
_LABELS[list(RAW_TO_LABEL)] = list(RAW_TO_LABEL.values())


class SemanticKittiSource:
    """The scans of one sequence or of several, in order. Picklable."""

    def __init__(
        self, root: Path, *, sequences: Sequence[str] | None = None, num_sweeps: int = 1, cameras: bool = True
    ) -> None:
        """Lists the scans.

        Args:
            root: a sequence's folder (with ``velodyne``), or one that holds ``sequences`` or the sequences themselves.
            sequences: names such as ``"08"``; None for all there are.
            num_sweeps: scans per sample, fewer at the start of a sequence; 1 where it has no poses.
            cameras: whether samples carry the pictures of ``image_2``, where there are some.

        Raises:
            DatasetError: no scans, a sequence that is not there, or fewer times or poses than scans.
        """
        self.root = Path(root)
        self._num_sweeps = num_sweeps
        self._with_cameras = cameras
        folders = _sequences(self.root)
        missing = [name for name in sequences or () if name not in folders]
        if missing or not folders:
            raise DatasetError(
                f"{self.root}: holds no sequence {', '.join(missing) or 'with velodyne/*.bin'}; expected "
                f"{'one of ' + ', '.join(folders) if folders else 'SemanticKITTI with sequences/00, 01, …'}"
            )
        chosen = [folder for name, folder in folders.items() if sequences is None or name in sequences]
        self._scans = [(folder, i) for folder in chosen for i in range(len(_read_sequence(folder).names))]

    def __len__(self) -> int:
        return len(self._scans)

    @cached_property
    def keys(self) -> tuple[SampleKey, ...]:
        """The names of all scans, in order.

        Raises:
            DatasetError: fewer times or poses than scans.
        """
        return tuple(_read_sequence(folder).key(position) for folder, position in self._scans)

    def __getitem__(self, index: int) -> Sample:
        """Reads one scan and those before it.

        Raises:
            DatasetError: a file is missing, has the wrong size, or holds an unknown label.
        """
        folder, position = self._scans[index]
        sequence = _read_sequence(folder)
        num_sweeps = self._num_sweeps if sequence.poses is not None else 1
        newest_first = range(position, max(-1, position - num_sweeps), -1)
        token, drive, stamp_ns = sequence.key(position)
        return Sample(
            token=token,
            scene=drive,
            stamp_ns=stamp_ns,
            sweeps=tuple(sequence.sweep(i) for i in newest_first),
            cameras=sequence.cameras(position) if self._with_cameras else (),
            point_classes=LABEL_NAMES if sequence.is_labelled else (),
        )

    def annotations(self, index: int) -> None:
        """SemanticKITTI labels points, not objects."""

    def pose(self, index: int) -> LidarPose:
        """Where the Velodyne is; without ego-motion where the sequence has no poses.

        Raises:
            DatasetError: fewer times or poses than scans.
        """
        folder, position = self._scans[index]
        return LidarPose(EGO_SE3_LIDAR, _read_sequence(folder).pose(position))


@dataclass(frozen=True)
class _Sequence:
    folder: Path
    names: list[str]
    stamps_ns: list[int]
    poses: npt.NDArray[np.float64] | None  # (N, 4, 4) world_SE3_ego
    calibration: KittiCalibration | None
    is_labelled: bool

    def key(self, position: int) -> SampleKey:
        token = f"{self.folder.name}-{self.names[position]}"
        return SampleKey(token, f"semantic-kitti-{self.folder.name}", self.stamps_ns[position])

    def pose(self, position: int) -> SE3 | None:
        return None if self.poses is None else SE3.from_matrix(self.poses[position])

    def sweep(self, position: int) -> Sweep:
        name = self.names[position]
        points = read_unit_intensities(self.folder / "velodyne" / f"{name}.bin", KITTI)
        columns: tuple[str, ...] = LIDAR_COLUMNS
        if self.is_labelled:
            labels = read_labels(self.folder / "labels" / f"{name}.label", len(points))
            points, columns = np.column_stack([points, labels]), (*LIDAR_COLUMNS, *LABEL_COLUMNS)
        return Sweep(points, columns, self.stamps_ns[position], EGO_SE3_LIDAR, self.pose(position))

    def cameras(self, position: int) -> tuple[CameraImage, ...]:
        path = self.folder / "image_2" / f"{self.names[position]}.png"
        if self.calibration is None or not path.is_file():
            return ()
        return (self.calibration.camera_image(path, self.stamps_ns[position], self.pose(position)),)


def read_labels(path: Path, num_points: int) -> npt.NDArray[np.float32]:
    """Label and instance of each point of a scan, (N, 2) float32.

    Raises:
        DatasetError: the file is missing, is not of this scan, or holds an id that SemanticKITTI does not have.
    """
    try:
        data = regular_file.read_bytes(path, _MOST_BYTES)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the file") from None
    if len(data) != 4 * num_points:
        raise DatasetError(
            f"{path}: received {len(data)} bytes; expected {4 * num_points}, one uint32 for each of the "
            f"{num_points} points of the scan: the file is truncated or of another scan"
        )
    raw = np.frombuffer(data, dtype="<u4")
    labels = _LABELS[raw & 0xFFFF]
    if (labels == _UNKNOWN).any():
        unknown = np.unique((raw & 0xFFFF)[labels == _UNKNOWN])
        raise DatasetError(f"{path}: received label ids {unknown[:8].tolist()}; expected those of SemanticKITTI")
    return np.column_stack([labels, raw >> 16]).astype(np.float32)


def _sequences(root: Path) -> dict[str, Path]:
    """Sequences with a scan by name, in order."""
    place = root / "sequences" if (root / "sequences").is_dir() else root
    folders = [root] if (root / "velodyne").is_dir() else sorted(path.parent for path in place.glob("*/velodyne"))
    return {folder.name: folder for folder in folders if any((folder / "velodyne").glob("*.bin"))}


@lru_cache(maxsize=32)
def _read_sequence(folder: Path) -> _Sequence:
    names = sorted(path.stem for path in (folder / "velodyne").glob("*.bin"))
    times, poses = folder / "times.txt", folder / "poses.txt"
    has_poses = poses.is_file()
    calib = folder / "calib.txt"
    calibration = read_odometry_calibration(calib) if has_poses or calib.is_file() else None
    return _Sequence(
        folder=folder,
        names=names,
        stamps_ns=_read_times(times, names) if times.is_file() else _even_times(names),
        poses=_read_poses(poses, names, calibration) if has_poses and calibration is not None else None,
        calibration=calibration,
        is_labelled=(folder / "labels").is_dir(),
    )


def _even_times(names: list[str]) -> list[int]:
    return [_FIRST_NS + i * _PERIOD_NS for i in range(len(names))]


_LONGEST_S = 1e9
"""More than any recording takes; 64 bits of nanoseconds hold it."""


def _read_times(path: Path, names: list[str]) -> list[int]:
    """Nanoseconds of each scan; the file holds seconds from the sequence's start."""
    seconds = _rows_of(path, names, num_columns=1)[:, 0]
    if not (np.abs(seconds) < _LONGEST_S).all():
        raise DatasetError(f"{path}: received a time that is none; expected seconds from the start: restore the file")
    return [_FIRST_NS + round(float(second) * 1e9) for second in seconds]


def _read_poses(path: Path, names: list[str], calibration: KittiCalibration) -> npt.NDArray[np.float64]:
    """(N, 4, 4) ``world_SE3_ego``; the file holds the poses of the reference camera, seen from its first."""
    first_SE3_camera = np.tile(np.eye(4), (len(names), 1, 1))
    first_SE3_camera[:, :3] = _rows_of(path, names, num_columns=12).reshape(-1, 3, 4)
    camera_SE3_ego = (calibration.reference_SE3_lidar @ EGO_SE3_LIDAR.inverse()).matrix
    poses: npt.NDArray[np.float64] = np.linalg.inv(camera_SE3_ego) @ first_SE3_camera @ camera_SE3_ego
    # The file's seven digits leave rotations orthogonal to 1e-6 only.
    u, _, vt = np.linalg.svd(poses[:, :3, :3])
    poses[:, :3, :3] = u @ vt
    return poses


def _rows_of(path: Path, names: list[str], num_columns: int) -> npt.NDArray[np.float64]:
    """The file's line for each scan: line n is of the scan with number n."""
    try:
        rows = np.loadtxt(regular_file.read_text(path, _MOST_BYTES).splitlines(), dtype=np.float64, ndmin=2)
        if rows.shape[1] != num_columns:
            raise ValueError(f"{rows.shape[1]} numbers a line")
        chosen: npt.NDArray[np.float64] = rows[[int(name) for name in names]]
        return chosen
    except (OSError, ValueError, IndexError) as error:
        raise DatasetError(
            f"{path}: does not fit {len(names)} scans up to {names[-1]} ({error}); expected a line of {num_columns} "
            "numbers for each: restore the file"
        ) from None
