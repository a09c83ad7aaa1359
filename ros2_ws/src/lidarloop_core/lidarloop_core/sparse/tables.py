"""Neighbour tables: which input row each place of a convolution's kernel finds, for every output row.

With a table a sparse convolution is a gather and a product::

    output[o] = Σ_k input[table[o, k] - 1] @ weight[k]

Entries count rows from 1, and **0 means that there is no voxel**: a row of zeros goes in front of the input, so that
an entry of 0 finds zeros. Padding rows at the end of features and tables then changes no entry, and a padded table is
one filled up with zeros.

Kernel places k run along z, then y, then x (``Window``), the order of weights in ``torch.nn.Conv3d`` and in spconv.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.sparse.compiled import fill_forward, fill_inverse
from lidarloop_core.sparse.occupancy import SUBMANIFOLD, Occupancy, Window, strided_occupancy

Table = npt.NDArray[np.int32]


@dataclass(frozen=True)
class LevelPlan:
    """What a network needs at one level of its pyramid of grids.

    Attributes:
        max_voxels: capacity; voxels above it are thinned out evenly.
        window: geometry of the strided convolution that makes this level of the one before; None for the first.
        has_submanifold: whether submanifold 3×3×3 convolutions run here.
        has_inverse: whether the level before is restored from this one (inverse convolution), in a U-Net or in the
            backward pass.
    """

    max_voxels: int
    window: Window | None = None
    has_submanifold: bool = True
    has_inverse: bool = False


@dataclass(frozen=True)
class LevelTables:
    """The tables of one level, shared by all its layers.

    Attributes:
        voxels: V of them; V' of the level before.
        submanifold: (V, 27) int32, this level → this level.
        down: (V, K) int32, the level before → this level; K places in the kernel of the plan's window.
        up: (V', K) int32, this level → the level before; the inverse of ``down``: entry (i, k) of ``up`` is o + 1
            where entry (o, k) of ``down`` is i + 1.
    """

    voxels: Occupancy
    submanifold: Table | None
    down: Table | None
    up: Table | None


def build_tables(first: Occupancy, plan: Sequence[LevelPlan]) -> tuple[LevelTables, ...]:
    """All tables of a network, in one pass over its levels from fine to coarse.

    Args:
        first: the occupied voxels of the finest grid, thinned to the first level's capacity.
        plan: one entry a level; the first has no window.

    Raises:
        ConfigError: a window does not fit its grid.
    """
    found: list[LevelTables] = []
    voxels = first
    for entry in plan:
        down = up = None
        if entry.window is not None:
            finer, voxels = voxels, strided_occupancy(voxels, entry.window, entry.max_voxels)
            down = neighbour_table(finer, voxels, entry.window)
            up = inverse_table(finer, voxels, entry.window) if entry.has_inverse else None
        submanifold = neighbour_table(voxels, voxels, SUBMANIFOLD) if entry.has_submanifold else None
        found.append(LevelTables(voxels, submanifold, down, up))
    return tuple(found)


def neighbour_table(source: Occupancy, target: Occupancy, window: Window) -> Table:
    """The table of a convolution.

    Args:
        source: V voxels that it reads.
        target: V' voxels that it writes; ``source`` itself for a submanifold convolution.
        window: geometry of the convolution.

    Returns:
        (V', K) int32: row + 1 in the source, 0 for no voxel.
    """
    table = np.empty((target.num_voxels, window.num_places), np.int32)
    fill_forward(
        source.words, source.before, tuple(source.shape), target.position, tuple(target.shape), tuple(window), table
    )
    return table


def inverse_table(finer: Occupancy, coarser: Occupancy, window: Window) -> Table:
    """The table of an inverse convolution: from the voxels that a strided one wrote back to those that it read.

    The same table carries gradients of the strided convolution from its output to its input.

    Args:
        finer: V voxels that the strided convolution read.
        coarser: V' voxels that it wrote.
        window: geometry of the strided convolution.

    Returns:
        (V, K) int32: row + 1 in the coarser level, 0 for no voxel.
    """
    table = np.zeros((finer.num_voxels, window.num_places), np.int32)
    fill_inverse(
        coarser.words, coarser.before, tuple(coarser.shape), finer.position, tuple(finer.shape), tuple(window), table
    )
    return table


def dense_table(voxels: Occupancy) -> Table:
    """Where each place of the dense grid finds its voxel: height folded into the channels of a BEV map.

    Returns:
        (num_cells, layers) int32: row + 1, 0 for no voxel; cells in row-major order.
    """
    table = np.zeros(voxels.shape.num_cells * voxels.shape.layers, np.int32)
    table[voxels.position] = np.arange(1, voxels.num_voxels + 1, dtype=np.int32)
    return table.reshape(voxels.shape.num_cells, voxels.shape.layers)


def neighbour_table_reference(source: Occupancy, target: Occupancy, window: Window) -> Table:
    """``neighbour_table`` step by step in numpy: a dense grid of row numbers, looked up at every place."""
    columns, rows, layers = source.shape
    dense = dense_table(source).reshape(rows, columns, layers).transpose(2, 0, 1)
    padding_x, padding_y, padding_z = window.padding
    padded = np.pad(dense, [(padding_z, padding_z), (padding_y, padding_y), (padding_x, padding_x)])
    corner = (target.coordinates() * np.array(window.stride, np.int32))[:, ::-1]
    offsets = np.array(list(np.ndindex(*window.kernel[::-1])), np.int32)
    z, y, x = np.moveaxis(corner[:, None, :] + offsets[None, :, :], 2, 0)
    return np.asarray(padded[z, y, x], np.int32)


def inverse_table_reference(finer: Occupancy, coarser: Occupancy, window: Window) -> Table:
    """``inverse_table`` step by step in numpy, from its definition: the entries of ``neighbour_table`` turned round."""
    forward = neighbour_table_reference(finer, coarser, window)
    table = np.zeros((finer.num_voxels, window.num_places), np.int32)
    out_row, k = np.nonzero(forward)
    table[forward[out_row, k] - 1, k] = out_row + 1
    return table
