"""Neighbour tables in the form that training takes: pairs of rows, place by place in the kernel.

A table has an entry for every place of every output row, most of them empty. The pairs that are there, grouped by
place, are spconv's rulebook (Yan et al., Sensors 2018, section 3.2): a product over them computes no zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numba
import numpy as np
import torch
from torch import Tensor

from lidarloop_core.sparse.tables import Table


@dataclass(frozen=True)
class Rulebook:
    """Which row of the output each row of the input adds to, at each place of the kernel.

    Attributes:
        source: (P,) int32, row of the input of each pair; pairs in order of place, then of output row.
        target: (P,) int32, row of the output of each pair.
        counts: number of pairs at each of the K places.
        num_sources: number of input rows, V.
        num_targets: number of output rows, V'.
        identity: the place at which every row finds itself, the middle of a submanifold convolution; None without one.
    """

    source: Tensor
    target: Tensor
    counts: tuple[int, ...]
    num_sources: int
    num_targets: int
    identity: int | None

    def inverse(self) -> Rulebook:
        """The rulebook of the inverse convolution, from the output's rows back to the input's."""
        return Rulebook(self.target, self.source, self.counts, self.num_targets, self.num_sources, self.identity)

    def to(self, device: torch.device | str) -> Rulebook:
        """The same rulebook on another device."""
        source, target = self.source.to(device), self.target.to(device)
        return Rulebook(source, target, self.counts, self.num_sources, self.num_targets, self.identity)

    def places(self) -> list[tuple[int, Tensor, Tensor]]:
        """Number, (n,) source and (n,) target rows of each place that has pairs, the identity left out."""
        ends = accumulate(self.counts)
        return [
            (k, self.source[end - count : end], self.target[end - count : end])
            for k, (count, end) in enumerate(zip(self.counts, ends, strict=True))
            if count and k != self.identity
        ]


def rulebook_of(table: Table, num_sources: int) -> Rulebook:
    """The pairs of a table.

    Args:
        table: (V', K) int32, row + 1 of the input, 0 for no voxel.
        num_sources: number of input rows, V.
    """
    counts = _count_pairs(table)
    source, target = np.empty((2, int(counts.sum())), np.int32)
    _list_pairs(table, np.cumsum(counts) - counts, source, target)
    middle = table.shape[1] // 2
    is_identity = num_sources == len(table) and np.array_equal(table[:, middle], np.arange(1, num_sources + 1))
    return Rulebook(
        source=torch.from_numpy(source),
        target=torch.from_numpy(target),
        counts=tuple(int(count) for count in counts),
        num_sources=num_sources,
        num_targets=len(table),
        identity=middle if is_identity else None,
    )


def batched_table(tables: Sequence[Table], num_sources: Sequence[int]) -> Table:
    """One table of several samples, whose rows follow one another in input and output.

    Args:
        tables: (V', K) int32 of each sample.
        num_sources: number of input rows of each sample.
    """
    batched = np.concatenate(tables)
    first_target, first_source = 0, 0
    for table, number in zip(tables, num_sources, strict=True):
        of_sample = batched[first_target : first_target + len(table)]
        of_sample += np.int32(first_source) * (of_sample > 0)
        first_target, first_source = first_target + len(table), first_source + number
    return batched


@numba.njit(cache=True, nogil=True)
def _count_pairs(table):  # type: ignore[no-untyped-def]
    counts = np.zeros(table.shape[1], np.int64)
    for row in range(table.shape[0]):
        for k in range(table.shape[1]):
            counts[k] += table[row, k] > 0
    return counts


@numba.njit(cache=True, nogil=True)
def _list_pairs(table, start, source, target):  # type: ignore[no-untyped-def]
    """``start`` (K,) int64, the first pair of each place, is used up."""
    for row in range(table.shape[0]):
        for k in range(table.shape[1]):
            if table[row, k] > 0:
                source[start[k]] = table[row, k] - 1
                target[start[k]] = row
                start[k] += 1
