"""A stand-in for a monocular depth model: true depth, degraded in the ways such models fail, at given rates.

They misjudge the scale of an image, bend it smoothly, and smear the edges of things over what lies behind.
Seeded: the same picture always gets the same faults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, zoom

from lidarloop_core.sample import CameraImage
from lidarloop_training.toytown.camera import CAMERAS
from lidarloop_training.toytown.drive import ToyTownDrive

_SMOOTH_GRID = (4, 6)
_NOTHING_M = 150.0


@dataclass(frozen=True)
class DepthFaults:
    """How far the depth is off; all but ``edge_px`` are shares of the depth, one standard deviation.

    Attributes:
        scale: deviation of the factor of an image.
        smooth: deviation of a factor that varies slowly over the image.
        pixel: deviation of the factor of each pixel.
        edge_px: width over which edges are smeared.
    """

    scale: float = 0.08
    smooth: float = 0.08
    pixel: float = 0.01
    edge_px: float = 1.0


class ToyTownDepth:
    """A ``DepthModel`` for the images of one toy-town drive."""

    def __init__(self, drive: ToyTownDrive, faults: DepthFaults | None = None, *, seed: int = 0) -> None:
        self._drive = drive
        self._faults = faults or DepthFaults()
        self._seed = seed
        rates = ", ".join(f"{name} {value:g}" for name, value in vars(self._faults).items())
        self.name = f"toytown depth of {drive.scene} ({rates}, seed {seed})"

    def depth(self, sample_token: str, images: Sequence[CameraImage]) -> list[npt.NDArray[np.float32]]:
        """(H, W) metres along the optical axis for each image; see ``DepthModel``."""
        index = int(sample_token.rsplit("-", 1)[1])
        return [self._degraded(index, image) for image in images]

    def _degraded(self, index: int, image: CameraImage) -> npt.NDArray[np.float32]:
        camera = [c.name for c in CAMERAS].index(image.name)
        rng = np.random.default_rng([self._seed, 0xDE9, self._drive.seed, index, camera])
        faults, distance = self._faults, self._drive.picture(index, image.name).distance
        true = true_depth(distance, CAMERAS[camera].intrinsics)
        height, width = true.shape
        coarse = rng.normal(0, faults.smooth, _SMOOTH_GRID)
        bend = zoom(
            coarse, (height / _SMOOTH_GRID[0], width / _SMOOTH_GRID[1]), order=1, grid_mode=True, mode="nearest"
        )
        factor = np.exp(rng.normal(0, faults.scale) + bend + rng.normal(0, faults.pixel, true.shape))
        # Networks predict something like log depth, and blur that.
        smeared = np.exp(gaussian_filter(np.log(np.minimum(true, _NOTHING_M)), faults.edge_px))
        return np.where(np.isfinite(true), smeared * factor, np.inf).astype(np.float32)


def true_depth(distance: npt.NDArray[np.float32], intrinsics: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(H, W) depth along the optical axis of what lies at a distance along each pixel's ray."""
    height, width = distance.shape
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = (u - intrinsics[0, 2]) / intrinsics[0, 0], (v - intrinsics[1, 2]) / intrinsics[1, 1]
    depth: npt.NDArray[np.float64] = distance / np.sqrt(1 + x**2 + y**2)
    return depth
