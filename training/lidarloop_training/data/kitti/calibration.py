"""KITTI's calibration: what the object benchmark and the raw recordings have in common."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError, PoseError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io import regular_file
from lidarloop_core.io.images import ImageFile
from lidarloop_core.sample import CameraImage

VELODYNE_HEIGHT_M = 1.73
"""Above the road, from the data set's page on its sensor set-up."""

EGO_SE3_LIDAR = SE3(np.eye(3), np.array([0.0, 0.0, VELODYNE_HEIGHT_M]))
"""KITTI has no frame on the ground: our ego frame lies on it below the Velodyne, x forward, y left."""

CAMERA = "CAM_FRONT"
"""The name we give to the left colour camera, image_02."""


@dataclass(frozen=True)
class KittiCalibration:
    """The left colour camera and the Velodyne.

    Attributes:
        intrinsics: (3, 3) of the rectified picture, pixels.
        reference_SE3_lidar: Velodyne to the rectified reference camera, in whose frame the labels are.
        camera_SE3_lidar: Velodyne to the rectified left colour camera.
    """

    intrinsics: npt.NDArray[np.float64]
    reference_SE3_lidar: SE3
    camera_SE3_lidar: SE3

    @property
    def ego_SE3_camera(self) -> SE3:
        return EGO_SE3_LIDAR @ self.camera_SE3_lidar.inverse()

    def camera_image(self, path: Path, stamp_ns: int, world_SE3_ego: SE3 | None = None) -> CameraImage:
        """The left colour camera's picture in a file, taken at ``stamp_ns``. Only its size is read now."""
        picture = ImageFile(path)
        width, height = picture.size()
        return CameraImage(
            name=CAMERA,
            load=picture,
            intrinsics=self.intrinsics,
            width=width,
            height=height,
            stamp_ns=stamp_ns,
            ego_SE3_camera=self.ego_SE3_camera,
            world_SE3_ego=world_SE3_ego,
        )

    @staticmethod
    def from_matrices(
        projection: npt.NDArray[np.float64], rectification: npt.NDArray[np.float64], camera_SE3_velodyne: SE3
    ) -> KittiCalibration:
        """From KITTI's own matrices.

        Args:
            projection: (3, 4), rectified reference camera to pixels; its last column holds the baseline.
            rectification: (3, 3) rotation R0_rect.
            camera_SE3_velodyne: Velodyne to the unrectified reference camera.
        """
        intrinsics = projection[:, :3]
        reference_SE3_lidar = SE3(rectification, np.zeros(3)) @ camera_SE3_velodyne
        camera_SE3_reference = SE3(np.eye(3), np.linalg.solve(intrinsics, projection[:, 3]))
        return KittiCalibration(intrinsics, reference_SE3_lidar, camera_SE3_reference @ reference_SE3_lidar)


def picture_of(folder: Path, name: str) -> Path | None:
    """The picture of a frame: the PNG that KITTI publishes, or a JPEG that was made of it; None where there is none."""
    found = (folder / f"{name}{suffix}" for suffix in (".png", ".jpg"))
    return next((path for path in found if path.is_file()), None)


def read_object_calibration(path: Path) -> KittiCalibration:
    """A calib file of the object benchmark.

    Raises:
        DatasetError: the file or one of P2, R0_rect and Tr_velo_to_cam is missing.
    """
    values = _read_values(path)
    with _poses_of(path):
        return KittiCalibration.from_matrices(
            _matrix(values, "P2", (3, 4), path),
            _matrix(values, "R0_rect", (3, 3), path),
            SE3.from_matrix(_matrix(values, "Tr_velo_to_cam", (3, 4), path)),
        )


def read_odometry_calibration(path: Path) -> KittiCalibration:
    """The calib.txt of a sequence of the odometry benchmark, whose ``Tr`` leads to the rectified camera at once.

    Raises:
        DatasetError: the file or one of P2 and Tr is missing.
    """
    values = _read_values(path)
    with _poses_of(path):
        return KittiCalibration.from_matrices(
            _matrix(values, "P2", (3, 4), path), np.eye(3), SE3.from_matrix(_matrix(values, "Tr", (3, 4), path))
        )


def read_tracking_calibration(path: Path) -> tuple[KittiCalibration, SE3 | None]:
    """A calib file of the tracking benchmark, and ``lidar_SE3_imu`` (None where the file has none).

    Published files call the matrices R_rect, Tr_velo_cam and Tr_imu_velo, without a colon behind them; copies in the
    object benchmark's layout, with its names, are read too.

    Raises:
        DatasetError: the file or one of P2, the rectification and the Velodyne's pose is missing.
    """
    values = _read_values(path)
    renamed = {_OBJECT_NAMES.get(name, name): numbers for name, numbers in values.items()}
    with _poses_of(path):
        calibration = KittiCalibration.from_matrices(
            _matrix(renamed, "P2", (3, 4), path),
            _matrix(renamed, "R0_rect", (3, 3), path),
            SE3.from_matrix(_matrix(renamed, "Tr_velo_to_cam", (3, 4), path)),
        )
        if "Tr_imu_to_velo" not in renamed:
            return calibration, None
        return calibration, SE3.from_matrix(_matrix(renamed, "Tr_imu_to_velo", (3, 4), path))


