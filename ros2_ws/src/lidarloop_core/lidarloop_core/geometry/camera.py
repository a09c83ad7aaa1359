"""The pinhole camera. Its optical frame: x right, y down, z forward."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def project(points_camera: npt.NDArray[Any], intrinsics: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Points in the optical frame → pixels of the rectified picture.

    Args:
        points_camera: (N, 3) metres.
        intrinsics: (3, 3) pinhole matrix in pixels.

    Returns:
        pixels (N, 2) as (u, v), the centre of the first pixel at (0, 0), NaN for points in the camera's own plane; and
        depth (N,) along the optical axis in metres, negative behind the camera.
    """
    homogeneous = points_camera @ intrinsics.T.astype(points_camera.dtype)
    depth = points_camera[:, 2]
    in_plane = depth == 0
    pixels = homogeneous[:, :2] / np.where(in_plane, np.nan, depth)[:, None]
    return pixels, depth


def in_image(
    pixels: npt.NDArray[Any], depth: npt.NDArray[Any], width: int, height: int, min_depth_m: float = 0.1
) -> npt.NDArray[np.bool_]:
    """(N,) whether a projected point falls on the picture and lies at least ``min_depth_m`` before the camera."""
    u, v = pixels[:, 0], pixels[:, 1]
    inside: npt.NDArray[np.bool_] = (
        (depth >= min_depth_m) & (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
    )
    return inside
