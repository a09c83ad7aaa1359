"""Pictures of a model's cameras: decoded, resized and placed; the table that places them is made once a calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.camera_bev.lift_table import LiftTable, PlacedCamera, lift_table
from lidarloop_core.camera_bev.pictures import Pictures, stacked
from lidarloop_core.camera_bev.rig import CameraRig
from lidarloop_core.errors import CloudFormatError, LidarloopError
from lidarloop_core.io.camera_messages import Calibration, MessagePicture
from lidarloop_core.pointcloud.grid import Grid
from lidarloop_ros.inputs.motion import MotionUnavailableError, Poses

Calibrations = Callable[[], Mapping[str, Calibration | None]]
"""Gives each camera's latest calibration; None for one without a usable one."""

_Seen = tuple[npt.NDArray[np.uint8], PlacedCamera]


class RigPictures:
    """What the cameras of a model see, cloud by cloud.

    The vehicle is taken to stand still between a picture's exposure and the cloud's stamp, so that the table changes
    with the calibration, the mounting poses and the cameras that gave a picture alone.

    Args:
        rig: what the model takes of its cameras.
        grid: the model's grid.
        poses: gives the sensors' mounting poses.
        calibrations: gives the cameras' calibrations; a camera that it does not name has no topic.
    """

    def __init__(self, rig: CameraRig, grid: Grid, poses: Poses, calibrations: Calibrations) -> None:
        self._rig = rig
        self._grid = grid
        self._poses = poses
        self._calibrations = calibrations
        self._key: tuple[bytes, ...] = ()
        self._table: LiftTable | None = None

    def seen(self, lidar_frame: str, messages: Mapping[str, Any]) -> tuple[Pictures, tuple[str, ...]]:
        """The pictures that belong to a cloud.

        Args:
            lidar_frame: frame of the cloud.
            messages: camera → sensor_msgs/Image or sensor_msgs/CompressedImage that came in time.

        Returns:
            The pictures, and one line for each camera that is dark.

        Raises:
            CloudFormatError: no camera gave a picture, and the model takes no points.
        """
        calibrations = self._calibrations()
        found: dict[str, _Seen] = {}
        problems = []
        for name in self._rig.names:
            try:
                found[name] = self._picture(name, messages.get(name), calibrations, lidar_frame)
            except (LidarloopError, MotionUnavailableError) as error:
                problems.append(f"camera {name}: {error}")
        if not found and not self._rig.takes_points:
            raise CloudFormatError(f"no camera gave a picture, and the model takes no points: {'; '.join(problems)}")
        images = stacked({name: picture for name, (picture, _) in found.items()}, self._rig)
        cameras = [found[name][1] if name in found else None for name in self._rig.names]
        return Pictures(images, self._table_of(cameras)), tuple(problems)

    def _picture(
        self, name: str, message: Any, calibrations: Mapping[str, Calibration | None], lidar_frame: str
    ) -> _Seen:
        if name not in calibrations:
            raise _DarkError("image_topics names no topic of it")
        calibration = calibrations[name]
        if calibration is None:
            raise _DarkError("no usable camera_info")
        if message is None:
            raise _DarkError("no picture in time")
        mounting = self._poses.mounting(lidar_frame).inverse() @ self._poses.mounting(message.header.frame_id)
        picture = MessagePicture(message, calibration)()
        return picture, PlacedCamera(calibration.intrinsics, calibration.width, calibration.height, mounting)

    def _table_of(self, cameras: list[PlacedCamera | None]) -> LiftTable:
        key = tuple(_bytes_of(camera) for camera in cameras)
        if self._table is None or key != self._key:
            self._table, self._key = lift_table(cameras, self._rig, self._grid), key
        return self._table


class _DarkError(LidarloopError):
    """A camera gives nothing for this cloud."""


def _bytes_of(camera: PlacedCamera | None) -> bytes:
    if camera is None:
        return b""
    sizes = np.array([camera.width, camera.height], np.float64)
    return b"".join(a.tobytes() for a in (camera.intrinsics, sizes, camera.lidar_SE3_camera.matrix))
