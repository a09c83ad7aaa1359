"""Pictures as a model takes them, with the table that places them: one way for training and vehicle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.camera_bev.lift_table import LiftTable, PlacedCamera, dark_table, lift_table
from lidarloop_core.camera_bev.rig import CameraRig
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.io.images import resized
from lidarloop_core.pointcloud.grid import Grid
from lidarloop_core.sample import CameraImage, Sweep, camera_SE3_lidar

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """What a model's cameras give for one cloud.

    Attributes:
        images: (cameras, height, width, 3) uint8 RGB in the order of the rig, zeros for a camera without a picture.
        table: where their features fall.
    """

    images: Picture
    table: LiftTable

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Name of each input of the graph that is the cameras' → array."""
        return {"images": self.images, **self.table.tensors()}


def dark(rig: CameraRig, grid: Grid) -> Pictures:
    """No picture of any camera: a fused model answers from the points alone."""
    return Pictures(stacked({}, rig), dark_table(rig, grid))


def stacked(pictures: Mapping[str, Picture], rig: CameraRig) -> Picture:
    """Camera → picture (H, W, 3) uint8, as (cameras, height, width, 3); zeros for a camera without a picture."""
    images = np.zeros((len(rig.names), rig.height, rig.width, 3), np.uint8)
    for place, name in enumerate(rig.names):
        if name in pictures:
            images[place] = resized(pictures[name], rig.width, rig.height)
    return images


def placed_cameras(cameras: Sequence[CameraImage], keyframe: Sweep, rig: CameraRig) -> list[PlacedCamera | None]:
    """A sample's cameras in the order of the rig, placed as they were at their exposure; None for one it lacks."""
    named = {camera.name: camera for camera in cameras}

    def placed(camera: CameraImage | None) -> PlacedCamera | None:
        if camera is None:
            return None
        lidar_SE3_camera: SE3 = camera_SE3_lidar(camera, keyframe).inverse()
        return PlacedCamera(camera.intrinsics, camera.width, camera.height, lidar_SE3_camera)

    return [placed(named.get(name)) for name in rig.names]


def pictures_of(
    cameras: Sequence[CameraImage],
    keyframe: Sweep,
    rig: CameraRig,
    grid: Grid,
    change: npt.NDArray[np.float64] | None = None,
) -> Pictures:
    """What the cameras of a sample give.

    Args:
        cameras: pictures nearest to the keyframe; those that the rig does not name are not read.
        keyframe: the sweep in whose frame the model answers.
        rig: what the model takes of them.
        grid: range and cells of the model.
        change: (3, 3) matrix; see ``lift_table``.

    Raises:
        DatasetError: a picture cannot be read.
    """
    loaded = {camera.name: camera.load() for camera in cameras if camera.name in rig.names}
    table = lift_table(placed_cameras(cameras, keyframe, rig), rig, grid, change)
    return Pictures(stacked(loaded, rig), table)


def ring_of_cameras(rig: CameraRig, view_rad: float = np.radians(70.0)) -> list[PlacedCamera]:
    """As many level cameras as the rig has, looking outwards at equal angles from the LiDAR: for trials without any.

    Args:
        rig: what the model takes of them.
        view_rad: horizontal angle of view, radians.
    """
    focal = rig.width / 2 / np.tan(view_rad / 2)
    intrinsics = np.array([[focal, 0.0, (rig.width - 1) / 2], [0.0, focal, (rig.height - 1) / 2], [0.0, 0.0, 1.0]])
    optical = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
    turns = 2 * np.pi * np.arange(len(rig.names)) / len(rig.names)
    return [PlacedCamera(intrinsics, rig.width, rig.height, SE3.from_yaw(turn) @ optical) for turn in turns]


def trial_pictures(rig: CameraRig, grid: Grid, seed: int) -> Pictures:
    """Random pictures of a ring of cameras: a trial run takes as long as a real one."""
    shape = (len(rig.names), rig.height, rig.width, 3)
    images = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return Pictures(images, lift_table(ring_of_cameras(rig), rig, grid))
