"""An image encoder by Barlow Twins on dense crops: the same place in two crops is to look alike.

Source: Barlow Twins (Zbontar et al., ICML 2021), on places of feature maps in the place of pictures, as VICRegL (Bardes
et al., NeurIPS 2022) and PixPro (Xie et al., CVPR 2021) do: what is wanted here are features of places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from lidarloop_core.errors import ConfigError
from lidarloop_core.sample import SampleSource
from lidarloop_training.losses.barlow_twins import barlow_twins
from lidarloop_training.models.image.resnet import ResNet
from lidarloop_training.models.projection import ProjectionConfig, projection
from lidarloop_training.ranges import check_ranges
from lidarloop_training.tasks.export_view import ExportView
from lidarloop_training.tasks.pretext.image_features import no_pictures
from lidarloop_training.tasks.pretext.pictures.dataset import CropBatch, CropConfig, CropDataset, CropPair, collate
from lidarloop_training.tasks.task import Forward, LossTerms, TaskConfig


@dataclass(frozen=True)
class PictureConfig(TaskConfig):
    """Settings of an image encoder's training. Of the spec nothing is used: the encoder does not see clouds.

    Attributes:
        blocks: residual blocks at 1/4, 1/8 and 1/16 of the picture; 3, 4, 6 is a ResNet-50's.
        width: channels of the first convolution; 64 is a ResNet-50's.
        crops: random crops and changes of pictures.
        projection: widths of the projection head.
        redundancy_weight: λ of the redundancy term.
    """

    name: ClassVar[str] = "image-encoder"

    blocks: tuple[int, int, int] = (2, 2, 2)
    width: int = 16
    crops: CropConfig = field(default_factory=CropConfig)
    projection: ProjectionConfig = field(default_factory=lambda: ProjectionConfig(256, 128))
    redundancy_weight: float = 5e-3

    def __post_init__(self) -> None:
        check_ranges(
            "PictureConfig",
            blocks=(self.blocks, 1, 100),
            width=(self.width, 1, 1024),
            redundancy_weight=(self.redundancy_weight, 0, 1e3),
        )

    def task(self) -> PictureTask:
        """The task with these settings."""
        return PictureTask(self)


class PictureNetwork(nn.Module):
    """The encoder, and a projection of what all its levels have at a place."""

    def __init__(self, config: PictureConfig) -> None:
        super().__init__()
        self.encoder = ResNet(config.blocks, config.width)
        self.projection = projection(sum(self.encoder.channels), config.projection)

    def forward(self, crops: Tensor, places: Tensor) -> Tensor:
        """Projected features of places.

        Args:
            crops: (2, B, 3, S, S) normalised.
            places: (2, B, P, 2) as in ``CropPair``.

        Returns:
            (2, B · P, D).
        """
        where = places.flatten(0, 1)[:, None]
        maps = self.encoder(crops.flatten(0, 1))
        read = [grid_sample(m.float(), where, padding_mode="border", align_corners=False)[:, :, 0] for m in maps]
        features = torch.cat(read, dim=1).transpose(1, 2)
        projected: Tensor = self.projection(features).reshape(2, -1, self.projection[-1].out_features)
        return projected


class PictureTask:
    """An image encoder's training as the training core sees it; see ``Task``."""

    def __init__(self, config: PictureConfig) -> None:
        self.config = config
        self.spec = config.spec

    def build(self) -> PictureNetwork:
        """A new network; see ``Task.build``."""
        return PictureNetwork(self.config)

    def check(self, source: SampleSource, *, training: bool) -> str:
        """Number of samples; see ``Task.check``.

        Raises:
            DatasetError: the first sample has no pictures.
        """
        if not len(source):
            return ""
        cameras = source[0].cameras
        if not cameras:
            raise no_pictures(source)
        return f"{len(source)} samples with {len(cameras)} pictures each"

    def dataset(self, source: SampleSource, *, training: bool, seed: int) -> CropDataset:
        """Pairs of crops; see ``Task.dataset``. Those to validate on are random too, always the same."""
        return CropDataset(source, self.config.crops, seed)

    def collate(self, examples: Sequence[CropPair]) -> CropBatch:
        """One batch of examples, at least one."""
        return collate(examples)

    def loss(self, network: Forward, batch: CropBatch) -> LossTerms:
        """Barlow Twins over the places of all pairs; see ``barlow_twins``."""
        first, second = network(batch.crops, batch.places)
        loss = barlow_twins(first, second, self.config.redundancy_weight)
        return LossTerms(loss.total, {"invariance": loss.invariance, "redundancy": loss.redundancy})

    def export_view(self, network: nn.Module) -> ExportView:
        """Nothing of it runs on the vehicle; see ``Task.export_view``.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "export received an image encoder, which no vehicle runs; expected a detector or a segmenter: "
            "`lidarloop pretrain contrast-toytown --task.image.path encoder.safetensors` learns from it"
        )
