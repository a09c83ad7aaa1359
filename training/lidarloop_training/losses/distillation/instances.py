"""Instance distillation: the deep features in the boxes that the student finds.

Source: S2M2-SSD (Zheng et al., CVPR 2022), section 3.5, equation 12. It has no 1/C, unlike equations 5 and 9; ours
takes the mean over the channels, as they do, so that the loss does not grow with the network's width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lidarloop_training.losses.distillation.config import InstanceConfig


class MapPlace(NamedTuple):
    """Where a BEV map lies.

    Attributes:
        low_m: (2,) float32 x and y of its outer corner, metres, LiDAR frame.
        cell_size_m: (2,) float32 edges of a cell along x and y, metres.
    """

    low_m: Tensor
    cell_size_m: Tensor


def box_grid(boxes: Tensor, size: int) -> Tensor:
    """A uniform grid in each box, turned with it.

    Args:
        boxes: (N, ≥7) box columns, metres and radians.
        size: points along each side; they are the middles of ``size`` × ``size`` equal parts.

    Returns:
        (N, size², 2) x and y, metres; along the length first.
    """
    middles = (torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5) / size - 0.5
    along, across = torch.meshgrid(middles, middles, indexing="ij")
    along = along.flatten() * boxes[:, 3:4]
    across = across.flatten() * boxes[:, 4:5]
    c, s = boxes[:, 6:7].cos(), boxes[:, 6:7].sin()
    return torch.stack([along * c - across * s + boxes[:, 0:1], along * s + across * c + boxes[:, 1:2]], dim=2)


def read_map(features: Tensor, xy: Tensor, place: MapPlace) -> Tensor:
    """Bilinear interpolation between the middles of a map's cells; 0 beyond its edge.

    Args:
        features: (C, H, W) of one sample, unit-less; rows along y, columns along x.
        xy: (N, P, 2) metres.
        place: where the map lies.

    Returns:
        (N, P, C).
    """
    _, height, width = features.shape
    cells = (xy - place.low_m) / place.cell_size_m
    normed = 2 * cells / cells.new_tensor([width, height]) - 1
    read = functional.grid_sample(features[None], normed[None], mode="bilinear", align_corners=False)
    return read[0].permute(1, 2, 0)


def instance_loss(
    student: Tensor, teacher: Tensor, boxes: list[Tensor], place: MapPlace, config: InstanceConfig
) -> Tensor:
    """Equation 12, L_ins: smooth L1 of the features at the grid points, mean over all boxes of the batch.

    Args:
        student: (B, C, H, W) last BEV features, unit-less.
        teacher: same shape.
        boxes: (N, ≥7) instances of each sample, metres and radians.
        place: where the maps lie.
        config: weight and size of the grid.
    """
    total = student.sum() * 0  # so that a batch without a box has a gradient, of 0
    for ours, theirs, of_sample in zip(student, teacher, boxes, strict=True):
        if len(of_sample):
            grid = box_grid(of_sample, config.grid_size)
            difference = functional.smooth_l1_loss(
                read_map(ours, grid, place), read_map(theirs, grid, place), reduction="none"
            )
            total = total + difference.mean(dim=(1, 2)).sum()
    return config.weight * total / max(1, sum(map(len, boxes)))
