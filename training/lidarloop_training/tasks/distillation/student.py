"""The student: a detector, and the adaptation layers that its features pass on the way to the teacher's.

Source: S2M2-SSD (Zheng et al., CVPR 2022), section 4.1: a linear layer with ReLU for sparse-voxel distillation, a
submanifold convolution with ReLU for voxel-to-point distillation. Where student and teacher have equally many channels
they begin as the identity, so that the first steps compare the features themselves. They are no part of a model file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import names
from lidarloop_core.pointcloud.grid import PillarGrid
from lidarloop_training.losses.distillation.config import Level
from lidarloop_training.models.detector import CenterPoint, DetectorFeatures, features_of
from lidarloop_training.models.sparse.convolution import SparseConv3d
from lidarloop_training.tasks.distillation.occupied import LevelGrid


class VoxelAdapter(nn.Module):
    """A linear layer and ReLU: (V, in_channels) → (V, out_channels)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels)
        if in_channels == out_channels:
            nn.init.eye_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor, named: Mapping[str, Any], batch_size: int) -> Tensor:
        """(V, in_channels) features → (V, out_channels); the inputs are not looked at."""
        return torch.relu(self.linear(features))


class VoxelPointAdapter(nn.Module):
    """A submanifold 3 × 3 × 3 convolution and ReLU: (V, in_channels) → (V, out_channels).

    Args:
        in_channels: features of the student's voxels.
        out_channels: features of the teacher's.
        level: number of the level, whose neighbours are among the inputs.
    """

    def __init__(self, in_channels: int, out_channels: int, level: int) -> None:
        super().__init__()
        self.table = f"neighbours_{level}"
        self.conv = SparseConv3d(in_channels, out_channels, bias=True)
        if in_channels == out_channels:
            with torch.no_grad():
                self.conv.weight.zero_()[:, 1, 1, 1] = torch.eye(in_channels)

    def forward(self, features: Tensor, named: Mapping[str, Any], batch_size: int) -> Tensor:
        """(V, in_channels) features and the network's inputs by name → (V, out_channels)."""
        return torch.relu(self.conv(features, named[self.table]))


class PillarPointAdapter(nn.Module):
    """The same for pillars, 3 × 3: a convolution of the canvas, read where there are pillars, is a submanifold one.

    Args:
        in_channels: features of the student's pillars.
        out_channels: features of the teacher's.
        shape: columns and rows of the canvas.
    """

    def __init__(self, in_channels: int, out_channels: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        if in_channels == out_channels:
            nn.init.dirac_(self.conv.weight)
            nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, named: Mapping[str, Any], batch_size: int) -> Tensor:
        """(P, in_channels) features and the network's inputs by name → (P, out_channels)."""
        columns, rows = self.shape
        cell = named["cell"]
        canvas = features.new_zeros(batch_size * rows * columns, features.shape[1]).index_put((cell,), features)
        made = self.conv(canvas.view(batch_size, rows, columns, -1).permute(0, 3, 1, 2))
        return torch.relu(made.permute(0, 2, 3, 1).flatten(0, 2)[cell])


class StudentFeatures(NamedTuple):
    """What the student gives in training.

    Attributes:
        detector: raw maps, and the features that they come from.
        adapted: level of distillation → (V, channels of the teacher) float32 adapted features of its voxels.
    """

    detector: DetectorFeatures
    adapted: dict[str, Tensor]


class DistilledStudent(nn.Module):
    """A detector with adapters; encoder, backbone and head are those of a detector, under the same names.

    Args:
        spec: the student's contract.
        detector: the student.
        adapters: level of distillation → adapter, for the levels that compare voxels.
        level: number of the level of the encoder that is compared.
    """

    def __init__(self, spec: ModelSpec, detector: CenterPoint, adapters: nn.ModuleDict, level: int) -> None:
        super().__init__()
        self.encoder = detector.encoder
        self.backbone = detector.backbone
        self.head = detector.head
        self.adapters = adapters
        self.level = level
        self._input_names = names(spec.inputs)

    def forward(self, *grouped: Any, batch_size: int = 1) -> StudentFeatures:
        """Raw maps and features of a batch; arguments as of ``CenterPoint.forward``."""
        found = features_of(self, *grouped, batch_size=batch_size)
        named = dict(zip(self._input_names, grouped, strict=True))
        voxels = found.levels[self.level]
        adapted = {name: adapter(voxels, named, batch_size).float() for name, adapter in self.adapters.items()}
        return StudentFeatures(found, adapted)

    def detector(self) -> CenterPoint:
        """The student alone, as it is exported; it shares its weights."""
        return CenterPoint(self.encoder, self.backbone, self.head)


def adapters_for(
    spec: ModelSpec, levels: tuple[Level, ...], grid: LevelGrid, in_channels: int, out_channels: int
) -> nn.ModuleDict:
    """The adapters that the levels of distillation need; none that would not be trained.

    Args:
        spec: the student's contract.
        levels: levels that are distilled.
        grid: the level of the encoder that is compared.
        in_channels: features of the student's voxels there.
        out_channels: features of the teacher's.
    """
    adapters = nn.ModuleDict()
    if "voxel" in levels:
        adapters["voxel"] = VoxelAdapter(in_channels, out_channels)
    if "point" in levels and isinstance(spec.grid, PillarGrid):
        adapters["point"] = PillarPointAdapter(in_channels, out_channels, grid.shape)
    elif "point" in levels:
        adapters["point"] = VoxelPointAdapter(in_channels, out_channels, grid.number)
    return adapters
