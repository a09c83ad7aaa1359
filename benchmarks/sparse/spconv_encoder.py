"""A sparse encoder by spconv, for an interpreter that has torch and spconv and nothing of this repository.

python benchmarks/sparse/spconv_encoder.py ENCODER.pt OUT.pt REPEATS

ENCODER.pt holds ``indices`` (V, 4) int32 (sample, z, y, x), ``features`` (V, C), ``shape`` (z, y, x) and ``units``. A
unit is one convolution, or two of a residual block, each with weight in spconv's layout, bias, stride and padding
(z, y, x; None for a submanifold one) and the key of its rulebook. OUT.pt gets rows of the output, their indices, and
the CPU time of the best pass in ms: of everything, and of index building in it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import spconv.pytorch as spconv
import torch
from spconv.pytorch import ops


class Layer:
    """A convolution with its weights. The bias is added apart: spconv's CPU build cannot."""

    def __init__(self, entry: dict[str, Any]) -> None:
        weight = entry["weight"]
        geometry = {"kernel_size": list(weight.shape[1:4]), "bias": False, "indice_key": entry["key"]}
        if entry["stride"] is not None:
            geometry |= {"stride": entry["stride"], "padding": entry["padding"]}
        kind = spconv.SubMConv3d if entry["stride"] is None else spconv.SparseConv3d
        self._convolution = kind(weight.shape[-1], weight.shape[0], **geometry).eval()
        self._convolution.weight.data = weight
        self._bias = entry["bias"]

    def __call__(self, tensor: Any) -> Any:
        found = self._convolution(tensor)
        return found.replace_feature(found.features.add_(self._bias))


def run(units: list[list[Layer]], tensor: Any) -> Any:
    """All units, one after another."""
    for unit in units:
        found = tensor
        for number, layer in enumerate(unit):
            found = layer(found)
            if number + 1 < len(unit):
                found = found.replace_feature(found.features.relu_())
        total = found.features if len(unit) == 1 else found.features.add_(tensor.features)
        tensor = found.replace_feature(total.relu_())
    return tensor


class Timed:
    """A function whose CPU time is added up.

    Attributes:
        ms: time so far, milliseconds.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.ms = 0.0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        start = time.thread_time()
        found = self._function(*arguments, **options)
        self.ms += 1e3 * (time.thread_time() - start)
        return found


def main() -> None:
    torch.set_num_threads(1)  # spconv's CPU build races with more
    encoder = torch.load(sys.argv[1])
    units = [[Layer(entry) for entry in unit] for unit in encoder["units"]]
    indices, features, shape = encoder["indices"], encoder["features"], encoder["shape"]

    index_building = Timed(ops.get_indice_pairs)
    ops.get_indice_pairs = index_building

    def once() -> Any:
        return run(units, spconv.SparseConvTensor(features, indices, shape, 1))

    with torch.inference_mode():
        output = once()
        times = []
        for _ in range(int(sys.argv[3])):
            index_building.ms = 0.0
            start = time.thread_time()
            once()
            times.append((1e3 * (time.thread_time() - start), index_building.ms))
    whole_ms, of_it_ms = min(times)
    found = {"rows": output.features, "indices": output.indices, "whole_ms": whole_ms, "index_ms": of_it_ms}
    torch.save(found, sys.argv[2])


if __name__ == "__main__":
    main()
