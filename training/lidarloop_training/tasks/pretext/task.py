"""Contrastive pre-training: a point network learns from pictures, from itself, or from both, without a label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.sample import SampleSource
from lidarloop_training.losses.contrastive import Contrast, balanced_negatives, contrast, mean_contrast
from lidarloop_training.models.detector import NetworkConfig
from lidarloop_training.models.point_network import point_network
from lidarloop_training.models.unet import UNetConfig
from lidarloop_training.tasks.export_view import ExportView
from lidarloop_training.tasks.pretext.config import ContrastConfig
from lidarloop_training.tasks.pretext.dataset import ContrastBatch, ContrastDataset, ContrastExample, collate
from lidarloop_training.tasks.pretext.image_features import ImageFeatures, no_pictures
from lidarloop_training.tasks.pretext.network import ContrastNetwork
from lidarloop_training.tasks.pretext.statistics import NUM_STATISTICS
from lidarloop_training.tasks.task import Forward, LossTerms


@dataclass(frozen=True, kw_only=True)
class DetectorContrastConfig(ContrastConfig):
    """Pre-training of a detector's encoder and backbone.

    Attributes:
        network: widths and depths of the detector.
    """

    name: ClassVar[str] = "contrast-detector"

    network: NetworkConfig

    @property
    def network_config(self) -> NetworkConfig:
        return self.network

    def task(self) -> ContrastTask:
        """The task with these settings."""
        return ContrastTask(self)


@dataclass(frozen=True, kw_only=True)
class SegmenterContrastConfig(ContrastConfig):
    """Pre-training of a segmenter's encoder and decoder.

    Attributes:
        network: widths and depths of the segmenter.
    """

    name: ClassVar[str] = "contrast-segmenter"

    network: UNetConfig

    @property
    def network_config(self) -> UNetConfig:
        return self.network

    def task(self) -> ContrastTask:
        """The task with these settings."""
        return ContrastTask(self)


class ContrastTask:
    """Contrastive pre-training as the training core sees it; see ``Task``.

    Args:
        config: settings.
        device: where the image encoder runs on pictures whose maps are not kept yet; the CPU where None.
    """

    def __init__(self, config: ContrastConfig, device: torch.device | None = None) -> None:
        self.config = config
        self.spec = config.spec
        self._device = device

    @cached_property
    def features(self) -> ImageFeatures | None:
        """The kept maps of the pictures; None where no pictures are read.

        Raises:
            ConfigError, ModelFileError, BackendError: as ``open_encoder``.
        """
        if not self.config.reads_pictures:
            return None
        return ImageFeatures(self.config.image, self.config.image_cache, self._device)

    def build(self) -> ContrastNetwork:
        """A new network; see ``Task.build``.

        Raises:
            ConfigError, ModelFileError, BackendError: the settings contradict one another, or the image encoder cannot
                be opened.
        """
        channels = 0
        if self.config.compares_targets:
            channels = NUM_STATISTICS if self.features is None else self.features.encoder.num_channels
        return ContrastNetwork(point_network(self.spec, self.config.network_config), self.config.projection, channels)

    def check(self, source: SampleSource, *, training: bool) -> str:
        """What is compared; see ``Task.check``.

        Raises:
            DatasetError: the first sample has no pictures, and its units are compared with them.
        """
        if not len(source):
            return ""
        if self.config.reads_pictures and not source[0].cameras:
            raise no_pictures(source)
        if self.config.grouping.kind == "superpixels" and not source[0].cameras:
            raise DatasetError(
                f"sample {source.keys[0].token} has no pictures; expected some to cut into superpixels: take drives "
                "with pictures, or --task.grouping.kind units"
            )
        with_what = f" with {self.config.targets}" if self.config.compares_targets else ""
        return f"{len(source)} samples, {self.config.grouping.kind} compared {self.config.modality}{with_what}"

    def prepare(self, source: SampleSource, on_sample: Callable[[int, int], None]) -> None:
        """Computes the maps of all pictures that are not kept yet; nothing where no pictures are read.

        Args:
            source: samples.
            on_sample: called after each sample with the number done and their number.

        Raises:
            DatasetError: a sample has no pictures, or one of them cannot be read.
        """
        if self.features is not None:
            self.features.prepare(source, on_sample)

    def dataset(self, source: SampleSource, *, training: bool, seed: int) -> ContrastDataset:
        """Examples of samples; see ``Task.dataset``. Those to validate on have random changes too, always the same.

        Raises:
            ConfigError, ModelFileError, BackendError: as ``open_encoder``.
        """
        return ContrastDataset(source, self.config, self.features, seed)

    def collate(self, examples: Sequence[ContrastExample]) -> ContrastBatch:
        """One batch of examples, at least one."""
        return collate(examples, self.spec)

    def loss(self, network: Forward, batch: ContrastBatch) -> LossTerms:
        """InfoNCE of each pair that the modality compares, their sum; see ``contrast``.

        Units are compared within their cloud, and each cloud counts alike, so that several processes are one with their
        batches together.
        """
        num_units, num_clouds = sum(batch.units_of_cloud), len(batch.units_of_cloud)
        views, targets = network(batch.views, batch.targets, num_units, num_clouds)
        terms: dict[str, Contrast] = {}
        if self.config.compares_targets:
            terms["cross"] = self._over_clouds(views[0], targets, batch)
        if self.config.compares_views:
            terms["single"] = self._over_clouds(views[0], views[1], batch)
        parts = {f"{name}_{field}": value for name, term in terms.items() for field, value in term._asdict().items()}
        return LossTerms(torch.stack([term.loss for term in terms.values()]).sum(), parts)

    def _over_clouds(self, first: Tensor, second: Tensor, batch: ContrastBatch) -> Contrast:
        """Mean over the clouds of a batch; one with fewer than two units has nothing to compare, and counts as 0."""
        sizes = list(batch.units_of_cloud)
        frozen = [None] * len(sizes) if batch.targets is None else torch.split(batch.targets, sizes)
        found = []
        for ours, theirs, target in zip(torch.split(first, sizes), torch.split(second, sizes), frozen, strict=True):
            if len(ours) < 2:
                nothing = ours.float().sum() * 0 + theirs.float().sum() * 0
                found.append(Contrast(nothing, nothing.detach(), nothing.detach()))
                continue
            negatives = balanced_negatives(ours if target is None else target, self.config.loss.num_negatives)
            found.append(contrast(ours, theirs, negatives, self.config.loss))
        return mean_contrast(found)

    def export_view(self, network: nn.Module) -> ExportView:
        """Nothing of it runs on the vehicle; see ``Task.export_view``.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "export received a pre-trained network, which detects nothing yet; expected a trained model: "
            "`lidarloop train RECIPE --init-from RUN --init-parts encoder backbone` (a U-Net: encoder decoder)"
        )
