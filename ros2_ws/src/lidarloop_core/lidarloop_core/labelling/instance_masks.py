"""What a 2D model found in one picture: boxes, scores, classes and a mask for each object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class MaskWindow:
    """A mask, stored as a window of the picture: thirty masks of the full picture would take 40 MB.

    Attributes:
        left, top: column and row of the window's first pixel in the picture.
        pixels: (h, w) bool.
    """

    left: int
    top: int
    pixels: npt.NDArray[np.bool_]

    @staticmethod
    def of(mask: npt.NDArray[np.bool_]) -> MaskWindow:
        """The tight window of a mask of the full picture, (H, W) bool; an empty window if no pixel is set."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return MaskWindow(0, 0, np.zeros((0, 0), np.bool_))
        top, left = int(rows[0]), int(columns[0])
        return MaskWindow(left, top, mask[top : rows[-1] + 1, left : columns[-1] + 1].copy())

    def covers(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """(N,) whether the mask holds the pixel that each (u, v) of (N, 2) falls on; NaN falls on none."""
        height, width = self.pixels.shape
        inside = np.zeros(len(pixels), np.bool_)
        with np.errstate(invalid="ignore"):
            near = (
                (pixels[:, 0] >= self.left - 0.5)
                & (pixels[:, 0] < self.left + width - 0.5)
                & (pixels[:, 1] >= self.top - 0.5)
                & (pixels[:, 1] < self.top + height - 0.5)
            )
        # Pixel centres have integer coordinates; rounding half up keeps the window's edges half open.
        column = np.floor(pixels[near, 0] + 0.5).astype(np.int64) - self.left
        row = np.floor(pixels[near, 1] + 0.5).astype(np.int64) - self.top
        inside[near] = self.pixels[row, column]
        return inside

    @property
    def num_pixels(self) -> int:
        return int(self.pixels.sum())


@dataclass(frozen=True)
class InstanceMasks:
    """M objects of one picture.

    Attributes:
        boxes: (M, 4) float32 x_min, y_min, x_max, y_max in pixels.
        scores: (M,) float32 in [0, 1].
        labels: (M,) int64, indices into ``class_names``.
        masks: M masks, one for each object.
        class_names: names that the labels index.
        width, height: size of the picture, pixels.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    masks: tuple[MaskWindow, ...]
    class_names: tuple[str, ...]
    width: int
    height: int

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, np.float32).reshape(-1, 4)
        scores = np.asarray(self.scores, np.float32).reshape(-1)
        labels = np.asarray(self.labels, np.int64).reshape(-1)
        if not len(boxes) == len(scores) == len(labels) == len(self.masks):
            raise ValueError(
                f"InstanceMasks received {len(boxes)} boxes, {len(scores)} scores, {len(labels)} labels and "
                f"{len(self.masks)} masks; expected as many of each"
            )
        if len(labels) and (labels.min() < 0 or labels.max() >= len(self.class_names)):
            raise ValueError(
                f"InstanceMasks received labels {labels.min()}…{labels.max()}; expected 0…{len(self.class_names) - 1} "
                f"({', '.join(self.class_names)})"
            )
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: npt.NDArray[Any]) -> InstanceMasks:
        """The objects that a bool mask or an index array selects."""
        chosen = np.arange(len(self))[index]
        masks = tuple(self.masks[i] for i in chosen)
        return InstanceMasks(
            self.boxes[chosen],
            self.scores[chosen],
            self.labels[chosen],
            masks,
            self.class_names,
            self.width,
            self.height,
        )

    @staticmethod
    def empty(class_names: tuple[str, ...], width: int, height: int) -> InstanceMasks:
        return InstanceMasks(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), (), class_names, width, height
        )
