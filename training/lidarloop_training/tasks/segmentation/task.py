"""Segmentation: a class for each point, with a sparse U-Net."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import nn

from lidarloop_core.errors import DatasetError
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.point_labels import UNLABELLED, class_of_label
from lidarloop_training.losses.segmentation import SegmentationLossConfig, segmentation_loss
from lidarloop_training.models.sparse.blocks import fold_norms
from lidarloop_training.models.unet import SparseUNet, UNetConfig
from lidarloop_training.tasks.augment import NO_AUGMENTATION, AugmentConfig
from lidarloop_training.tasks.segmentation.dataset import (
    SegmentationBatch,
    SegmentationDataset,
    SegmentationExample,
    collate,
)
from lidarloop_training.tasks.segmentation.export_view import SegmentationView
from lidarloop_training.tasks.task import Forward, LossTerms, TaskConfig


@dataclass(frozen=True)
class SegmentationConfig(TaskConfig):
    """Settings of segmentation.

    Attributes:
        network: widths and depths of the network.
        loss: weights of the loss terms.
        augment: limits of the random changes of a scene.
    """

    name: ClassVar[str] = "segmentation"

    network: UNetConfig
    loss: SegmentationLossConfig = field(default_factory=SegmentationLossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def task(self) -> SegmentationTask:
        """The task with these settings."""
        return SegmentationTask(self)

    def for_classes(self, class_names: tuple[str, ...]) -> SegmentationConfig:
        """The same task for other classes.

        Raises:
            ModelFileError: the names are no distinct, printable texts.
        """
        return replace(self, spec=replace(self.spec, class_names=class_names))


class SegmentationTask:
    """Segmentation as the training core sees it; see ``Task``."""

    def __init__(self, config: SegmentationConfig) -> None:
        self.config = config
        self.spec = config.spec

    def build(self) -> SparseUNet:
        """A new network; see ``Task.build``.

        Raises:
            ConfigError: widths or depths are not one for each level of the grid.
        """
        return SparseUNet(self.spec, self.config.network)

    def check(self, source: SampleSource, *, training: bool) -> str:
        """The classes to learn and those that the first sample's labels do not have; see ``Task.check``.

        Raises:
            DatasetError: its points are not labelled, or by none of the model's classes.
        """
        if not len(source):
            return ""
        sample = source[0]
        found = set(class_of_label(sample, self.spec).tolist()) - {UNLABELLED}
        names = self.spec.class_names
        if not found:
            raise DatasetError(
                f"sample {sample.token} has points of {', '.join(sample.point_classes[1:])}; expected some of "
                f"{', '.join(names)}: name the classes of the drives by --classes"
            )
        absent = [name for number, name in enumerate(names) if number not in found]
        learnt = f"{len(found)} classes of points to learn in {len(source)} samples"
        return f"{learnt}; no label for {', '.join(absent)}" if absent else learnt

    def dataset(self, source: SampleSource, *, training: bool, seed: int) -> SegmentationDataset:
        """Examples of samples with labelled points; see ``Task.dataset``."""
        return SegmentationDataset(
            source, self.spec, augment=self.config.augment if training else NO_AUGMENTATION, seed=seed
        )

    def collate(self, examples: Sequence[SegmentationExample]) -> SegmentationBatch:
        """One batch of examples, at least one."""
        return collate(examples, self.spec)

    def loss(self, network: Forward, batch: SegmentationBatch) -> LossTerms:
        """Cross-entropy and Lovász-softmax; see ``segmentation_loss``."""
        loss = segmentation_loss(network(*batch.inputs), batch.labels, self.config.loss)
        return LossTerms(loss.total, {"cross_entropy": loss.cross_entropy, "lovasz": loss.lovasz})

    def export_view(self, network: nn.Module) -> SegmentationView:
        """Grouped points → score and label of each point; norms are folded into the convolutions."""
        network = copy.deepcopy(network)
        fold_norms(network)
        return SegmentationView(self.spec, network)
