"""Instance masks of a camera picture, as COCO run lengths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from lidarloop_core.classes import NUSCENES_CLASSES


@dataclass(frozen=True)
class InstanceMask:
    """One object in one picture.

    Attributes:
        label: index into ``NUSCENES_CLASSES``.
        score: 1 for ground truth.
        box: x_min, y_min, x_max, y_max in pixels: the tight box of the mask, unless a mask model loosened it.
        size: height, width of the picture.
        counts: COCO's compressed run lengths.
        instance_id: which actor; "" where unknown.
    """

    label: int
    score: float
    box: tuple[float, float, float, float]
    size: tuple[int, int]
    counts: bytes
    instance_id: str = ""

    @staticmethod
    def of(mask: npt.NDArray[np.bool_], label: int, instance_id: str = "", score: float = 1.0) -> InstanceMask:
        """From a (H, W) mask with at least one pixel."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        return InstanceMask(label, score, box, (mask.shape[0], mask.shape[1]), bytes(encoded["counts"]), instance_id)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(H, W) bool."""
        decoded: npt.NDArray[np.bool_] = coco_mask.decode({"size": list(self.size), "counts": self.counts}) > 0
        return decoded

    @property
    def num_pixels(self) -> int:
        return int(coco_mask.area({"size": list(self.size), "counts": self.counts}))

    def as_coco(self) -> dict[str, Any]:
        """An entry of a COCO results file; bbox is x, y, width, height."""
        x_min, y_min, x_max, y_max = self.box
        return {
            "category_name": NUSCENES_CLASSES[self.label],
            "score": self.score,
            "bbox": [x_min, y_min, x_max - x_min, y_max - y_min],
            "segmentation": {"size": list(self.size), "counts": self.counts.decode("ascii")},
            "instance_id": self.instance_id,
        }

    @staticmethod
    def from_coco(entry: dict[str, Any]) -> InstanceMask:
        """Inverse of ``as_coco``."""
        x, y, width, height = entry["bbox"]
        rows, columns = entry["segmentation"]["size"]
        return InstanceMask(
            NUSCENES_CLASSES.index(entry["category_name"]),
            float(entry["score"]),
            (x, y, x + width, y + height),
            (rows, columns),
            entry["segmentation"]["counts"].encode("ascii"),
            entry["instance_id"],
        )


def instance_masks(
    actor: npt.NDArray[np.int16], labels: Sequence[int], instance_ids: Sequence[str], *, min_pixels: int = 4
) -> tuple[InstanceMask, ...]:
    """A mask for each actor of an index image that shows at least ``min_pixels`` of it.

    Args:
        actor: (H, W) indices into ``labels`` and ``instance_ids``; -1 for none.
    """
    indices, counts = np.unique(actor[actor >= 0], return_counts=True)
    return tuple(
        InstanceMask.of(actor == index, labels[index], instance_ids[index])
        for index in indices[counts >= min_pixels].tolist()
    )


def union(masks: Iterable[InstanceMask]) -> npt.NDArray[np.bool_]:
    """(H, W) pixels of any of at least one mask."""
    merged: npt.NDArray[np.bool_] = np.logical_or.reduce([m.mask for m in masks])
    return merged
