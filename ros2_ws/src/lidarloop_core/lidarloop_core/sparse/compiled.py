"""What of voxels and tables is compiled, in one module: numba's cache follows changes of a function's own file only.

Words and masks are uint64 throughout: numba turns uint64 beside int64 into float64, which loses bits. Grids and windows
come as plain tuples along x, y and z, since a cache must not depend on where a class is defined.
"""

# mypy: disable-error-code="call-arg, assignment"
# (an intrinsic is called without its first argument; variables are numba's, not Python's)

from __future__ import annotations

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic


@intrinsic
def popcount(_typing_context, _word):  # type: ignore[no-untyped-def]
    """Number of bits set in a uint64, as a uint64."""

    def generate(_context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@intrinsic
def lowest_bit(_typing_context, _word):  # type: ignore[no-untyped-def]
    """Place of the lowest bit set in a uint64, as a uint64; 64 where none is set."""

    def generate(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], context.get_constant(types.boolean, False))

    return types.uint64(types.uint64), generate


@numba.njit(inline="always")
def below(word, bit):  # type: ignore[no-untyped-def]
    """For compiled code: number of bits set in a word below a bit."""
    return np.int64(popcount(word & ((np.uint64(1) << np.uint64(bit)) - np.uint64(1))))


@numba.njit(inline="always")
def row_at(words, before, cell, z):  # type: ignore[no-untyped-def]
    """For compiled code: row + 1 of the voxel at a place, 0 where it is not occupied."""
    word = words[cell]
    if (word >> np.uint64(z)) & np.uint64(1) == 0:
        return np.int64(0)
    return before[cell] + below(word, z) + 1


@numba.njit(cache=True, nogil=True)
def set_bits(words, layers, position):  # type: ignore[no-untyped-def]
    for p in position:
        cell = p // layers
        words[cell] |= np.uint64(1) << np.uint64(p - cell * layers)


@numba.njit(cache=True, nogil=True)
def count_before(words, before):  # type: ignore[no-untyped-def]
    """Fills ``before`` and returns the number of bits set in all words."""
    total = 0
    for cell in range(len(words)):
        before[cell] = total
        if words[cell] != 0:
            total += np.int64(popcount(words[cell]))
    return total


@numba.njit(cache=True, nogil=True)
def thin(words, num_found, max_voxels):  # type: ignore[no-untyped-def]
    rank = 0
    for cell in range(len(words)):
        rest = words[cell]
        while rest != 0:
            if (rank + 1) * max_voxels // num_found == rank * max_voxels // num_found:
                words[cell] &= ~(np.uint64(1) << lowest_bit(rest))
            rank += 1
            rest &= rest - np.uint64(1)


@numba.njit(cache=True, nogil=True)
def list_positions(words, layers, position):  # type: ignore[no-untyped-def]
    row = 0
    for cell in range(len(words)):
        rest = words[cell]
        while rest != 0:
            position[row] = cell * layers + np.int64(lowest_bit(rest))
            row += 1
            rest &= rest - np.uint64(1)


