"""Masked reconstruction: the network finds points and density of BEV cells that were taken out of its input.

Source: BEV-MAE (Lin et al., AAAI 2024), section 3: cells of the map that the backbone gives are masked, one learnt
token stands in their place, and a small head on the map answers. Encoder and backbone are a detector's, which
fine-tuning starts from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import SampleSource
from lidarloop_training.losses.masked_bev import masked_bev_loss
from lidarloop_training.models.detector import NetworkConfig, center_point, map_stride
from lidarloop_training.tasks.augment import AugmentConfig
from lidarloop_training.tasks.export_view import ExportView
from lidarloop_training.tasks.pretext.config import PRETEXT_AUGMENT
from lidarloop_training.tasks.pretext.masked.dataset import (
    MaskConfig,
    MaskedBatch,
    MaskedDataset,
    MaskedExample,
    collate,
)
from lidarloop_training.tasks.task import Forward, LossTerms, TaskConfig


@dataclass(frozen=True)
class MaskedBevConfig(TaskConfig):
    """Settings of masked reconstruction.

    Attributes:
        network: widths and depths of the detector.
        mask: what is masked.
        augment: limits of the random changes of a scene.
    """

    name: ClassVar[str] = "masked-bev"

    network: NetworkConfig
    mask: MaskConfig = field(default_factory=MaskConfig)
    augment: AugmentConfig = PRETEXT_AUGMENT

    def task(self) -> MaskedBevTask:
        """The task with these settings."""
        return MaskedBevTask(self)


class MaskedBevNetwork(nn.Module):
    """Encoder and backbone of a detector, a token for masked cells, and a head that answers for them.

    Args:
        spec: contract of a detector.
        config: widths and depths; those of its head are not used.
        max_points: points found in a cell.
    """

    def __init__(self, spec: ModelSpec, config: NetworkConfig, max_points: int) -> None:
        super().__init__()
        detector = center_point(spec, config)
        self.encoder, self.backbone = detector.encoder, detector.backbone
        self.reconstruction = Reconstruction(detector.encoder.channels, detector.backbone.out_channels, max_points)

    def forward(self, inputs: tuple[Any, ...], cell: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
        """What is in masked cells.

        Args:
            inputs: those of the spec, in its order, all clouds one after another, without the points of masked cells.
            cell: (K,) masked cells of the backbone's map, (sample × rows + row) × columns + column.
            batch_size: number of clouds B.

        Returns:
            (K, P, 3) points, metres from the cells' centres, and (K,) log(1 + number of points).
        """
        canvas = self.encoder(*inputs, batch_size=batch_size)
        _, _, height, width = canvas.shape
        stride = self.backbone.stride
        is_masked = canvas.new_zeros(batch_size * (height // stride) * (width // stride))
        is_masked = is_masked.index_fill(0, cell, 1).view(batch_size, 1, height // stride, width // stride)
        is_masked = is_masked.repeat_interleave(stride, 2).repeat_interleave(stride, 3)
        canvas = canvas + is_masked * self.reconstruction.token.view(1, -1, 1, 1)
        features = self.backbone(canvas).permute(0, 2, 3, 1).flatten(0, 2)
        points, log_count = self.reconstruction(features.index_select(0, cell))
        return points, log_count


class Reconstruction(nn.Module):
    """The token and the head.

    Attributes:
        token: (in_channels,) what stands in a masked cell.

    Args:
        in_channels: channels of the encoder's map.
        channels: channels of the backbone's map.
        max_points: points found in a cell.
    """

    def __init__(self, in_channels: int, channels: int, max_points: int) -> None:
        super().__init__()
        self.token = nn.Parameter(0.02 * torch.randn(in_channels))
        self.answer = nn.Linear(channels, 3 * max_points + 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(K, channels) of masked cells → (K, P, 3) points, metres, and (K,) log(1 + number of points)."""
        *points, log_count = self.answer(features).unbind(dim=1)
        return torch.stack(points, dim=1).view(len(features), -1, 3), log_count


class MaskedBevTask:
    """Masked reconstruction as the training core sees it; see ``Task``."""

    def __init__(self, config: MaskedBevConfig) -> None:
        self.config = config
        self.spec = config.spec
        columns, rows = config.spec.grid.shape[:2]
        stride = map_stride(config.spec, config.network)
        self.map_shape = columns // stride, rows // stride

    def build(self) -> MaskedBevNetwork:
        """A new network; see ``Task.build``.

        Raises:
            ConfigError: as ``center_point``.
        """
        return MaskedBevNetwork(self.spec, self.config.network, self.config.mask.max_points)

    def check(self, source: SampleSource, *, training: bool) -> str:
        """Number of samples; any source will do. See ``Task.check``."""
        return f"{len(source)} samples, {self.config.mask.share:.0%} of the cells masked" if len(source) else ""

    def dataset(self, source: SampleSource, *, training: bool, seed: int) -> MaskedDataset:
        """Examples of samples; see ``Task.dataset``. Those to validate on are masked and changed too, always alike."""
        config = self.config
        return MaskedDataset(source, self.spec, self.map_shape, mask=config.mask, augment=config.augment, seed=seed)

    def collate(self, examples: Sequence[MaskedExample]) -> MaskedBatch:
        """One batch of examples, at least one."""
        columns, rows = self.map_shape
        return collate(examples, self.spec, columns * rows)

    def loss(self, network: Forward, batch: MaskedBatch) -> LossTerms:
        """Chamfer distance and density; see ``masked_bev_loss``."""
        masked = batch.masked
        points, log_count = network(batch.inputs, masked.cell, batch.batch_size)
        loss = masked_bev_loss(points, log_count, masked.points, masked.is_point, masked.num_points)
        return LossTerms(loss.total, {"chamfer": loss.chamfer, "density": loss.density})

    def export_view(self, network: nn.Module) -> ExportView:
        """Nothing of it runs on the vehicle; see ``Task.export_view``.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "export received a pre-trained network, which detects nothing yet; expected a trained model: "
            "`lidarloop train RECIPE --init-from RUN --init-parts encoder backbone`"
        )
