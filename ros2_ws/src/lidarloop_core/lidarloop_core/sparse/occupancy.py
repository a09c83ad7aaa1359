"""The occupied voxels of a grid, and of the coarser grids that strided convolutions make of it.

There is no hash table. A grid keeps one bit per voxel: a column of layers over each (x, y) cell, in 64-bit words, and
for each word the number of voxels before it. The row of a voxel in every feature array is then that number plus the
bits set below its own. Rows are therefore in order of ``position``: cell by cell in row-major order (row along y, then
column along x), and upwards within a cell. The order depends on which voxels are occupied and on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import ConfigError
from lidarloop_core.sparse.bits import lowest_bit, popcount

WORD_BITS = 64


class GridShape(NamedTuple):
    """Number of voxels: columns along x, rows along y, layers along z."""

    columns: int
    rows: int
    layers: int

    @property
    def num_cells(self) -> int:
        """(x, y) cells."""
        return self.columns * self.rows

    @property
    def words_per_cell(self) -> int:
        """64-bit words that hold a cell's column of layers."""
        return -(-self.layers // WORD_BITS)


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
        if min(self.kernel) < 1 or min(self.stride) < 1 or min(self.padding) < 0:
            raise ConfigError(
                f"a sparse convolution received {self}; "
                "expected kernel and stride of at least 1, and no negative padding"
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
        words: (num_cells * words_per_cell,) uint64, bit ``z % 64`` of word ``cell * words_per_cell + z // 64`` is set
            where voxel z of the cell is occupied.
        before: (num_cells * words_per_cell,) int32, occupied voxels in all earlier words.
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
    """Refuses a grid whose positions do not fit 32 bits.

    Raises:
        ConfigError: no voxels along an axis, or 2^31 voxels and more.
    """
    if min(shape) < 1 or shape.layers * shape.num_cells >= 2**31:
        raise ConfigError(
            f"a voxel grid received {tuple(shape)} voxels (x, y, z); expected at least 1 each way and fewer than 2^31 "
            "in all: change the range or the voxel size"
        )


def occupancy_of_words(shape: GridShape, words: npt.NDArray[np.uint64], max_voxels: int) -> Occupancy:
    """Numbers the V voxels of an occupancy, and thins them if there are too many: (V,) positions, V ≤ ``max_voxels``.

    Of ``num_found`` voxels in row order, voxel r stays where ``(r + 1) * max_voxels // num_found`` exceeds
    ``r * max_voxels // num_found``: evenly, so that objects everywhere keep their share.

    Args:
        shape: size of the grid, in voxels.
        words: (num_cells * words_per_cell,) uint64 as in ``Occupancy``; the occupancy takes it over and clears the bits
            of voxels that are left out.
        max_voxels: capacity, at least 1.
    """
    before = np.empty(len(words), np.int32)
    num_found = _count_before(words, before)
    if num_found > max_voxels:
        _thin(words, num_found, max_voxels)
        _count_before(words, before)
    position = np.empty(min(num_found, max_voxels), np.int32)
    _list_positions(words, shape.words_per_cell, shape.layers, position)
    return Occupancy(shape, words, before, position, num_found)


def occupancy_of_positions(shape: GridShape, position: npt.NDArray[np.int32], max_voxels: int) -> Occupancy:
    """The occupancy with the voxels at ``position`` ((N,) int32 as in ``Occupancy``, any order, repeats allowed)."""
    check_shape(shape)
    words = np.zeros(shape.num_cells * shape.words_per_cell, np.uint64)
    _set_bits(words, shape.words_per_cell, shape.layers, np.ascontiguousarray(position, np.int32))
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
    words = np.zeros(shape.num_cells * shape.words_per_cell, np.uint64)
    # Plain tuples: compiled code that is cached must not depend on where a class is defined.
    _mark_outputs(
        finer.position, tuple(finer.shape), words, tuple(shape), tuple(window),
        _column_outputs(finer.shape, shape, window),
    )  # fmt: skip
    return occupancy_of_words(shape, words, max_voxels)


def _column_outputs(shape: GridShape, coarse: GridShape, window: Window) -> npt.NDArray[np.uint64]:
    """(layers, words_per_cell of the output) uint64: the output layers whose window holds a voxel at z."""
    columns = np.zeros((shape.layers, coarse.words_per_cell), np.uint64)
    for z in range(shape.layers):
        for kz in range(window.kernel[2]):
            out, rest = divmod(z + window.padding[2] - kz, window.stride[2])
            if rest == 0 and 0 <= out < coarse.layers:
                columns[z, out // WORD_BITS] |= np.uint64(1 << out % WORD_BITS)
    return columns


@numba.njit(inline="always")
def row_at(words, before, word, bit):  # type: ignore[no-untyped-def]
    """For compiled code: row + 1 of the voxel at a bit of a word, 0 where it is not occupied."""
    here = words[word]
    mask = np.uint64(1) << np.uint64(bit)
    if here & mask == 0:
        return np.int32(0)
    return np.int32(before[word] + np.int64(popcount(here & (mask - np.uint64(1)))) + 1)


@numba.njit(cache=True, nogil=True)
def _set_bits(words, words_per_cell, layers, position):  # type: ignore[no-untyped-def]
    for p in position:
        cell = p // layers
        z = p - cell * layers
        words[cell * words_per_cell + (z >> 6)] |= np.uint64(1) << np.uint64(z & 63)


@numba.njit(cache=True, nogil=True)
def _count_before(words, before):  # type: ignore[no-untyped-def]
    """Fills ``before`` and returns the number of bits set in all words."""
    total = 0
    for i in range(len(words)):
        before[i] = total
        if words[i] != 0:
            total += np.int64(popcount(words[i]))
    return total


@numba.njit(cache=True, nogil=True)
def _thin(words, num_found, max_voxels):  # type: ignore[no-untyped-def]
    rank = 0
    for i in range(len(words)):
        rest = words[i]
        while rest != 0:
            if (rank + 1) * max_voxels // num_found == rank * max_voxels // num_found:
                words[i] &= ~(np.uint64(1) << lowest_bit(rest))
            rank += 1
            rest &= rest - np.uint64(1)


@numba.njit(cache=True, nogil=True)
def _list_positions(words, words_per_cell, layers, position):  # type: ignore[no-untyped-def]
    row = 0
    for i in range(len(words)):
        rest = words[i]
        if rest == 0:
            continue
        cell = i // words_per_cell
        start = cell * layers + 64 * (i - cell * words_per_cell)
        while rest != 0:
            position[row] = start + np.int64(lowest_bit(rest))
            row += 1
            rest &= rest - np.uint64(1)


@numba.njit(cache=True, nogil=True)
def _mark_outputs(position, shape, words, coarse, window, column_outputs):  # type: ignore[no-untyped-def]
    (columns, _, layers), (coarse_columns, coarse_rows, _) = shape, coarse
    words_per_cell = column_outputs.shape[1]
    kernel_x, kernel_y, _ = window[0]
    stride_x, stride_y, _ = window[1]
    padding_x, padding_y, _ = window[2]
    for p in position:
        cell = p // layers
        z = p - cell * layers
        row = cell // columns
        column = cell - row * columns
        # Output o has this voxel in its window where o * stride <= padded place < o * stride + kernel.
        first_row = max(0, -((kernel_y - 1 - row - padding_y) // stride_y))
        last_row = min(coarse_rows - 1, (row + padding_y) // stride_y)
        first_column = max(0, -((kernel_x - 1 - column - padding_x) // stride_x))
        last_column = min(coarse_columns - 1, (column + padding_x) // stride_x)
        for out_row in range(first_row, last_row + 1):
            for out_column in range(first_column, last_column + 1):
                at = (out_row * coarse_columns + out_column) * words_per_cell
                for word in range(words_per_cell):
                    words[at + word] |= column_outputs[z, word]


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
    return np.unique(np.concatenate(found)).astype(np.int32)
