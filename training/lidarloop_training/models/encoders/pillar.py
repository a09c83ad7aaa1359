"""Points grouped in pillars → a BEV feature map, without reductions in any scatter.

Source: PointPillars (Lang et al., CVPR 2019), section 2.1. Two differences. The linear layer runs on the points that
are there, not on padded pillars, so that its batch norm sees real points only. And the maximum over a pillar needs no
mask: features are ≥ 0 after the ReLU and every pillar holds a point, so the zeros in empty places never win.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lidarloop_core.model.spec import ModelSpec
from lidarloop_training.models.encoders.encoded import Encoded


class PillarEncoder(nn.Module):
    """Point features, maximum over each pillar, scatter to the BEV canvas.

    Slots and cells are distinct by the grouping's contract, so each scatter writes a place at most once: the exported
    graph needs no scatter with a reduction, which inference engines reject or, worse, silently drop.
    """

    column_scale: Tensor
    cell_size_m: Tensor
    first_center_m: Tensor

    def __init__(self, spec: ModelSpec, channels: int) -> None:
        super().__init__()
        self.channels = channels
        grid = spec.pillars
        self.num_places = grid.max_points_per_pillar
        self.num_columns, self.num_rows = grid.shape
        # Decoration: the columns, then the offsets to the pillar's mean (x, y, z) and to its centre (x, y).
        self.linear = nn.Linear(len(spec.point_columns) + 5, channels, bias=False)
        self.norm = nn.BatchNorm1d(channels, eps=1e-3, momentum=0.05)
        scale = torch.ones(len(spec.point_columns))
        if "intensity" in spec.point_columns:
            scale[spec.point_columns.index("intensity")] = spec.intensity_scale
        self.register_buffer("column_scale", scale, persistent=False)
        size = torch.tensor(grid.cell_size_m)
        low = torch.tensor([grid.x_range_m[0], grid.y_range_m[0]])
        self.register_buffer("cell_size_m", size, persistent=False)
        self.register_buffer("first_center_m", low + size / 2, persistent=False)

    def forward(self, points: Tensor, slot: Tensor, cell: Tensor, count: Tensor, *, batch_size: int = 1) -> Tensor:
        """The map of a batch, (B, F, rows, columns); arguments as of ``encode``."""
        return self.encode(points, slot, cell, count, batch_size=batch_size).canvas

    def encode(self, points: Tensor, slot: Tensor, cell: Tensor, count: Tensor, *, batch_size: int = 1) -> Encoded:
        """Encodes the clouds of a batch.

        Args:
            points: (N, C) float32 in ``spec.point_columns``, all samples of the batch one after another.
            slot: (N,) int64, distinct: pillar × max_points_per_pillar + place; pillars counted over the batch.
            cell: (P,) int64, distinct: (sample × rows + row) × columns + column.
            count: (P,) int64 points in each pillar, ≥ 1.
            batch_size: B.

        Returns:
            (P, F) features of the pillars, and the (B, F, rows, columns) map, zero where there is no pillar.
        """
        features = torch.relu(self.norm(self.linear(self._decorate(points, slot, cell, count))))
        num_pillars = cell.shape[0]
        places = features.new_zeros(num_pillars * self.num_places, self.channels)
        places = places.index_put((slot,), features)
        pillars = places.view(num_pillars, self.num_places, self.channels).max(dim=1).values
        canvas = pillars.new_zeros(batch_size * self.num_rows * self.num_columns, self.channels)
        canvas = canvas.index_put((cell,), pillars)
        canvas = canvas.view(batch_size, self.num_rows, self.num_columns, self.channels).permute(0, 3, 1, 2)
        return Encoded((pillars,), canvas)

    def _decorate(self, points: Tensor, slot: Tensor, cell: Tensor, count: Tensor) -> Tensor:
        """(N, C + 5): scaled columns, offset to the mean of the pillar's points, offset to the pillar's centre."""
        num_pillars = cell.shape[0]
        pillar = torch.floor_divide(slot, self.num_places)
        xyz = points[:, :3]
        places = xyz.new_zeros(num_pillars * self.num_places, 3).index_put((slot,), xyz)
        total = places.view(num_pillars, self.num_places, 3).sum(dim=1)
        mean = total / count.to(total.dtype).unsqueeze(1)
        column = torch.remainder(cell, self.num_columns)
        row = torch.remainder(torch.floor_divide(cell, self.num_columns), self.num_rows)
        center = torch.stack([column, row], dim=1).to(xyz.dtype) * self.cell_size_m + self.first_center_m
        reference = torch.cat([mean, center], dim=1)[pillar]
        return torch.cat([points * self.column_scale, torch.cat([xyz, xyz[:, :2]], dim=1) - reference], dim=1)
