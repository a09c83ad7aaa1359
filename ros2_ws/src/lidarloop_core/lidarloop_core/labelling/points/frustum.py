"""Projection of a cloud into a camera, and the points that fall into a mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.camera import in_image, project
from lidarloop_core.labelling.instance_masks import InstanceMasks, MaskWindow
from lidarloop_core.sample import CameraImage, Sweep, camera_SE3_lidar

_CELL_RAD = math.radians(0.35)
"""Side of the cells of the nearest-depth grid: about the gap between the columns of a spinning LiDAR."""

_HIDDEN_M = 1.0
_HIDDEN_SHARE = 0.05
"""A point is hidden if another is nearer by more than the sum of the first and this share of its depth."""


@dataclass(frozen=True)
class View:
    """The points of a cloud that fall on a camera's picture.

    Attributes:
        camera: the camera.
        index: (V,) int64, indices into the cloud.
        pixels: (V, 2) float32, (u, v) in pixels.
        depth_m: (V,) float32, depth along the optical axis, metres.
    """

    camera: CameraImage
    index: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.float32]
    depth_m: npt.NDArray[np.float32]

    def inside(self, mask: MaskWindow) -> npt.NDArray[np.int64]:
        """(n,) positions in this view of the points that fall into a mask."""
        return np.flatnonzero(mask.covers(self.pixels))


def why_unfit(camera: CameraImage, masks: InstanceMasks | None, keyframe: Sweep) -> str | None:
    """The reason why nothing may be projected into a picture, for ``LeftOut``; None if there is none."""
    if masks is None:
        return "no answer from the 2D model"
    return why_unpictured(camera, (masks.width, masks.height), keyframe)


def why_unpictured(camera: CameraImage, answered_size: tuple[int, int], keyframe: Sweep) -> str | None:
    """The reason why a sweep may not be projected into a picture; None if there is none.

    Args:
        camera: the picture.
        answered_size: width and height of the picture that a 2D model answered for, pixels.
        keyframe: the sweep.
    """
    intrinsics = camera.intrinsics
    if intrinsics is None or np.shape(intrinsics) != (3, 3) or camera.ego_SE3_camera is None:
        return "no calibration"
    if not np.isfinite(intrinsics).all() or min(intrinsics[0, 0], intrinsics[1, 1]) <= 0 or intrinsics[2, 2] != 1:
        return "zero or broken intrinsics"
    if answered_size != (camera.width, camera.height):
        return "picture size differs from that of the masks"
    if not (0 < intrinsics[0, 2] < camera.width and 0 < intrinsics[1, 2] < camera.height):
        return "intrinsics of another picture size"
    if (camera.world_SE3_ego is None) != (keyframe.world_SE3_ego is None):
        return "no ego pose at the exposure"
    return None


def view(points: npt.NDArray[np.float32], camera: CameraImage, keyframe: Sweep, min_depth_m: float) -> View:
    """Projects a cloud into a camera, without regard to occlusion.

    Args:
        points: (N, 3) float32, metres, keyframe LiDAR's frame.
        camera: a camera for which ``why_unfit`` finds no reason.
        keyframe: the sweep whose frame and stamp the points are given in.
        min_depth_m: least depth; nearer points are dropped.
    """
    transform = camera_SE3_lidar(camera, keyframe)
    # Most points are behind the camera: their depth alone excludes them, at a third of the cost.
    depths = points @ transform.rotation[2].astype(np.float32) + np.float32(transform.translation[2])
    ahead = np.flatnonzero(depths > min_depth_m)
    pixels, depth_m = project(transform.transform(points[ahead]), camera.intrinsics)
    seen = in_image(pixels, depth_m, camera.width, camera.height, min_depth_m)
    return View(camera, ahead[seen], pixels[seen], depth_m[seen])


def looked_at(points: npt.NDArray[Any], cameras: Sequence[CameraImage], keyframe: Sweep) -> npt.NDArray[np.bool_]:
    """(N,) bool, whether any camera's image shows a place, without regard to occlusion.

    Args:
        points: (N, 3) metres, keyframe LiDAR's frame.
        cameras: cameras of the sample; those without calibration show nothing.
        keyframe: the sweep whose frame and stamp the places are given in.
    """
    shown = np.zeros(len(points), np.bool_)
    for camera in cameras:
        if why_unpictured(camera, (camera.width, camera.height), keyframe) is None:
            pixels, depth_m = project(camera_SE3_lidar(camera, keyframe).transform(points), camera.intrinsics)
            shown |= in_image(pixels, depth_m, camera.width, camera.height)
    return shown


def without_hidden(seen: View, hides: npt.NDArray[np.bool_]) -> View:
    """A view without the points that a nearer object hides from the camera.

    The LiDAR is mounted above the cameras and sees over objects, and older sweeps were taken from other places. Such
    points project into the mask of the object that hides them. The nearest depth is kept for each cell of a coarse
    grid, and points clearly behind it are removed.

    Args:
        seen: the view.
        hides: (N,) bool, points of the cloud that hide those behind them. Ground points should not: at a grazing angle
            one cell covers many metres of ground. Nor should points of older sweeps: their object may have moved.
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
