"""COCO's encodings of masks → ``MaskWindow``."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from lidarloop_core.io.images import MOST_PIXELS
from lidarloop_core.labelling.instance_masks import MaskWindow

# Polygons may reach beyond the picture, by so many times its size.
_MOST_OUTSIDE = 10
# pycocotools takes about 100 bytes for each pixel of a polygon's outline.
_MOST_OUTLINE_PX = 1_000_000


def mask_window(segmentation: Any, width: int, height: int) -> MaskWindow:
    """A segmentation as its tight window.

    Args:
        segmentation: run lengths, compressed (a string) or not (a list), or polygons.
        width, height: size of the picture, pixels.

    Raises:
        ValueError: another encoding, or another size than the picture's.
    """
    _require_sound(segmentation, width, height)
    if isinstance(segmentation, list):
        runs = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation, dict) and {"size", "counts"} <= segmentation.keys():
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"a mask of {segmentation['size']} on a picture of {[height, width]} (height, width)")
        uncompressed = isinstance(segmentation["counts"], list)
        runs = coco_mask.frPyObjects(segmentation, height, width) if uncompressed else segmentation
    else:
        raise ValueError(f"segmentation {str(segmentation)[:60]}: neither run lengths nor polygons")
    if not coco_mask.area(runs):
        return MaskWindow.of(np.zeros((0, 0), np.bool_))
    # Decoding is the slow part, and the object is a small part of the picture: only its window is used afterwards.
    left, top, wide, high = (int(v) for v in coco_mask.toBbox(runs))
    pixels = coco_mask.decode(runs)[top : top + high, left : left + wide] > 0
    return MaskWindow(left, top, np.ascontiguousarray(pixels))


def _require_sound(segmentation: Any, width: int, height: int) -> None:
    """pycocotools reads and writes beyond its memory where run lengths or polygons are not what they should be.

    Raises:
        ValueError: a picture without pixels or of too many, run lengths that do not add up to it, or polygons of too
            few or absurd numbers.
    """
    if min(width, height) <= 0 or width * height > MOST_PIXELS:
        raise ValueError(f"a picture of {width} × {height}; expected 1…{MOST_PIXELS} pixels")
    if isinstance(segmentation, dict) and "counts" in segmentation:
        counts = segmentation["counts"]
        runs = counts if isinstance(counts, list) else _run_lengths(counts)
        is_sound = all(isinstance(run, int) and run >= 0 for run in runs) and sum(runs) == width * height
        if not is_sound:
            raise ValueError(f"run lengths that do not add up to a picture of {width} × {height}")
    elif isinstance(segmentation, list):
        outline_px = 0.0
        most = _MOST_OUTSIDE * max(width, height)
        for polygon in segmentation:
            is_sound = isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
            if not is_sound or not all(isinstance(x, int | float) and abs(x) <= most for x in polygon):
                raise ValueError(f"a polygon {str(polygon)[:60]}; expected at least three points near the picture")
            outline_px += _outline_px(polygon)
        if outline_px > _MOST_OUTLINE_PX:
            raise ValueError(f"an outline of {outline_px:.0f} pixels; expected {_MOST_OUTLINE_PX} at most")


def _outline_px(polygon: list[float]) -> float:
    """Number of pixels of a closed polygon's edges."""
    points = np.array(polygon, np.float64).reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def _run_lengths(counts: str | bytes) -> list[int]:
    """COCO's compressed run lengths: five bits a character, differences from the fourth on.

    Source: ``rleFrString`` of pycocotools' maskApi.c.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode() if isinstance(counts, str) else counts:
        code = character - 48
        if not 0 <= code < 64 or shift > 50:
            raise ValueError("compressed run lengths with characters that none have")
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths that break off")
    return runs
