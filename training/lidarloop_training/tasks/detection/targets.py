"""Labelled boxes → targets for the centre heads.

Sources: CornerNet (Law and Deng, ECCV 2018), section 3.2, for the radius; CenterNet (Zhou et al., 2019), section 3, for
the Gaussian heatmap; CenterPoint (Yin et al., CVPR 2021), section 4.1, for the regressed values and the least radius.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.boxes import Boxes3D, points_in_boxes
from lidarloop_core.model.spec import ModelSpec
from lidarloop_training.tasks.detection.unseen import cell_centers, map_shape

# CenterPoint, section 4.1: radius = max(f(length, width), 2), with the overlap of its configurations.
MIN_OVERLAP = 0.1
MIN_RADIUS_CELLS = 2


@dataclass(frozen=True)
class CenterTargets:
    """Targets of one sample; O objects.

    Attributes:
        heatmap: (num_classes, H, W) float32; 1 at each object's cell, falling off round it, 0 elsewhere.
        cell: (O,) int64 row × W + column of the object's centre.
        label: (O,) int64 class.
        regression: (O, 10) float32, ``REGRESSION_COLUMNS`` of the centre head; NaN where unknown.
        weight: (O,) float32 in [0, 1], confidence in each label; 1 for ground truth.
        ignored: (H, W) bool; cells of which it is not known whether they are empty.
    """

    heatmap: npt.NDArray[np.float32]
    cell: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    regression: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    ignored: npt.NDArray[np.bool_]


def gaussian_radius(length_cells: float, width_cells: float, min_overlap: float = MIN_OVERLAP) -> float:
    """How far, in cells (unit-less), a box's corners may move until it overlaps the true one by only ``min_overlap``.

    The least of three cases, each a quadratic in the radius r (l, w the sides, o the overlap):

    - both corners move by r in the same direction: (l − r)(w − r) = o (2 l w − (l − r)(w − r));
    - both move inwards: (l − 2 r)(w − 2 r) = o l w;
    - both move outwards: l w = o (l + 2 r)(w + 2 r).

    CornerNet's published code, and CenterPoint's after it, do not divide by the leading coefficient and take other
    roots; these are the equations' own. With CenterPoint's lower limit of 2 cells, both give 2 for nearly every object.
    """
    area, half = length_cells * width_cells, length_cells + width_cells
    shifted = (half - math.sqrt(half**2 - 4 * area * (1 - min_overlap) / (1 + min_overlap))) / 2
    inwards = (half - math.sqrt(half**2 - 4 * area * (1 - min_overlap))) / 4
    outwards = (-half + math.sqrt(half**2 + 4 * area * (1 / min_overlap - 1))) / 4
    return min(shifted, inwards, outwards)


def center_targets(
    boxes: Boxes3D, spec: ModelSpec, stride: int, unseen: npt.NDArray[np.bool_] | None = None
) -> CenterTargets:
    """Heatmap and regression targets of one sample.

    Args:
        boxes: labels in the LiDAR frame, classes of ``spec.class_names``; those centred out of range are left out.
            Their scores are the weights: 1 for ground truth. A label of weight 0 teaches nothing, and the cells of its
            box are ignored. One without a heading (NaN) teaches class, place and velocity, but neither size nor
            heading.
        spec: range and cell size.
        stride: cells of the grid that one cell of the head's map spans, each way.
        unseen: (H, W) cells of which nothing is known; none by default.
    """
    rows, columns = map_shape(spec, stride)
    doubted = boxes.scores == 0
    ignored = _footprints(boxes[doubted], spec, stride)
    if unseen is not None:
        ignored |= unseen
    boxes = boxes[~doubted]
    cell_size = np.array(spec.grid.cell_size_m[:2]) * stride
    low = np.array([spec.grid.x_range_m[0], spec.grid.y_range_m[0]])
    position = (boxes.centers[:, :2].astype(np.float64) - low) / cell_size
    corner = np.floor(position).astype(np.int64)
    inside = ((corner >= 0) & (corner < (columns, rows))).all(axis=1)
    boxes, position, corner = boxes[inside], position[inside], corner[inside]

    heatmap = np.zeros((len(spec.class_names), rows, columns), np.float32)
    for (column, row), label, size in zip(corner, boxes.labels, boxes.dimensions, strict=True):
        radius = max(MIN_RADIUS_CELLS, int(gaussian_radius(size[0] / cell_size[0], size[1] / cell_size[1])))
        _draw_gaussian(heatmap[label], int(column), int(row), radius)

    dimensions = np.where(np.isfinite(boxes.yaws)[:, None], boxes.dimensions, np.nan)
    regression = np.concatenate(
        [
            position - corner,
            boxes.centers[:, 2:3],
            np.log(dimensions),
            np.sin(boxes.yaws)[:, None],
            np.cos(boxes.yaws)[:, None],
            boxes.velocities,
        ],
        axis=1,
    ).astype(np.float32)
    cell = corner[:, 1] * columns + corner[:, 0]
    return CenterTargets(heatmap, cell, boxes.labels, regression, boxes.scores, ignored)


def _footprints(boxes: Boxes3D, spec: ModelSpec, stride: int) -> npt.NDArray[np.bool_]:
    """(H, W) cells whose middle lies in a box, or within a cell of it."""
    if not len(boxes):
        return np.zeros(map_shape(spec, stride), np.bool_)
    places = cell_centers(spec, stride)
    flat = boxes.values.copy()
    flat[:, 3:5] += 2 * stride * np.float32(max(spec.grid.cell_size_m[:2]))
    flat[:, 2], flat[:, 5] = 0.0, 1.0
    covered = points_in_boxes(np.column_stack([places, np.zeros(len(places))]).astype(np.float32), flat)
    inside: npt.NDArray[np.bool_] = covered.any(axis=0).reshape(map_shape(spec, stride))
    return inside


def _draw_gaussian(heatmap: npt.NDArray[np.float32], column: int, row: int, radius: int) -> None:
    """Raises the map to a Gaussian of σ = (2 radius + 1) / 6 round one cell, cut off at ``radius``."""
    rows, columns = heatmap.shape
    sigma = (2 * radius + 1) / 6
    y = np.arange(max(0, row - radius), min(rows, row + radius + 1))
    x = np.arange(max(0, column - radius), min(columns, column + radius + 1))
    gaussian = np.exp(-((y[:, None] - row) ** 2 + (x[None, :] - column) ** 2) / (2 * sigma**2))
    window = heatmap[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
    np.maximum(window, gaussian, out=window, casting="same_kind")
