"""Contrastive learning of units: similarity-balanced negatives, and InfoNCE both ways.

Source: Cai et al., "Cross-Modal Self-Supervised Learning with Effective Contrastive Units for LiDAR Point Clouds",
sections II-B and II-C; InfoNCE: van den Oord et al., "Representation Learning with Contrastive Predictive Coding"
(2018), equation 4, in the form of SimCLR (Chen et al., ICML 2020).

The paper writes the inner product of the projected features, divided by the temperature inside the exponent. It does
not state their length. Here they are normalised by default, as in SLidR and SimCLR: without it the loss falls by longer
features as well as by better ones, and the temperature means nothing. ``normalise=False`` takes the products as they
are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from lidarloop_training.ranges import check_ranges


@dataclass(frozen=True)
class ContrastiveConfig:
    """The contrastive objective.

    Attributes:
        temperature: τ; each inner product is divided by it.
        num_negatives: L; the negatives of a unit are strictly less similar to it than its L-th least similar one. 0, or
            more than there are other units, takes all of these.
        normalise: whether projected features are brought to length 1 before their product.
    """

    temperature: float = 0.1
    num_negatives: int = 0
    normalise: bool = True

    def __post_init__(self) -> None:
        check_ranges(
            "ContrastiveConfig",
            temperature=(self.temperature, 1e-4, 1e4),
            num_negatives=(self.num_negatives, 0, 10**6),
        )


class Contrast(NamedTuple):
    """The loss and what is logged beside it, scalars.

    Attributes:
        loss: InfoNCE both ways, mean over the clouds.
        accuracy: share of units that are more similar to their own partner than to every negative, both ways.
        alignment: mean cosine similarity of a unit's two features.
    """

    loss: Tensor
    accuracy: Tensor
    alignment: Tensor


def balanced_negatives(features: Tensor, num_negatives: int) -> Tensor:
    """The similarity-balanced negative sets S_i = {j ≠ i | s_ij < s_iL}, s_iL the L-th least similarity of unit i.

    The inequality is strict, as in the paper: with distinct similarities a set holds L − 1 units, and units as similar
    as the L-th are left out with it.

    Args:
        features: (B, C) frozen features of the units of one cloud, whose cosine is the similarity.
        num_negatives: L; 0, or more than B − 1, takes all other units.

    Returns:
        (B, B) bool, row i the set of unit i; its diagonal is False.
    """
    num_units = len(features)
    others = ~torch.eye(num_units, dtype=torch.bool, device=features.device)
    if num_negatives == 0 or num_negatives > num_units - 1:
        return others
    unit_length = normalize(features.float(), dim=1)
    similarity = unit_length @ unit_length.T
    least = similarity.masked_fill(~others, torch.inf).sort(dim=1).values[:, num_negatives - 1, None]
    return others & (similarity < least)


def info_nce(products: Tensor, negatives: Tensor) -> Tensor:
    """InfoNCE of each row's unit against its own partner and its negatives.

    Args:
        products: (B, B) inner products over τ, row an anchor, column a partner.
        negatives: (B, B) bool, the partners that are negatives of each anchor.

    Returns:
        (B,) −log(e^{p_ii} / (Σ_{j ∈ S_i} e^{p_ij} + e^{p_ii})); 0 for a unit without negatives.
    """
    own = torch.eye(len(products), dtype=torch.bool, device=products.device)
    return products.masked_fill(~(negatives | own), -torch.inf).logsumexp(dim=1) - products.diagonal()


def contrast(first: Tensor, second: Tensor, negatives: Tensor, config: ContrastiveConfig) -> Contrast:
    """The objective of one cloud's units: half InfoNCE from the first to the second features, half back.

    Args:
        first: (B, D) projected features of the units in one modality, B ≥ 1.
        second: (B, D) of the same units in the other modality or view.
        negatives: (B, B) bool negative set of each unit, the same for both directions.
        config: temperature and length of the features.
    """
    first, second = first.float(), second.float()
    alignment = cosine_similarity(first, second, dim=1)
    if config.normalise:
        first, second = normalize(first, dim=1), normalize(second, dim=1)
    products = first @ second.T / config.temperature
    loss = (info_nce(products, negatives) + info_nce(products.T, negatives)) / 2
    correct = torch.stack([_is_nearest(products, negatives), _is_nearest(products.T, negatives)])
    return Contrast(loss.mean(), correct.float().mean(), alignment.detach().mean())


def mean_contrast(clouds: Sequence[Contrast]) -> Contrast:
    """The mean over clouds, each counting alike, so that processes with equal numbers of clouds add up to one."""
    return Contrast(*(torch.stack(values).mean() for values in zip(*clouds, strict=True)))


def _is_nearest(products: Tensor, negatives: Tensor) -> Tensor:
    """(B,) whether each row's own partner is nearer than all its negatives."""
    nearest = products.detach().masked_fill(~negatives, -torch.inf).amax(dim=1)
    return products.detach().diagonal() > nearest
