"""Superpixels: pictures cut into patches of similar colour.

Source: Achanta et al., "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods", TPAMI 2012, algorithm 1 and
equation 3, without its last step, which joins stray pixels to their neighbours: a point of the cloud needs one patch,
connected or not.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

_ITERATIONS = 10
_COMPACTNESS = 10.0

_XYZ_OF_RGB = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_WHITE = np.array([0.950456, 1.0, 1.088754])
"""sRGB's matrix and the D65 white point (CIE 15:2004)."""


def superpixels(picture: npt.NDArray[np.uint8], num_superpixels: int) -> npt.NDArray[np.int32]:
    """Cuts a picture into about so many patches.

    Args:
        picture: (H, W, 3) uint8 RGB.
        num_superpixels: number of patches asked for, at least 1.

    Returns:
        (H, W) int32 patch of each pixel, from 0.
    """
    height, width = picture.shape[:2]
    step = max(1.0, float(np.sqrt(height * width / num_superpixels)))
    rows = np.arange(step / 2, height, step)
    columns = np.arange(step / 2, width, step)
    row, column = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
    lab = to_lab(picture)
    seeds = np.column_stack([lab[row.astype(int), column.astype(int)], row, column])
    label: npt.NDArray[np.int32] = _assigned(lab, seeds, step, _COMPACTNESS, _ITERATIONS)
    return label


def to_lab(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """(H, W, 3) uint8 sRGB → (H, W, 3) CIELAB, L in 0–100."""
    share = np.arange(256) / 255
    linear = np.where(share > 0.04045, ((share + 0.055) / 1.055) ** 2.4, share / 12.92)[picture]
    ratio = linear @ _XYZ_OF_RGB.T / _WHITE
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@numba.njit(cache=True, nogil=True)
def _assigned(lab, centers, step, compactness, iterations):  # type: ignore[no-untyped-def]
    """(H, W) nearest centre of each pixel: k-means over colour and place, each centre within 2 steps of its place."""
    height, width = lab.shape[:2]
    label = np.zeros((height, width), np.int32)
    weight = (compactness / step) ** 2
    for _ in range(iterations):
        nearest = np.full((height, width), np.inf)
        for k in range(len(centers)):
            row, column = centers[k, 3], centers[k, 4]
            for i in range(max(0, int(row - step)), min(height, int(row + step) + 1)):
                for j in range(max(0, int(column - step)), min(width, int(column + step) + 1)):
                    distance = weight * ((i - row) ** 2 + (j - column) ** 2)
                    for channel in range(3):
                        distance += (lab[i, j, channel] - centers[k, channel]) ** 2
                    if distance < nearest[i, j]:
                        nearest[i, j], label[i, j] = distance, k
        sums, count = np.zeros_like(centers), np.zeros(len(centers))
        for i in range(height):
            for j in range(width):
                k = label[i, j]
                count[k] += 1
                for channel in range(3):
                    sums[k, channel] += lab[i, j, channel]
                sums[k, 3] += i
                sums[k, 4] += j
        for k in range(len(centers)):
            if count[k] > 0:
                centers[k] = sums[k] / count[k]
    return label
