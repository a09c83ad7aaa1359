"""Redundancy reduction between two views: each feature is like itself and unlike the others.

Source: Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", ICML 2021, equations 1 and 2.
It needs neither negatives nor a second network, and works with small batches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class BarlowTwins(NamedTuple):
    """The loss and its two terms, scalars.

    Attributes:
        total: invariance + weight × redundancy.
        invariance: Σ_i (1 − c_ii)².
        redundancy: Σ_i Σ_{j ≠ i} c_ij², not weighted.
    """

    total: Tensor
    invariance: Tensor
    redundancy: Tensor


def barlow_twins(first: Tensor, second: Tensor, redundancy_weight: float) -> BarlowTwins:
    """The loss of N pairs of features.

    Args:
        first: (N, D) features in one view, N ≥ 2.
        second: (N, D) features of the same things in the other view.
        redundancy_weight: λ.
    """
    correlation = cross_correlation(first.float(), second.float())
    diagonal = correlation.diagonal()
    invariance = (1 - diagonal).square().sum()
    redundancy = correlation.square().sum() - diagonal.square().sum()
    return BarlowTwins(invariance + redundancy_weight * redundancy, invariance, redundancy)


def cross_correlation(first: Tensor, second: Tensor) -> Tensor:
    """(N, D) and (N, D) → (D, D) correlation of each feature with each, over the N pairs (equation 2)."""
    return _standardised(first).T @ _standardised(second) / len(first)


def _standardised(features: Tensor) -> Tensor:
    centred = features - features.mean(dim=0)
    return centred / torch.sqrt(centred.square().mean(dim=0) + 1e-6)
