"""Batch norms of a network with random weights, as if it had been trained."""

from __future__ import annotations

from torch import nn


def give_statistics(network: nn.Module, low: float = 0.2, high: float = 0.5) -> None:
    """Random means, and variances from low to high, for every batch norm: folding one then changes weights."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(low, high)
