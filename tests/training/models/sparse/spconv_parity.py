"""Runs spconv itself on the CPU beside ours, in a process of one thread; prints the largest relative differences.

spconv's CPU build is right with one thread only, so OMP_NUM_THREADS=1 has to stand before the process starts.
"""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from torch import Tensor

from lidarloop_core.sparse.occupancy import SUBMANIFOLD, GridShape, Occupancy, Window, strided_occupancy
from lidarloop_core.sparse.tables import neighbour_table
from lidarloop_training.models.sparse.convolution import pair_product
from lidarloop_training.models.sparse.rulebook import Rulebook, rulebook_of
from lidarloop_training.models.sparse.spconv_way import spconv_product
from tests.training.models.sparse.scenes import ALL, random_features, scene

SHAPE = GridShape(40, 36, 20)
STRIDED = {
    "strided": Window(),
    "halved": Window((2, 2, 2), (2, 2, 2), (0, 0, 0)),
    "height only": Window((1, 1, 3), (1, 1, 2), (0, 0, 0)),
    "uneven": Window((3, 3, 3), (2, 2, 1), (1, 1, 0)),
}


def main() -> None:
    assert os.environ.get("OMP_NUM_THREADS") == "1"
    torch.set_num_threads(1)
    import spconv.pytorch as spconv
    from spconv.pytorch import ops

    ops.get_current_stream = lambda: 0  # spconv's backward asks for a CUDA stream on the CPU too
    fine = scene(SHAPE, 0.08, 0)
    found: dict[str, float] = {}
    for name, window in {"submanifold": SUBMANIFOLD, **STRIDED}.items():
        is_submanifold = name == "submanifold"
        coarse = fine if is_submanifold else strided_occupancy(fine, window, ALL)
        rulebook = rulebook_of(neighbour_table(fine, coarse, window), fine.num_voxels)
        geometry = {"kernel_size": window.kernel[::-1], "bias": False, "indice_key": name}
        if is_submanifold:
            layer = spconv.SubMConv3d(8, 12, **geometry)
        else:
            layer = spconv.SparseConv3d(8, 12, stride=window.stride[::-1], padding=window.padding[::-1], **geometry)
        features = random_features(fine, 8).float().requires_grad_()
        output = layer(_tensor(spconv, features, fine))
        order = _rows(output.indices, coarse)
        found |= _compare(name, features, layer.weight, rulebook, lambda o=output, r=order: o.features[r])
        if not is_submanifold:
            inverse = spconv.SparseInverseConv3d(12, 8, window.kernel[::-1], bias=False, indice_key=name)
            back = random_features(coarse, 12).float().requires_grad_()
            rows_of_spconv = torch.empty_like(order)
            rows_of_spconv[order] = torch.arange(len(order))
            restored = inverse(output.replace_feature(back[rows_of_spconv])).features
            found |= _compare(f"inverse of {name}", back, inverse.weight, rulebook.inverse(), lambda r=restored: r)
    print(json.dumps(found))


def _compare(name: str, features: Tensor, weight: Tensor, rulebook: Rulebook, theirs: Any) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """Output and both gradients: spconv's module, and its product over our rulebook, against ours."""
    ours = pair_product(features, weight, rulebook)
    grad = torch.randn_like(ours)
    expected = [ours, *torch.autograd.grad(ours, [features, weight], grad)]
    differences = {}
    for way, output in (("module", theirs()), ("product", spconv_product(features, weight, rulebook))):
        values = [output, *torch.autograd.grad(output, [features, weight], grad)]
        for part, a, b in zip(("output", "grad of features", "grad of weight"), values, expected, strict=True):
            assert a.shape == b.shape, (name, way, part, a.shape, b.shape)
            difference = (a - b).detach().abs().max() / b.detach().abs().max()
            differences[f"{name}, {way}, {part}"] = float(difference)
    return differences


def _tensor(spconv: Any, features: Tensor, voxels: Occupancy) -> Any:  # type: ignore[no-untyped-def]
    """A SparseConvTensor of one sample: indices are sample, z, y, x."""
    places = torch.from_numpy(voxels.coordinates()[:, ::-1].copy())
    indices = torch.cat([torch.zeros(len(places), 1, dtype=torch.int32), places], dim=1)
    return spconv.SparseConvTensor(features, indices, list(voxels.shape[::-1]), 1)


def _rows(indices: Tensor, voxels: Occupancy) -> Tensor:
    """spconv's row of each of our voxels; both must hold the same voxels."""
    _, z, y, x = indices.long().T
    position = (y * voxels.shape.columns + x) * voxels.shape.layers + z
    ordered, order = position.sort()
    assert torch.equal(ordered, torch.from_numpy(voxels.position).long()), "spconv writes other voxels"
    return order


if __name__ == "__main__":
    main()
