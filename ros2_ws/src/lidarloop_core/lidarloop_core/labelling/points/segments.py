"""The LiDAR points of each object that was found in a picture."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.instance_masks import InstanceMasks
from lidarloop_core.labelling.lifting_config import LiftingConfig
from lidarloop_core.labelling.points.erosion import eroded
from lidarloop_core.labelling.points.frustum import View
from lidarloop_core.labelling.suppression import nms_2d


@dataclass(frozen=True)
class Segment:
    """One object of a picture, with its points.

    Attributes:
        label: class index.
        score: score of the 2D detection, in [0, 1].
        cameras: names of the cameras that show it, best first.
        index: (n,) int64, ascending indices of its points in the cloud.
    """

    label: int
    score: float
    cameras: tuple[str, ...]
    index: npt.NDArray[np.int64]


def usable_masks(masks: InstanceMasks, config: LiftingConfig, left_out: Counter[str]) -> InstanceMasks:
    """The masks of a picture that pass score, size and 2D NMS; the others are counted."""
    with np.errstate(invalid="ignore"):
        weak = ~(masks.scores >= config.min_score_2d)  # NaN counts as weak
    empty = np.array([not mask.pixels.any() for mask in masks.masks], np.bool_)
    left_out["score too low"] += int(weak.sum())
    left_out["empty mask"] += int((empty & ~weak).sum())
    masks = masks[~weak & ~empty]
    kept = nms_2d(masks.boxes, masks.scores, masks.labels, config.nms_iou_2d)
    left_out["overlaps a better one of its class"] += len(masks) - len(kept)
    return masks[kept]


def segments_of(masks: InstanceMasks, seen: View, config: LiftingConfig, left_out: Counter[str]) -> list[Segment]:
    """A segment for each mask of a picture that holds a point.

    A mask that would lose all its points to erosion keeps its pixels: a far pedestrian is two pixels wide.
    """
    segments = []
    for mask, score, label in zip(masks.masks, masks.scores, masks.labels, strict=True):
        inside = seen.inside(eroded(mask, config.erosion_px, masks.width, masks.height))
        if not len(inside):
            inside = seen.inside(mask)
        if len(inside):
            segments.append(Segment(int(label), float(score), (seen.camera.name,), seen.index[inside]))
        else:
            left_out["no points in the mask"] += 1
    return segments
