"""What a sparse network sees of a voxel, or of a point in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lidarloop_core.errors import ModelFileError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import VoxelGrid


class VoxelFeatures(nn.Module):
    """The columns, scaled to about [-1, 1], and the place within the voxel.

    SECOND and CenterPoint take the columns alone. A place in metres over a range of a hundred leaves the first
    convolution to find the centimetres that matter for a box; so the place within the voxel is given beside it, in
    [-0.5, 0.5] from its centre.

    Args:
        spec: contract of a model on voxels.

    Attributes:
        num_features: columns of the spec, and three.
    """

    column_scale: Tensor
    low_m: Tensor
    cell_size_m: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        grid = voxel_grid(spec)
        self.num_features = len(spec.point_columns) + 3
        scale = torch.ones(len(spec.point_columns))
        scale[:3] = torch.tensor([1 / max(map(abs, range_m)) for range_m in grid.ranges_m])
        if "intensity" in spec.point_columns:
            scale[spec.point_columns.index("intensity")] = spec.intensity_scale
        self.register_buffer("column_scale", scale, persistent=False)
        self.register_buffer("low_m", torch.tensor([low for low, _ in grid.ranges_m]), persistent=False)
        self.register_buffer("cell_size_m", torch.tensor(grid.cell_size_m), persistent=False)

    def forward(self, columns: Tensor) -> Tensor:
        """(N, C) float32 in ``spec.point_columns``, of points or means of points → (N, num_features)."""
        place = (columns[:, :3] - self.low_m) / self.cell_size_m
        return torch.cat([columns * self.column_scale, place - place.floor() - 0.5], dim=1)


def voxel_grid(spec: ModelSpec) -> VoxelGrid:
    """The grid of a model on voxels.

    Raises:
        ModelFileError: the model is on pillars.
    """
    if not isinstance(spec.grid, VoxelGrid):
        raise ModelFileError(f"{spec.name} is a model on {spec.grid.kind}; expected one on voxels: take another")
    return spec.grid
