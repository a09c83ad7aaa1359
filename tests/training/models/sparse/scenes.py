"""Small random scenes, and the dense arithmetic that sparse convolutions must agree with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lidarloop_core.sparse.occupancy import GridShape, Occupancy, Window, occupancy_of_positions
from lidarloop_core.sparse.tables import LevelPlan, LevelTables, build_tables
from lidarloop_training.models.encoders.voxel import LevelNeighbours
from lidarloop_training.models.sparse.rulebook import batched_table, rulebook_of

ALL = 10**6


def scene(shape: GridShape, density: float, seed: int) -> Occupancy:
    flags = np.random.default_rng(seed).random(shape.num_cells * shape.layers) < density
    return occupancy_of_positions(shape, np.flatnonzero(flags).astype(np.int32), ALL)


def random_features(voxels: Occupancy, channels: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(voxels.num_voxels, channels, generator=generator, dtype=torch.float64)


def encoder_plan(shape: GridShape, windows: tuple[Window, ...]) -> tuple[LevelPlan, ...]:
    """Levels of an encoder: the grid, one for each window, and the fold of all layers into one."""
    for window in windows:
        shape = window.output_shape(shape)
    fold = Window((1, 1, shape.layers), (1, 1, 1), (0, 0, 0))
    return (
        LevelPlan(ALL),
        *(LevelPlan(ALL, window) for window in windows),
        LevelPlan(ALL, fold, has_submanifold=False),
    )


def neighbours_of(batch: list[tuple[LevelTables, ...]]) -> list[LevelNeighbours]:
    """Rulebooks of a batch of samples."""
    levels = []
    for number in range(len(batch[0])):
        here = [sample[number] for sample in batch]
        above = [sample[number - 1].voxels.num_voxels for sample in batch]
        count = [tables.voxels.num_voxels for tables in here]
        submanifold = [tables.submanifold for tables in here if tables.submanifold is not None]
        down = [tables.down for tables in here if tables.down is not None]
        levels.append(
            LevelNeighbours(
                rulebook_of(batched_table(submanifold, count), sum(count)) if submanifold else None,
                rulebook_of(batched_table(down, above), sum(above)) if down else None,
            )
        )
    return levels


def tables_of(tables: tuple[LevelTables, ...]) -> list[LevelNeighbours]:
    """The plain tables of one sample, as tensors."""
    return [
        LevelNeighbours(
            None if level.submanifold is None else torch.from_numpy(level.submanifold),
            None if level.down is None else torch.from_numpy(level.down),
        )
        for level in tables
    ]


def build(voxels: Occupancy, windows: tuple[Window, ...]) -> tuple[LevelTables, ...]:
    return build_tables(voxels, encoder_plan(voxels.shape, windows))


def to_dense(features: Tensor, voxels: Occupancy) -> Tensor:
    """(V, C) → (1, C, layers, rows, columns), zero where there is no voxel."""
    columns, rows, layers = voxels.shape
    x, y, z = torch.from_numpy(voxels.coordinates().astype(np.int64)).T
    dense = features.new_zeros(layers, rows, columns, features.shape[1]).index_put((z, y, x), features)
    return dense.permute(3, 0, 1, 2)[None]


def at_voxels(dense: Tensor, voxels: Occupancy) -> Tensor:
    """(1, C, layers, rows, columns) → (V, C)."""
    x, y, z = torch.from_numpy(voxels.coordinates().astype(np.int64)).T
    return dense[0][:, z, y, x].T


def as_conv3d(weight: Tensor) -> Tensor:
    """(C', kz, ky, kx, C) → (C', C, kz, ky, kx)."""
    return weight.permute(0, 4, 1, 2, 3)


def dense_conv(features: Tensor, weight: Tensor, source: Occupancy, target: Occupancy, window: Window) -> Tensor:
    """``torch.nn.functional.conv3d`` on the dense grid, read at the target's voxels."""
    dense = functional.conv3d(
        to_dense(features, source), as_conv3d(weight), stride=window.stride[::-1], padding=window.padding[::-1]
    )
    return at_voxels(dense, target)


def dense_inverse_conv(features: Tensor, weight: Tensor, coarse: Occupancy, fine: Occupancy, window: Window) -> Tensor:
    """``conv_transpose3d`` on the dense grid, read at the fine voxels."""
    beyond = [
        size - ((n - 1) * stride - 2 * padding + kernel)
        for size, n, kernel, stride, padding in zip(fine.shape, coarse.shape, *window, strict=True)
    ]
    dense = functional.conv_transpose3d(
        to_dense(features, coarse),
        as_conv3d(weight).transpose(0, 1),
        stride=window.stride[::-1],
        padding=window.padding[::-1],
        output_padding=beyond[::-1],
    )
    return at_voxels(dense, fine)
