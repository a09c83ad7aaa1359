"""The network of contrastive pre-training: features of units, projected to where they are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lidarloop_training.models.point_network import PointNetwork, PointsOfInterest
from lidarloop_training.models.projection import ProjectionConfig, projection
from lidarloop_training.models.sparse.rulebook import Rulebook
from lidarloop_training.tasks.pretext.units.pooling import pool


@dataclass(frozen=True)
class View:
    """A batch of clouds, each under one random change, and the units in them.

    Attributes:
        inputs: the spec's inputs, in its order, all clouds one after another; see ``collate_grouped``.
        points: the M points that belong to units.
        unit_of_point: (M,) int64 unit of each of them, counted over the batch.
    """

    inputs: tuple[Tensor | Rulebook, ...]
    points: PointsOfInterest
    unit_of_point: Tensor

    def to(self, device: torch.device) -> View:
        """The same on another device."""
        inputs = tuple(each.to(device) for each in self.inputs)
        return View(inputs, self.points.to(device), self.unit_of_point.to(device))


class ContrastNetwork(nn.Module):
    """A point network, a projection of its units' features, and one of their targets.

    The parts of the point network keep their names, e.g. encoder and backbone, beside ``projection`` and
    ``target_projection``. Targets come from outside and are constants: no gradient leaves the two projections and the
    point network.

    Args:
        points: gives the features of points.
        config: widths of the projections.
        target_channels: channels of the targets; 0 where views are compared with each other alone.
    """

    def __init__(self, points: PointNetwork, config: ProjectionConfig, target_channels: int) -> None:
        super().__init__()
        for name, part in points.named_children():
            self.add_module(name, part)
        self._points = (points,)  # hidden in a tuple, for its parts are this network's own
        self.projection = projection(points.out_channels, config)
        if target_channels:
            self.target_projection = projection(target_channels, config)

    def forward(
        self, views: Sequence[View], targets: Tensor | None, num_units: int, batch_size: int
    ) -> tuple[list[Tensor], Tensor | None]:
        """Projected features of the units of a batch.

        Args:
            views: the same clouds and units, once or twice.
            targets: (U, target_channels) of each unit; None where there are none.
            num_units: U.
            batch_size: number of clouds.

        Returns:
            (U, D) of each view, and (U, D) of the targets.
        """
        (points,) = self._points
        found = []
        for view in views:
            features: Tensor = points(view.inputs, view.points, batch_size)
            found.append(self.projection(pool(features, view.unit_of_point, num_units)))
        projected: Any = None if targets is None else self.target_projection(targets.detach())
        return found, projected
