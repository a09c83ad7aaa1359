"""The occupied voxels of a grid, and of the coarser grids that strided convolutions make of it.

There is no hash table. A grid keeps one bit per voxel: the column of layers over each (x, y) cell is a 64-bit word,
and for each cell there is the number of voxels in the cells before it. The row of a voxel in every feature array is
then that number plus the bits set below its own. Rows are therefore in order of ``position``: cell by cell in row-major
order (row along y, then column along x), and upwards within a cell. The order depends on which voxels are occupied and
on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError
from lidarloop_core.sparse.compiled import count_before, list_positions, mark_outputs, set_bits, thin

MAX_LAYERS = 64
"""Bits of a word."""


class GridShape(NamedTuple):
    """Number of voxels: columns along x, rows along y, layers along z."""

    columns: int
    rows: int
    layers: int

    @property
    def num_cells(self) -> int:
        """(x, y) cells."""
        return self.columns * self.rows


class Window(NamedTuple):
    """The geometry of a convolution, each along x, y and z; the rules of ``torch.nn.Conv3d``, without dilation.

    Attributes:
        kernel: size, in voxels of the input.
        stride: step of the output, in voxels of the input.
        padding: voxels added to each side of the input.
    """

    kernel: tuple[int, int, int] = (3, 3, 3)
    stride: tuple[int, int, int] = (2, 2, 2)
    padding: tuple[int, int, int] = (1, 1, 1)

    @property
    def num_places(self) -> int:
        """Places in the kernel; place (kx, ky, kz) has the number ``(kz * kernel_y + ky) * kernel_x + kx``."""
        return self.kernel[0] * self.kernel[1] * self.kernel[2]

    def output_shape(self, shape: GridShape) -> GridShape:
        """Shape of the output grid.

        Raises:
            ConfigError: the window is larger than the padded grid, or a number is out of its range.
        """
        is_padded_well = all(0 <= padding < kernel for padding, kernel in zip(self.padding, self.kernel, strict=True))
        if min(self.kernel) < 1 or min(self.stride) < 1 or not is_padded_well:
            raise ConfigError(
                f"a sparse convolution received {self}; "
                "expected kernel and stride of at least 1, and a padding from 0 to less than the kernel"
            )
        sizes = [
            (size + 2 * padding - kernel) // stride + 1
            for size, kernel, stride, padding in zip(shape, *self, strict=True)
        ]
        if min(sizes) < 1:
            raise ConfigError(
                f"a sparse convolution received a grid of {tuple(shape)} voxels (x, y, z) for {self}; "
                "expected a grid at least as large as the kernel: use fewer levels or a finer grid"
            )
        return GridShape(*sizes)


SUBMANIFOLD = Window((3, 3, 3), (1, 1, 1), (1, 1, 1))
"""Output voxels are the input voxels (Graham et al., CVPR 2018)."""


@dataclass(frozen=True)
class Occupancy:
    """The occupied voxels of one grid.

    Attributes:
        shape: size of the grid, in voxels.
        words: (num_cells,) uint64, bit z of a cell's word is set where its voxel z is occupied.
        before: (num_cells,) int32, number of occupied voxels in all cells before.
        position: (V,) int32, ascending, ``(row * columns + column) * layers + z`` of each voxel.
        num_found: voxels before thinning to the level's capacity; V where nothing was left out.
    """

    shape: GridShape
    words: npt.NDArray[np.uint64]
    before: npt.NDArray[np.int32]
    position: npt.NDArray[np.int32]
    num_found: int

    @property
    def num_voxels(self) -> int:
        """V."""
        return len(self.position)

    @property
    def num_thinned(self) -> int:
        """Voxels left out because there were more than the capacity."""
        return self.num_found - self.num_voxels

    def coordinates(self) -> npt.NDArray[np.int32]:
        """(V, 3) int32: x, y, z of each voxel, in voxels."""
        cell, z = np.divmod(self.position, np.int32(self.shape.layers))
        row, column = np.divmod(cell, np.int32(self.shape.columns))
        return np.stack([column, row, z], axis=1)


def check_shape(shape: GridShape) -> None:
    """Refuses a grid whose columns do not fit a word, or whose positions do not fit 32 bits.

    Raises:
        ConfigError: no voxels along an axis, more than 64 layers, or 2^31 voxels and more.
    """
    if min(shape) < 1 or shape.layers > MAX_LAYERS or shape.layers * shape.num_cells >= 2**31:
        raise ConfigError(
            f"a voxel grid received {tuple(shape)} voxels (x, y, z); expected at least 1 each way, at most "
            f"{MAX_LAYERS} layers, and fewer than 2^31 in all: change the range or the voxel size"
        )


def occupancy_of_words(shape: GridShape, words: npt.NDArray[np.uint64], max_voxels: int) -> Occupancy:
    """Numbers the V voxels of an occupancy, and thins them if there are too many: (V,) positions, V ≤ ``max_voxels``.

    Of ``num_found`` voxels in row order, voxel r stays where ``(r + 1) * max_voxels // num_found`` exceeds
    ``r * max_voxels // num_found``: evenly, so that objects everywhere keep their share.

    Args:
        shape: size of the grid, in voxels.
        words: (num_cells,) uint64 as in ``Occupancy``; the occupancy takes it over and clears the bits
            of voxels that are left out.
        max_voxels: capacity, at least 1.
    """
    before = np.empty(len(words), np.int32)
    num_found = count_before(words, before)
    if num_found > max_voxels:
        thin(words, num_found, max_voxels)
        count_before(words, before)
    position = np.empty(min(num_found, max_voxels), np.int32)
    list_positions(words, shape.layers, position)
    return Occupancy(shape, words, before, position, num_found)


def occupancy_of_positions(shape: GridShape, position: npt.NDArray[np.int32], max_voxels: int) -> Occupancy:
    """The occupancy with the voxels at ``position`` ((N,) int32 as in ``Occupancy``, any order, repeats allowed)."""
    check_shape(shape)
    words = np.zeros(shape.num_cells, np.uint64)
    set_bits(words, shape.layers, np.ascontiguousarray(position, np.int32))
    return occupancy_of_words(shape, words, max_voxels)


def strided_occupancy(finer: Occupancy, window: Window, max_voxels: int) -> Occupancy:
    """The voxels that a strided convolution writes: those with an occupied voxel in their window.

    Args:
        finer: voxels of the input.
        window: geometry of the convolution.
        max_voxels: capacity of the output.

    Raises:
        ConfigError: the window does not fit the grid.
    """
    shape = window.output_shape(finer.shape)
    check_shape(shape)
    words = np.zeros(shape.num_cells, np.uint64)
    mark_outputs(
        finer.position, tuple(finer.shape), words, tuple(shape), tuple(window),
        column_outputs(finer.shape, shape, window),
    )  # fmt: skip
    return occupancy_of_words(shape, words, max_voxels)


def column_outputs(shape: GridShape, coarse: GridShape, window: Window) -> npt.NDArray[np.uint64]:
    """(layers,) uint64: for each layer of a grid, the layers of the coarser one whose window holds it, as bits."""
    columns = np.zeros(shape.layers, np.uint64)
    for z in range(shape.layers):
        for kz in range(window.kernel[2]):
            out, rest = divmod(z + window.padding[2] - kz, window.stride[2])
            if rest == 0 and 0 <= out < coarse.layers:
                columns[z] |= np.uint64(1 << out)
    return columns


def thinned_reference(position: npt.NDArray[np.int32], max_voxels: int) -> tuple[npt.NDArray[np.int32], int]:
    """``occupancy_of_positions`` in numpy: the positions that stay, (V,) int32 ascending, and the number found."""
    found = np.unique(position).astype(np.int32)
    rank = np.arange(len(found))
    if len(found) > max_voxels:
        found_stays = (rank + 1) * max_voxels // len(found) > rank * max_voxels // len(found)
        return found[found_stays], len(found)
    return found, len(found)


def strided_positions_reference(
    shape: GridShape, position: npt.NDArray[np.int32], window: Window
) -> npt.NDArray[np.int32]:
    """``strided_occupancy`` before thinning in numpy: (V',) int32 ascending positions."""
    coarse = window.output_shape(shape)
    cell, z = np.divmod(position.astype(np.int64), shape.layers)
    row, column = np.divmod(cell, shape.columns)
    place = np.stack([column, row, z], axis=1) + window.padding
    found = []
    for offset in np.ndindex(*window.kernel):
        out, rest = np.divmod(place - offset, window.stride)
        out = out[(rest == 0).all(axis=1) & (out >= 0).all(axis=1) & (out < coarse).all(axis=1)]
        found.append((out[:, 1] * coarse.columns + out[:, 0]) * coarse.layers + out[:, 2])
    positions: npt.NDArray[np.int32] = np.unique(np.concatenate(found)).astype(np.int32)
    return positions