@numba.njit(cache=True, nogil=True)
def mark_outputs(position, shape, words, coarse, window, column_outputs):  # type: ignore[no-untyped-def]
    (columns, _, layers), (coarse_columns, coarse_rows, _) = shape, coarse
    kernel_x, kernel_y, _ = window[0]
    stride_x, stride_y, _ = window[1]
    padding_x, padding_y, _ = window[2]
    for p in position:
        cell = p // layers
        row = cell // columns
        column = cell - row * columns
        outputs = column_outputs[p - cell * layers]
        # Output o has this voxel in its window where o * stride <= padded place < o * stride + kernel.
        first_row = max(0, -((kernel_y - 1 - row - padding_y) // stride_y))
        last_row = min(coarse_rows - 1, (row + padding_y) // stride_y)
        first_column = max(0, -((kernel_x - 1 - column - padding_x) // stride_x))
        last_column = min(coarse_columns - 1, (column + padding_x) // stride_x)
        for out_row in range(first_row, last_row + 1):
            for out_column in range(first_column, last_column + 1):
                words[out_row * coarse_columns + out_column] |= outputs


@numba.njit(cache=True, nogil=True)
def mark(points, low, high, size, shape, words, place):  # type: ignore[no-untyped-def]
    """Sets the bit of each point's voxel and notes its cell (-1 out of range) and layer; returns how many are out."""
    columns, rows, layers = shape
    num_out_of_range = 0
    for i in range(len(points)):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        # Written so that NaN is outside.
        if not (low[0] <= x < high[0] and low[1] <= y < high[1] and low[2] <= z < high[2]):
            place[i, 0] = -1
            num_out_of_range += 1
            continue
        # A quotient just below the last edge may round up to it.
        column = min(int((x - low[0]) / size[0]), columns - 1)
        row = min(int((y - low[1]) / size[1]), rows - 1)
        layer = min(int((z - low[2]) / size[2]), layers - 1)
        words[row * columns + column] |= np.uint64(1) << np.uint64(layer)
        place[i, 0] = row * columns + column
        place[i, 1] = layer
    return num_out_of_range


@numba.njit(cache=True, nogil=True)
def list_rows(place, words, before, voxel_of_point):  # type: ignore[no-untyped-def]
    """Row + 1 of each point's voxel, 0 without one; returns how many points lost their voxel."""
    num_thinned = 0
    for i in range(len(place)):
        voxel_of_point[i] = 0
        if place[i, 0] >= 0:
            voxel_of_point[i] = row_at(words, before, place[i, 0], place[i, 1])
            num_thinned += voxel_of_point[i] == 0
    return num_thinned


@numba.njit(cache=True, nogil=True)
def average(points, voxel_of_point, features, count):  # type: ignore[no-untyped-def]
    """Adds up points and counts them, in their order, and divides; ``features`` and ``count`` come as zeros."""
    for i in range(len(points)):
        row = np.int64(voxel_of_point[i]) - 1
        if row >= 0:
            count[row] += 1
            for c in range(points.shape[1]):
                features[row, c] += points[i, c]
    for row in range(len(features)):
        number = np.float32(count[row])
        for c in range(features.shape[1]):
            features[row, c] /= number


@numba.njit(cache=True, nogil=True)
def fill_forward(words, before, shape, position, out_shape, window, table):  # type: ignore[no-untyped-def]
    (columns, rows, _), (out_columns, _, out_layers) = shape, out_shape
    kernel_x, kernel_y, kernel_z = window[0]
    stride_x, stride_y, stride_z = window[1]
    padding_x, padding_y, padding_z = window[2]
    num_columns = kernel_x * kernel_y
    # The input columns under the window of one output cell: loaded once for all output voxels of the cell.
    word_of, before_of = np.zeros(num_columns, np.uint64), np.zeros(num_columns, np.int64)
    loaded_cell = -1
    for o in range(len(position)):
        cell = position[o] // out_layers
        if cell != loaded_cell:
            loaded_cell = cell
            out_row = cell // out_columns
            first_row = out_row * stride_y - padding_y
            first_column = (cell - out_row * out_columns) * stride_x - padding_x
            for k in range(num_columns):
                row, column = first_row + k // kernel_x, first_column + k % kernel_x
                word_of[k] = 0
                if 0 <= row < rows and 0 <= column < columns:
                    word_of[k] = words[row * columns + column]
                    before_of[k] = before[row * columns + column]
        first_z = (position[o] - cell * out_layers) * stride_z - padding_z
        for k in range(num_columns):
            # Upwards through one column: each voxel's row is one more than that of the voxel below it.
            entry = before_of[k] + below(word_of[k], max(first_z, 0))
            bits = word_of[k] >> np.uint64(first_z) if first_z >= 0 else word_of[k] << np.uint64(-first_z)
            for kz in range(kernel_z):
                is_occupied = np.int64(bits & np.uint64(1))
                bits >>= np.uint64(1)
                entry += is_occupied
                table[o, kz * num_columns + k] = entry * is_occupied


@numba.njit(cache=True, nogil=True)
def fill_inverse(words, before, shape, position, fine_shape, window, table):  # type: ignore[no-untyped-def]
    (columns, rows, layers), (fine_columns, _, fine_layers) = shape, fine_shape
    kernel_x, kernel_y, kernel_z = window[0]
    stride_x, stride_y, stride_z = window[1]
    padding_x, padding_y, padding_z = window[2]
    for i in range(len(position)):
        fine_cell = position[i] // fine_layers
        place_z = position[i] - fine_cell * fine_layers + padding_z
        fine_row = fine_cell // fine_columns
        place_y = fine_row + padding_y
        place_x = fine_cell - fine_row * fine_columns + padding_x
        # Output o reads this voxel at k where o * stride + k is its place: k has the place's remainder.
        for ky in range(place_y % stride_y, min(kernel_y, place_y + 1), stride_y):
            row = (place_y - ky) // stride_y
            if row >= rows:
                continue
            for kx in range(place_x % stride_x, min(kernel_x, place_x + 1), stride_x):
                column = (place_x - kx) // stride_x
                if column >= columns:
                    continue
                for kz in range(place_z % stride_z, min(kernel_z, place_z + 1), stride_z):
                    z = (place_z - kz) // stride_z
                    if z < layers:
                        k = (kz * kernel_y + ky) * kernel_x + kx
                        table[i, k] = row_at(words, before, row * columns + column, z)
