"""Projection heads: features → the space in which they are compared; left behind after pre-training."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lidarloop_training.ranges import check_ranges


@dataclass(frozen=True)
class ProjectionConfig:
    """A projection head: two linear layers with a ReLU between, as in SimCLR (Chen et al., ICML 2020, section 4.2).

    Attributes:
        hidden_channels: features between the layers.
        channels: features that are compared.
    """

    hidden_channels: int = 128
    channels: int = 64

    def __post_init__(self) -> None:
        check_ranges(
            "ProjectionConfig", hidden_channels=(self.hidden_channels, 1, 65536), channels=(self.channels, 1, 65536)
        )


def projection(in_channels: int, config: ProjectionConfig) -> nn.Sequential:
    """A head (N, in_channels) → (N, channels). It has no norm: the rows of a batch do not depend on one another."""
    return nn.Sequential(
        nn.Linear(in_channels, config.hidden_channels),
        nn.ReLU(inplace=True),
        nn.Linear(config.hidden_channels, config.channels),
    )
