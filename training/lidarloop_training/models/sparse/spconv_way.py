"""The same product by spconv's CUDA kernels, over the same rulebook: no index of spconv's own is built.

spconv (Yan et al., Sensors 2018) is right on CUDA, and on the CPU with one thread alone: with more it races
(traveller59/spconv#679). So it is used on CUDA only; tests compare the two on the CPU in a process of one thread.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from lidarloop_training.models.sparse.rulebook import Rulebook


@cache
def spconv_is_installed() -> bool:
    """Whether spconv 2 can be imported."""
    return find_spec("spconv") is not None


def spconv_product(features: Tensor, weight: Tensor, rulebook: Rulebook) -> Tensor:
    """(V, C) features, (C', kz, ky, kx, C) weight → (V', C'); differentiable in both."""
    from spconv.core import ConvAlgo
    from spconv.pytorch.functional import indice_conv

    counts = torch.tensor(rulebook.counts, dtype=torch.int32, device=features.device)
    output: Tensor = indice_conv(
        features, weight, _padded_pairs(rulebook), counts, rulebook.num_targets, ConvAlgo.Native
    )
    return output


def _padded_pairs(rulebook: Rulebook) -> Tensor:
    """(2, K, most pairs of a place) int32: source and target rows as spconv stores them, -1 behind them."""
    pairs = torch.stack([rulebook.source, rulebook.target])
    longest = max(rulebook.counts, default=0)
    parts = [
        torch.nn.functional.pad(part, (0, longest - part.shape[1]), value=-1)
        for part in torch.split(pairs, list(rulebook.counts), dim=1)
    ]
    return torch.stack(parts, dim=1).contiguous()
