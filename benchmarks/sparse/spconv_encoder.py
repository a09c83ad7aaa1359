"""A sparse encoder by spconv, for an interpreter that has torch and spconv and nothing of this repository.

python benchmarks/sparse/spconv_encoder.py ENCODER.pt OUT.pt REPEATS

ENCODER.pt holds ``indices`` (V, 4) int32 (sample, z, y, x), ``features`` (V, C), ``shape`` (z, y, x) and ``units``. A
unit is one convolution, or two of a residual block, each with weight in spconv's layout, bias, stride and padding
(z, y, x; None for a submanifold one) and the key of its rulebook. OUT.pt gets rows of the output, their indices, and
the best CPU time of a pass in ms: of everything, and of the layers alone, over rulebooks that are there.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import spconv.pytorch as spconv
import torch
from torch import Tensor


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


def main() -> None:
    torch.set_num_threads(1)  # spconv's CPU build races with more
    encoder = torch.load(sys.argv[1])
    units = [[Layer(entry) for entry in unit] for unit in encoder["units"]]
    indices, features, shape = encoder["indices"], encoder["features"], encoder["shape"]

    def fresh() -> Any:
        return spconv.SparseConvTensor(features, indices, shape, 1)

    with torch.inference_mode():
        output = run(units, fresh())
        whole_ms, known_ms = [], []
        for _ in range(int(sys.argv[3])):
            start = time.thread_time()
            run(units, fresh())
            whole_ms.append(1e3 * (time.thread_time() - start))
            known = fresh()
            known.indice_dict = output.indice_dict
            start = time.thread_time()
            run(units, known)
            known_ms.append(1e3 * (time.thread_time() - start))
    rows: Tensor = output.features
    torch.save(
        {"rows": rows, "indices": output.indices, "whole_ms": min(whole_ms), "layers_ms": min(known_ms)}, sys.argv[2]
    )


if __name__ == "__main__":
    main()
