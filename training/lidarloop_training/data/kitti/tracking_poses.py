"""Ego poses and times of a KITTI tracking sequence.

OXTS has the right length, but wanders by decimetres within a second. A published set of stereo ORB-SLAM3 trajectories
is smoother, and about 3 % too long: ``ORB_SLAM3_SCALE`` is divided out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from lidarloop_core.errors import DatasetError, PoseError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import regular_file
from lidarloop_training.data.kitti.calibration import EGO_SE3_LIDAR

ORB_SLAM3_SCALE = 1.03
"""Length of the ORB-SLAM3 trajectories over the true one: 1.028–1.035 in all sequences, against a registration of the
clouds and the integrated OXTS velocities."""

_MOST_BYTES = 1 << 26
_DAY_NS = 1_316_995_200_000_000_000  # 2011-09-26, the day most recordings were made
_PERIOD_NS = 100_000_000
_EARTH_RADIUS_M = 6_378_137.0
_OXTS_NUMBERS = 30


def read_stamps(path: Path, numbers: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Nanoseconds of each sweep and of each image: lines of frame number and two times in seconds of the day.

    The benchmark itself has no times: without the file frames lie 0.1 s apart.

    Raises:
        DatasetError: the file does not fit the frames.
    """
    if not path.is_file():
        even = tuple(_DAY_NS + number * _PERIOD_NS for number in numbers)
        return even, even
    seconds = _rows_by_number(path, numbers, num_columns=2, meaning="the seconds of sweep and image")
    sweeps, images = (tuple(_DAY_NS + round(s * 1e6) * 1000 for s in column) for column in seconds.T.tolist())
    return sweeps, images


def read_oxts(path: Path, numbers: tuple[int, ...], lidar_SE3_imu: SE3 | None) -> tuple[SE3, ...] | None:
    """``world_SE3_ego`` of each frame by OXTS; None without the file.

    The development kit's formulas: a Mercator projection at the first frame's latitude, then yaw, pitch and roll. The
    world has x to the east, y to the north, z up and its origin at the first frame. Line n of the file is of frame n,
    or lines begin with the frame's number.

    Raises:
        DatasetError: the file does not fit the frames, or the calibration lacks the IMU's pose.
    """
    if not path.is_file():
        return None
    if lidar_SE3_imu is None:
        raise DatasetError(
            f"{path}: its frames have no Tr_imu_velo in calib; expected the IMU's pose: restore the file"
        )
    rows = _rows_by_number(path, numbers, _OXTS_NUMBERS, "OXTS's 30 numbers", numbered=None)
    latitude, longitude, altitude, roll, pitch, yaw = rows[:, :6].T
    scale = np.cos(np.radians(latitude[0]))
    places = np.column_stack(
        [
            scale * _EARTH_RADIUS_M * np.radians(longitude),
            scale * _EARTH_RADIUS_M * np.log(np.tan(np.radians(90 + latitude) / 2)),
            altitude,
        ]
    )
    places -= places[0]
    imu_SE3_ego = (EGO_SE3_LIDAR @ lidar_SE3_imu).inverse()
    rotations = Rotation.from_euler("ZYX", np.column_stack([yaw, pitch, roll])).as_matrix()
    return tuple(SE3(turn, place) @ imu_SE3_ego for turn, place in zip(rotations, places, strict=True))


def read_orbslam3(path: Path, numbers: tuple[int, ...]) -> tuple[SE3, ...] | None:
    """``world_SE3_ego`` of each frame, the world being the first ego frame; None without the file.

    Lines of frame number and the 12 numbers of the Velodyne's pose, row by row.

    Raises:
        DatasetError: the file does not fit the frames, or a matrix is no rigid transform.
    """
    if not path.is_file():
        return None
    matrices = _rows_by_number(path, numbers, 12, "a 3 × 4 matrix").reshape(-1, 3, 4)
    u, _, vt = np.linalg.svd(matrices[:, :, :3])  # nine digits leave rotations orthogonal to 1e-9 only
    try:
        poses = [SE3(turn, m[:, 3] / ORB_SLAM3_SCALE) for turn, m in zip(u @ vt, matrices, strict=True)]
    except PoseError as error:
        raise DatasetError(f"{path}: {error}; expected rigid transforms: restore the file") from None
    return tuple(EGO_SE3_LIDAR @ pose @ EGO_SE3_LIDAR.inverse() for pose in poses)


def _rows_by_number(
    path: Path, numbers: tuple[int, ...], num_columns: int, meaning: str, numbered: bool | None = True
) -> npt.NDArray[np.float64]:
    """(N, num_columns) the numbers of each frame; None finds out whether lines begin with the frame's number."""
    try:
        lines = regular_file.read_text(path, _MOST_BYTES).splitlines()
        if not any(line.strip() for line in lines):
            raise ValueError("it is empty")
        rows = np.loadtxt(lines, dtype=np.float64, ndmin=2)
        if numbered is None:
            numbered = rows.shape[1] == num_columns + 1
        if rows.shape[1] != num_columns + numbered:
            raise ValueError(f"{rows.shape[1]} numbers a line")
        if numbered:
            place = {int(number): row for row, number in enumerate(rows[:, 0])}
            rows = rows[[place[number] for number in numbers], 1:]
        else:
            rows = rows[list(numbers)]
        if not np.isfinite(rows).all():
            raise ValueError("a number that is not finite")
    except (OSError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise DatasetError(
            f"{path}: does not fit {len(numbers)} frames up to {numbers[-1]} ({type(error).__name__}: {error}); "
            f"expected a line of {meaning} for each: restore the file"
        ) from None
    return rows
