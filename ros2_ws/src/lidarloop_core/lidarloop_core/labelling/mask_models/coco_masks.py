"""COCO's encodings of masks → ``MaskWindow``."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from lidarloop_core.labelling.instance_masks import MaskWindow


def mask_window(segmentation: Any, width: int, height: int) -> MaskWindow:
    """A segmentation as its tight window.

    Args:
        segmentation: run lengths, compressed (a string) or not (a list), or polygons.
        width, height: size of the picture, pixels.

    Raises:
        ValueError: another encoding, or another size than the picture's.
    """
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
