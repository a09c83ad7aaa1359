"""Padding a graph's inputs to a bucket of points and pillars without changing one bit of its outputs.

A CUDA graph holds for fixed shapes, and no two clouds have the same. What is added must not matter:

- a point that is added is the first point again, in the first point's slot: the same values are written to the same
  place twice;
- a pillar that is added holds no point and lies in a cell that no other uses: its maximum is that of empty places,
  zero, which is what an empty cell of the canvas holds. Its count is 1, so that nothing is divided by zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Bucket(NamedTuple):
    """Sizes that inputs are padded to."""

    num_points: int
    num_pillars: int


def bucket_for(num_points: int, num_pillars: int, largest: Bucket) -> Bucket:
    """The smallest bucket that holds so many: four to an octave, so at most a quarter is padding."""
    return Bucket(min(_rounded_up(num_points), largest.num_points), min(_rounded_up(num_pillars), largest.num_pillars))


def _rounded_up(number: int) -> int:
    step = max(256, 1 << max(0, (number - 1).bit_length() - 3))
    return -(-number // step) * step


def fill_padded(inputs: Mapping[str, npt.NDArray[Any]], into: Mapping[str, npt.NDArray[Any]], num_cells: int) -> None:
    """Writes a graph's inputs into larger arrays, and what does not matter behind them.

    Args:
        inputs: ``spec.INPUT_NAMES`` → array, at least one point.
        into: the same names → arrays of a bucket's size.
        num_cells: of the grid; at least as many as the bucket has pillars.
    """
    num_points, num_pillars = len(inputs["slot"]), len(inputs["cell"])
    for name in ("points", "slot"):
        into[name][:num_points] = inputs[name]
        into[name][num_points:] = inputs[name][0]
    into["cell"][:num_pillars] = inputs["cell"]
    into["count"][:num_pillars] = inputs["count"]
    into["count"][num_pillars:] = 1
    num_added = len(into["cell"]) - num_pillars
    into["cell"][num_pillars:] = _unused_cells(inputs["cell"], num_added, num_cells)


def _unused_cells(cells: npt.NDArray[np.int64], count: int, num_cells: int) -> npt.NDArray[np.int64]:
    # Among the first len(cells) + count cells at least count are free.
    is_free = np.ones(min(num_cells, len(cells) + count), np.bool_)
    is_free[cells[cells < len(is_free)]] = False
    return np.flatnonzero(is_free)[:count]
