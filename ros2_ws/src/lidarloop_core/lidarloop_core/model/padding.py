"""Padding a graph's inputs to a bucket without changing one bit of its outputs: one rule for each tensor.

A CUDA graph holds for fixed shapes, and two clouds hardly ever have the same. The rows that are added must not matter.
For pillars:

- an added point is the first point again, in the first point's slot: the same values are written to the same place
  twice;
- an added pillar holds no point and lies in a cell that no other pillar uses: its maximum is that of empty places,
  zero, which is what an empty cell of the canvas holds. Its count is 1, so that nothing is divided by zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Padding(Protocol):
    """What the added rows of a tensor hold."""

    def fill(self, array: npt.NDArray[Any], num_rows: int) -> None:
        """Fills ``array[num_rows:]`` of an array (M, …) whose first rows are set; 1 ≤ num_rows ≤ M."""
        ...


@dataclass(frozen=True)
class RepeatFirst:
    """The first row again."""

    def fill(self, array: npt.NDArray[Any], num_rows: int) -> None:
        """See ``Padding.fill``; array (M, …)."""
        array[num_rows:] = array[0]


@dataclass(frozen=True)
class Constant:
    """One value in all places.

    Attributes:
        value: the value.
    """

    value: int = 0

    def fill(self, array: npt.NDArray[Any], num_rows: int) -> None:
        """See ``Padding.fill``; array (M, …)."""
        array[num_rows:] = self.value


@dataclass(frozen=True)
class UnusedIndex:
    """Distinct indices that no row before has, the smallest first.

    Attributes:
        end: number of indices that there are, 0 … end - 1; at least the array's number of rows.
    """

    end: int

    def fill(self, array: npt.NDArray[Any], num_rows: int) -> None:
        """See ``Padding.fill``; array (M,) of distinct indices."""
        used, num_added = array[:num_rows], len(array) - num_rows
        # Among the first M indices at least M - num_rows are free.
        is_free = np.ones(min(self.end, len(array)), np.bool_)
        is_free[used[used < len(is_free)]] = False
        array[num_rows:] = np.flatnonzero(is_free)[:num_added]
