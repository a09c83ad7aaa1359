"""TensorSpec: a tensor of a model's graph, its dimensions that vary named.

ONNX dimensions, TensorRT's shape profiles and layouts, padding, and the check of what is given to a backend derive from
these descriptions and are written nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import BackendError
from lidarloop_core.model.padding import Padding

Sizes = Mapping[str, int]
"""Name of a dimension → its size in one run of the graph."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Dimension:
    """The size of a tensor that varies from cloud to cloud, 1 at least.

    Attributes:
        name: its name in the exported graph, e.g. ``"num_points"``; tensors with the same dimension vary together.
        usual: size that an engine is tuned for.
        most: largest size.
    """

    name: str
    usual: int
    most: int


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph.

    Attributes:
        name: its name in the graph.
        dtype: type of its values.
        shape: sizes of its axes; only the first may vary.
        padding: what rows beyond the cloud's own hold; None for outputs, whose further rows are cut off.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | Dimension, ...]
    padding: Padding | None = None

    @property
    def dimension(self) -> Dimension | None:
        """The first axis where it varies."""
        first = self.shape[0]
        return first if isinstance(first, Dimension) else None

    def shape_at(self, sizes: Sizes) -> Shape:
        """The tensor's shape in a run of these sizes."""
        return tuple(sizes[axis.name] if isinstance(axis, Dimension) else axis for axis in self.shape)

    def num_bytes(self, sizes: Sizes) -> int:
        """The tensor's size in memory in a run of these sizes."""
        return math.prod(self.shape_at(sizes)) * self.dtype.itemsize

    def fits(self, array: npt.NDArray[Any]) -> bool:
        """Whether an array (N, …) has this tensor's type and, where an axis is fixed, its shape."""
        axes = zip(array.shape, self.shape, strict=False)
        return (
            array.dtype == self.dtype
            and array.ndim == len(self.shape)
            and all(isinstance(expected, Dimension) or found == expected for found, expected in axes)
        )

    def __str__(self) -> str:
        axes = (axis.name if isinstance(axis, Dimension) else str(axis) for axis in self.shape)
        return f"{self.name} {self.dtype} [{', '.join(axes)}]"


def dimensions(tensors: Iterable[TensorSpec]) -> tuple[Dimension, ...]:
    """The dimensions that vary, each once, in the tensors' order."""
    return tuple(dict.fromkeys(tensor.dimension for tensor in tensors if tensor.dimension is not None))


def capacity(tensors: Iterable[TensorSpec]) -> dict[str, int]:
    """Largest size of each dimension."""
    return {dimension.name: dimension.most for dimension in dimensions(tensors)}


def profile_shapes(tensors: Iterable[TensorSpec]) -> dict[str, tuple[Shape, Shape, Shape]]:
    """Name → smallest, usual and largest shape: an engine's shape profile."""
    tensors = tuple(tensors)
    varying = dimensions(tensors)
    smallest, usual = {d.name: 1 for d in varying}, {d.name: d.usual for d in varying}
    largest = {d.name: d.most for d in varying}
    return {t.name: (t.shape_at(smallest), t.shape_at(usual), t.shape_at(largest)) for t in tensors}


def sizes_of(tensors: Iterable[TensorSpec], arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, int]:
    """The sizes of one run, from the inputs given to it.

    Args:
        tensors: the graph's inputs.
        arrays: name → array (N, …), of the shape and type of its tensor.

    Raises:
        BackendError: a tensor is missing, has another type or shape, or differs from another in a common dimension.
    """
    sizes: dict[str, int] = {}
    for tensor in tensors:
        array = arrays.get(tensor.name)
        if array is None or not tensor.fits(array):
            found = "no such tensor" if array is None else f"{array.dtype} {list(array.shape)}"
            raise BackendError(f"the graph received {found}; expected {tensor}: group the cloud with the model's grid")
        if tensor.dimension is None:
            continue
        size = sizes.setdefault(tensor.dimension.name, len(array))
        if size != len(array):
            raise BackendError(
                f"the graph received {len(array)} rows of {tensor.name}; expected {size}, as of the other inputs along "
                f"{tensor.dimension.name}: group the cloud anew"
            )
    return sizes


def bucket_for(sizes: Sizes, largest: Sizes) -> dict[str, int]:
    """The smallest bucket that holds so much: four to an octave, so at most a quarter of it is padding."""
    return {name: min(_rounded_up(size), largest[name]) for name, size in sizes.items()}


def _rounded_up(number: int) -> int:
    step = max(256, 1 << max(0, (number - 1).bit_length() - 3))
    return -(-number // step) * step


def fill_padded(
    tensors: Iterable[TensorSpec], arrays: Mapping[str, npt.NDArray[Any]], into: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Writes a graph's inputs into the larger arrays of a bucket, and their padding behind them.

    Args:
        tensors: the graph's inputs.
        arrays: name → array (N, …), at least one row each.
        into: name → array (M, …), M ≥ N.
    """
    for tensor in tensors:
        source, target = arrays[tensor.name], into[tensor.name]
        target[: len(source)] = source
        if tensor.padding is not None:
            tensor.padding.fill(target, len(source))


def names(tensors: Iterable[TensorSpec]) -> tuple[str, ...]:
    """The tensors' names, in their order."""
    return tuple(tensor.name for tensor in tensors)
