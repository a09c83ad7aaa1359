"""Where a graph's tensors lie in one block of memory: one copy moves them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lidarloop_core.model.tensors import Shape, Sizes, TensorSpec

_ALIGNMENT = 256  # bytes; TensorRT's tensors begin at multiples of it


class Placed(NamedTuple):
    """A tensor's place in a block of memory.

    Attributes:
        spec: the tensor.
        shape: its shape in this layout.
        offset: its first byte in the block.
        num_bytes: its size.
    """

    spec: TensorSpec
    shape: Shape
    offset: int
    num_bytes: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.num_bytes


def layout(tensors: Iterable[TensorSpec], sizes: Sizes) -> list[Placed]:
    """The tensors of a run of these sizes, one after another."""
    placed: list[Placed] = []
    offset = 0
    for tensor in tensors:
        placed.append(Placed(tensor, tensor.shape_at(sizes), offset, tensor.num_bytes(sizes)))
        offset = -(-placed[-1].end // _ALIGNMENT) * _ALIGNMENT
    return placed


def views(memory: npt.NDArray[np.uint8], placed: Sequence[Placed]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """(name, array of the tensor's shape) over a block of memory, (num_bytes,) uint8."""
    for tensor in placed:
        yield tensor.spec.name, memory[tensor.offset : tensor.end].view(tensor.spec.dtype).reshape(tensor.shape)
