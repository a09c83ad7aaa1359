"""Which LiDAR points a camera sees, where in its picture, and which of them lie in a mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.camera import in_image, project
from lidarloop_core.labelling.instance_masks import InstanceMasks, MaskWindow
from lidarloop_core.sample import CameraImage, Sweep, camera_SE3_lidar

_CELL_RAD = math.radians(0.35)
"""Side of the cells that each hold one nearest depth: about the gap between the columns of a spinning LiDAR."""

_HIDDEN_M = 1.0
_HIDDEN_SHARE = 0.05
"""A point is hidden if something is nearer than it by more than the sum of the first and this share of its depth."""


@dataclass(frozen=True)
class View:
    """The points of a cloud that fall on a camera's picture.

    Attributes:
        camera: whose view it is.
        index: (V,) int64 which points of the cloud.
        pixels: (V, 2) float32 (u, v).
        depth_m: (V,) float32 along the optical axis.
    """

    camera: CameraImage
    index: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.float32]
    depth_m: npt.NDArray[np.float32]

    def inside(self, mask: MaskWindow) -> npt.NDArray[np.int64]:
        """Positions in this view of the points that fall into a mask."""
        return np.flatnonzero(mask.covers(self.pixels))


def why_unfit(camera: CameraImage, masks: InstanceMasks | None, keyframe: Sweep) -> str | None:
    """Why nothing may be projected into a picture, in words for ``LeftOut``; None where all is well."""
    if masks is None:
        return "no answer from the 2D model"
    intrinsics = camera.intrinsics
    if intrinsics is None or np.shape(intrinsics) != (3, 3) or camera.ego_SE3_camera is None:
        return "no calibration"
    if not np.isfinite(intrinsics).all() or min(intrinsics[0, 0], intrinsics[1, 1]) <= 0 or intrinsics[2, 2] != 1:
        return "zero or broken intrinsics"
    if (masks.width, masks.height) != (camera.width, camera.height):
        return "picture size differs from that of the masks"
    if not (0 < intrinsics[0, 2] < camera.width and 0 < intrinsics[1, 2] < camera.height):
        return "intrinsics of another picture size"
    if (camera.world_SE3_ego is None) != (keyframe.world_SE3_ego is None):
        return "no ego pose at the exposure"
    return None


def view(points: npt.NDArray[np.float32], camera: CameraImage, keyframe: Sweep, min_depth_m: float) -> View:
    """What a camera sees of a cloud, if nothing hid anything.

    Args:
        points: (N, 3) in the keyframe LiDAR's frame.
        camera: fit to project into.
        keyframe: the sweep whose frame and stamp the points are given in.
        min_depth_m: nearer points are left out.
    """
    transform = camera_SE3_lidar(camera, keyframe)
    # Most points are behind one camera or the other: their depth alone tells, at a third of the price.
    depths = points @ transform.rotation[2].astype(np.float32) + np.float32(transform.translation[2])
    ahead = np.flatnonzero(depths > min_depth_m)
    pixels, depth_m = project(transform.transform(points[ahead]), camera.intrinsics)
    seen = in_image(pixels, depth_m, camera.width, camera.height, min_depth_m)
    return View(camera, ahead[seen], pixels[seen], depth_m[seen])


def without_hidden(seen: View, hides: npt.NDArray[np.bool_]) -> View:
    """A view without the points that something nearer hides from the camera.

    The LiDAR stands higher than the cameras and looks over things, and older sweeps were taken from elsewhere: such
    points project into the mask of what hides them. A nearest depth is kept for each cell of a coarse grid, and points
    clearly behind it go.

    Args:
        seen: the view.
        hides: (N,) which points of the cloud hide what is behind them. The ground's should not: seen at a grazing
            angle, a cell reaches over many metres of it. Nor should older sweeps': what they saw may have moved on.
    """
    camera = seen.camera
    cell_px = np.diag(camera.intrinsics)[:2] * _CELL_RAD
    shown = _shown(seen.pixels, seen.depth_m, hides[seen.index], cell_px, camera.width, camera.height)
    return View(camera, seen.index[shown], seen.pixels[shown], seen.depth_m[shown])


@numba.njit(cache=True, nogil=True)
def _shown(pixels, depth_m, hides, cell_px, width, height):  # type: ignore[no-untyped-def]
    columns, rows = int(width / cell_px[0]) + 1, int(height / cell_px[1]) + 1
    nearest = np.full((rows, columns), np.inf)
    row, column = np.empty(len(pixels), np.int64), np.empty(len(pixels), np.int64)
    for i in range(len(pixels)):
        column[i], row[i] = int((pixels[i, 0] + 0.5) / cell_px[0]), int((pixels[i, 1] + 0.5) / cell_px[1])
        if hides[i]:
            nearest[row[i], column[i]] = min(nearest[row[i], column[i]], depth_m[i])
    shown = np.empty(len(pixels), np.bool_)
    for i in range(len(pixels)):
        margin_m = _HIDDEN_M + _HIDDEN_SHARE * depth_m[i]
        shown[i] = depth_m[i] <= nearest[row[i], column[i]] + margin_m
    return shown
