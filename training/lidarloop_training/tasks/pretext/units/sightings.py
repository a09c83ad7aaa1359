"""Where the cameras see the points of a cloud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.points.frustum import view
from lidarloop_core.sample import CameraImage, Sweep

MIN_DEPTH_M = 0.5
"""Points nearer to a camera's plane belong to the vehicle."""


@dataclass(frozen=True)
class Sightings:
    """One row for each point and each camera that sees it, camera by camera.

    Attributes:
        point: (V,) int64, indices into the cloud, ascending within a camera.
        camera: (V,) int64, indices into the cameras, ascending.
        pixels: (V, 2) float32, (u, v) in pixels, the centre of the first pixel at (0, 0).
        sizes: width and height of each camera's picture, pixels.
        num_points: number of points of the cloud, seen or not.
    """

    point: npt.NDArray[np.int64]
    camera: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.float32]
    sizes: tuple[tuple[int, int], ...]
    num_points: int

    @property
    def is_seen(self) -> npt.NDArray[np.bool_]:
        """(N,) bool, points that at least one camera sees."""
        seen = np.zeros(self.num_points, np.bool_)
        seen[self.point] = True
        return seen


def find_sightings(points: npt.NDArray[np.float32], cameras: Sequence[CameraImage], keyframe: Sweep) -> Sightings:
    """Projects a cloud into every camera, without regard to occlusion; no picture is loaded.

    Args:
        points: (N, ≥3) float32, x y z first, metres, keyframe LiDAR's frame.
        cameras: pictures of the sample.
        keyframe: sweep in whose frame and at whose stamp the points are given.
    """
    xyz = np.ascontiguousarray(points[:, :3])
    views = [view(xyz, camera, keyframe, MIN_DEPTH_M) for camera in cameras]
    return Sightings(
        np.concatenate([np.zeros(0, np.int64), *(seen.index for seen in views)]),
        np.repeat(np.arange(len(views)), [len(seen.index) for seen in views]),
        np.concatenate([np.zeros((0, 2), np.float32), *(seen.pixels for seen in views)]),
        tuple((camera.width, camera.height) for camera in cameras),
        len(points),
    )