_OBJECT_NAMES = {"R_rect": "R0_rect", "Tr_velo_cam": "Tr_velo_to_cam", "Tr_imu_velo": "Tr_imu_to_velo"}


def read_raw_calibration(folder: Path) -> KittiCalibration:
    """The calibration of a raw recording.

    Looks in ``folder`` and above it for KITTI's calib_cam_to_cam.txt and calib_velo_to_cam.txt; else in ``folder`` for
    a text with the matrices P_rect_00, R_rect_00 and RT as OpenCV assignments ``P_rect_00.at<double>(0,0) = …``, a
    habit of teaching material. The latter has the reference camera alone: image_02 is then taken for it (6 cm off).

    Raises:
        DatasetError: there is neither, or a matrix is missing.
    """
    for place in (folder, folder.parent, folder.parent.parent):
        cameras, velodyne = place / "calib_cam_to_cam.txt", place / "calib_velo_to_cam.txt"
        if cameras.is_file() and velodyne.is_file():
            values, pose = _read_values(cameras), _read_values(velodyne)
            rotation, translation = _matrix(pose, "R", (3, 3), velodyne), _matrix(pose, "T", (3,), velodyne)
            with _poses_of(velodyne):
                return KittiCalibration.from_matrices(
                    _matrix(values, "P_rect_02", (3, 4), cameras),
                    _matrix(values, "R_rect_00", (3, 3), cameras),
                    SE3(rotation, translation),
                )
    for path in sorted(folder.glob("*.txt")):
        assignments = _ASSIGNMENT.findall(regular_file.read_bytes(path, _MOST_BYTES).decode(errors="replace"))
        if assignments:
            return _from_assignments(assignments, path)
    raise DatasetError(
        f"{folder}: found no calibration; expected calib_cam_to_cam.txt and calib_velo_to_cam.txt in it or above it: "
        "download the calibration of the recording's date"
    )


_MOST_BYTES = 1 << 24


@contextmanager
def _poses_of(path: Path) -> Iterator[None]:
    """Names the file whose matrices are no rigid transforms or no projection."""
    try:
        yield
    except (PoseError, np.linalg.LinAlgError) as error:
        raise DatasetError(f"{path}: {error}; expected KITTI's calibration: restore the file") from None


_ASSIGNMENT = re.compile(r"(\w+)\.at<double>\((\d),\s*(\d)\)\s*=\s*([-+.\deE]+)")


def _from_assignments(assignments: list[tuple[str, str, str, str]], path: Path) -> KittiCalibration:
    matrices: dict[str, npt.NDArray[np.float64]] = {}
    for name, row, column, value in assignments:
        matrices.setdefault(name, np.full((4, 4), np.nan))[int(row), int(column)] = float(value)
    wanted = {"P_rect_00": (3, 4), "R_rect_00": (3, 3), "RT": (3, 4)}
    for name, (rows, columns) in wanted.items():
        if name not in matrices or np.isnan(matrices[name][:rows, :columns]).any():
            raise DatasetError(f"{path}: matrix {name} is missing or incomplete; expected {', '.join(wanted)}")
    with _poses_of(path):
        return KittiCalibration.from_matrices(
            matrices["P_rect_00"][:3], matrices["R_rect_00"][:3, :3], SE3.from_matrix(matrices["RT"][:3])
        )


def _read_values(path: Path) -> dict[str, npt.NDArray[np.float64]]:
    """The lines ``name: number number …`` of a calibration file; some files lack the colon."""
    try:
        lines = regular_file.read_bytes(path, _MOST_BYTES).decode(errors="replace").splitlines()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore the calibration") from None
    values = {}
    for line in lines:
        name, _, numbers = line.partition(":" if ":" in line else " ")
        try:
            values[name.strip()] = np.array(numbers.split(), dtype=np.float64)
        except ValueError:  # dates and the like
            continue
    return values


def _matrix(
    values: dict[str, npt.NDArray[np.float64]], name: str, shape: tuple[int, ...], path: Path
) -> npt.NDArray[np.float64]:
    if name not in values or values[name].size != int(np.prod(shape)):
        received = f"{values[name].size} numbers" if name in values else "none"
        raise DatasetError(
            f"{path}: received {received} of {name}; expected {int(np.prod(shape))}: restore KITTI's calibration"
        )
    return values[name].reshape(shape)
