"""Instance masks from boxes and per-pixel class probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.instance_masks import MaskWindow

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CutOut:
    """Masks of M boxes.

    Attributes:
        masks: M masks, without the pixels of objects in front.
        agreement: (M,) float32 in [0, 1], mean probability of the box's classes inside the ellipse that touches the
            box's four sides.
    """

    masks: tuple[MaskWindow, ...]
    agreement: Float32Array


def cut_out(boxes: Float32Array, scores: Float32Array, fields: list[Float32Array], min_pixel: float) -> CutOut:
    """The pixels of each box that show its object, each given to one box.

    Where boxes overlap, score, probability of the box's classes and nearness to the box's middle decide: two
    pedestrians side by side are divided halfway, and one in front of a car keeps its own pixels.

    Args:
        boxes: (M, 4) x_min, y_min, x_max, y_max, pixels, inside the picture.
        scores: (M,) scores of the boxes.
        fields: M arrays (H, W), the probability that a pixel shows one of the box's classes; boxes of one class share
            theirs.
        min_pixel: least probability of a pixel of the object, in [0, 1].
    """
    if not len(boxes):
        return CutOut((), np.zeros(0, np.float32))
    claims = np.zeros(fields[0].shape, np.float32)
    owner = np.full(fields[0].shape, -1, np.int32)
    parts = [_part(box) for box in boxes]
    agreement = np.zeros(len(boxes), np.float32)
    for i, (box, score, part, field) in enumerate(zip(boxes, scores, parts, fields, strict=True)):
        from_middle = _from_middle(box, part)
        inside = from_middle < 1
        agreement[i] = field[part][inside].mean() if inside.any() else 0.0
        claim = np.where(field[part] >= min_pixel, score * field[part] / (1 + from_middle), 0)
        won = claim > claims[part]
        claims[part][won] = claim[won]
        owner[part][won] = i
    masks = []
    for i, (rows, columns) in enumerate(parts):
        tight = MaskWindow.of(owner[rows, columns] == i)
        masks.append(MaskWindow(tight.left + columns.start, tight.top + rows.start, tight.pixels))
    return CutOut(tuple(masks), agreement)


def _part(box: Float32Array) -> tuple[slice, slice]:
    """Rows and columns of the pixels whose centre lies in the box; pixel 0 covers [0, 1)."""
    left, top, right, bottom = np.floor(box + 0.5).astype(int).tolist()
    return slice(top, max(bottom, top)), slice(left, max(right, left))


def _from_middle(box: Float32Array, part: tuple[slice, slice]) -> Float32Array:
    """(h, w) squared distance of each pixel from the box's middle, in halves of its width and height."""
    rows, columns = part
    half_width, half_height = max((box[2] - box[0]) / 2, 0.5), max((box[3] - box[1]) / 2, 0.5)
    across = (np.arange(columns.start, columns.stop) + 0.5 - (box[0] + box[2]) / 2) / half_width
    down = (np.arange(rows.start, rows.stop) + 0.5 - (box[1] + box[3]) / 2) / half_height
    squared: Float32Array = (across[None, :] ** 2 + down[:, None] ** 2).astype(np.float32)
    return squared
