"""Windows of a picture, for small objects in small networks; and joining of their detections."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]


class Window(NamedTuple):
    """A part of a picture, in pixels; right and bottom are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


def covering(width: int, height: int, tile_width: int, tile_height: int, overlap: float) -> list[Window]:
    """The fewest windows of one size, evenly spread, that cover a picture and overlap by at least a share of a window.

    Args:
        width, height: size of the picture, pixels.
        tile_width, tile_height: size of a window, pixels; cut to the picture's size.
        overlap: least overlap of neighbours, as a share of a window, in [0, 1).
    """
    columns = _spread(width, min(tile_width, width), overlap)
    rows = _spread(height, min(tile_height, height), overlap)
    return [Window(x, y, x + min(tile_width, width), y + min(tile_height, height)) for y in rows for x in columns]


def _spread(length: int, tile: int, overlap: float) -> list[int]:
    """Starts of the windows along one axis."""
    num = 1 if tile >= length else math.ceil((length - tile * overlap) / (tile * (1 - overlap)))
    return [0] if num == 1 else [round(i * (length - tile) / (num - 1)) for i in range(num)]


def touches_inner_edge(
    boxes: Float32Array, window: Window, width: int, height: int, margin_px: float
) -> npt.NDArray[np.bool_]:
    """(M,) bool, whether a box (M, 4) touches an inner edge of its window, in pixels: it may be cut off."""
    cut = np.zeros(len(boxes), np.bool_)
    if window.left > 0:
        cut |= boxes[:, 0] < window.left + margin_px
    if window.top > 0:
        cut |= boxes[:, 1] < window.top + margin_px
    if window.right < width:
        cut |= boxes[:, 2] > window.right - margin_px
    if window.bottom < height:
        cut |= boxes[:, 3] > window.bottom - margin_px
    return cut


def same_object(
    boxes: Float32Array,
    scores: Float32Array,
    labels: npt.NDArray[np.int64],
    families: npt.NDArray[np.int64],
    max_iou: float,
    max_inside: float,
) -> npt.NDArray[np.int64]:
    """(M,) int64, for each box the index of the best box of the same object; its own if it is the best.

    Several windows and scales show an object several times and in parts; a detector finds one vehicle as car and truck.
    Greedy, best score first: a box belongs to a better one of its family that it overlaps by more than ``max_iou``, or
    to a better one of its label in which it lies by more than ``max_inside`` of its area.

    Args:
        boxes: (M, 4) x_min, y_min, x_max, y_max, pixels.
        scores: (M,) scores.
        labels: (M,) class indices.
        families: (M,) groups of classes that are confused.
        max_iou: largest intersection over union of two objects of a family.
        max_inside: largest intersection over the weaker's area of two objects of a class.
    """
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    best_of = np.arange(len(boxes))
    kept = np.zeros(0, np.int64)
    for i in np.argsort(-scores, kind="stable"):
        shared = np.minimum(boxes[kept, 2:], boxes[i, 2:]) - np.maximum(boxes[kept, :2], boxes[i, :2])
        shared_area = np.prod(np.maximum(shared, 0), axis=1)
        iou = shared_area / np.maximum(area[kept] + area[i] - shared_area, 1e-9)
        same = (families[kept] == families[i]) & (iou > max_iou)
        same |= (labels[kept] == labels[i]) & (shared_area > max_inside * area[i])
        if same.any():
            best_of[i] = kept[np.argmax(np.where(same, iou, -1))]
        else:
            kept = np.append(kept, i)
    return best_of
