"""Erosion of masks: at their edge LiDAR and camera disagree."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.instance_masks import MaskWindow


def eroded(mask: MaskWindow, radius_px: int, width: int, height: int) -> MaskWindow:
    """Erodes a mask ``radius_px`` times with a 3 × 3 element.

    The picture's border is no edge of the object: an object cut off there loses nothing there.

    Args:
        mask: the mask.
        radius_px: number of erosions, pixels removed at each edge.
        width, height: size of the picture, pixels.

    Returns:
        A mask in the same window.
    """
    pixels = mask.pixels
    rows, columns = pixels.shape
    at_edge = (mask.top == 0, mask.top + rows == height, mask.left == 0, mask.left + columns == width)
    for _ in range(radius_px):
        pixels = _both_neighbours(pixels, *at_edge[:2])
        pixels = _both_neighbours(pixels.T, *at_edge[2:]).T
    return MaskWindow(mask.left, mask.top, np.ascontiguousarray(pixels))


def _both_neighbours(pixels: npt.NDArray[np.bool_], before_first: bool, after_last: bool) -> npt.NDArray[np.bool_]:
    """Whether a pixel and those above and below it are set; the two flags stand for the rows beyond the window."""
    kept = pixels.copy()
    kept[1:] &= pixels[:-1]
    kept[:-1] &= pixels[1:]
    if len(kept):
        kept[0] &= before_first
        kept[-1] &= after_last
    return kept
