"""Detection: boxes from labelled samples, with a CenterPoint network."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import nn

from lidarloop_core.sample import SampleSource
from lidarloop_training.data.views.balanced import balanced
from lidarloop_training.losses.center import CenterLossConfig, center_loss
from lidarloop_training.models.detector import CenterPoint, NetworkConfig, center_point, map_stride
from lidarloop_training.models.heads.center import fitted_groups, group_of_class
from lidarloop_training.models.sparse.blocks import fold_norms
from lidarloop_training.tasks.augment import NO_AUGMENTATION, AugmentConfig
from lidarloop_training.tasks.detection.census import check_labelled, check_learnable, take_census
from lidarloop_training.tasks.detection.copy_paste import NO_COPY_PASTE, CopyPasteConfig
from lidarloop_training.tasks.detection.dataset import (
    DetectionBatch,
    DetectionDataset,
    DetectionExample,
    collate,
    object_database,
)
from lidarloop_training.tasks.detection.export_view import DetectionView
from lidarloop_training.tasks.task import Forward, LossTerms, TaskConfig


@dataclass(frozen=True)
class DetectionConfig(TaskConfig):
    """Settings of detection.

    Attributes:
        network: widths and depths of the network.
        loss: weights of the loss terms.
        augment: limits of the random changes of a scene.
        balance_classes: whether samples with rare classes are shown more often.
        copy_paste: objects that are put into scenes they do not belong to.
    """

    name: ClassVar[str] = "detection"

    network: NetworkConfig
    loss: CenterLossConfig = field(default_factory=CenterLossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    balance_classes: bool = False
    copy_paste: CopyPasteConfig = NO_COPY_PASTE

    def task(self) -> DetectionTask:
        """The task with these settings."""
        return DetectionTask(self)

    def for_classes(self, class_names: tuple[str, ...]) -> DetectionConfig:
        """The same task for other classes: the network's groups and the copy-paste follow the list.

        Raises:
            ModelFileError: the names are no distinct, printable texts.
        """
        groups = fitted_groups(class_names, self.network.class_groups)
        return replace(
            self,
            spec=replace(self.spec, class_names=class_names),
            network=replace(self.network, class_groups=groups),
            copy_paste=self.copy_paste.for_classes(class_names),
        )

    def for_doubtful_labels(self) -> DetectionConfig:
        """The same task without copy-paste and balancing, which would multiply the mistakes of doubtful labels."""
        return replace(self, balance_classes=False, copy_paste=NO_COPY_PASTE)


class DetectionTask:
    """Detection as the training core sees it; see ``Task``."""

    def __init__(self, config: DetectionConfig) -> None:
        self.config = config
        self.spec = config.spec
        self.group_of_class = torch.tensor(group_of_class(config.spec.class_names, config.network.class_groups))

    def build(self) -> CenterPoint:
        """A new network; see ``Task.build``.

        Raises:
            ConfigError: the backbone cannot halve the grid as often as it wants to.
        """
        return center_point(self.spec, self.config.network)

    def check(self, source: SampleSource, *, training: bool) -> str:
        """Objects by class; see ``Task.check``.

        Raises:
            DatasetError: a sample is unlabelled, or no object is of the spec's classes and in its range.
        """
        if not training:
            check_labelled(source)
            return ""
        census = take_census(source, self.spec)
        check_learnable(census, self.spec)
        return str(census)

    def dataset(self, source: SampleSource, *, training: bool, seed: int) -> DetectionDataset:
        """Examples of labelled samples; copy-paste and balancing read each sample once before.

        Raises:
            DatasetError: a sample is unlabelled, or no sample has an object to balance by.
        """
        config, shown = self.config, []
        stride = map_stride(self.spec, config.network)
        if not training:
            return DetectionDataset(source, self.spec, stride, augment=NO_AUGMENTATION, seed=seed)
        database = None
        if config.copy_paste.num_objects:
            database = object_database(source, self.spec, config.copy_paste, seed)
            shown.append(f"copy-paste from {len(database)} objects")
        if config.balance_classes:
            source = balanced(source, self.spec.class_names, seed)
            shown.append(f"{len(source)} samples in an epoch that shows all classes equally often")
        return DetectionDataset(
            source,
            self.spec,
            stride,
            augment=config.augment,
            seed=seed,
            database=database,
            summary="; ".join(shown),
        )

    def collate(self, examples: Sequence[DetectionExample]) -> DetectionBatch:
        """One batch of examples, at least one."""
        return collate(examples, self.spec)

    def loss(self, network: Forward, batch: DetectionBatch) -> LossTerms:
        """Heatmap and regression loss; see ``center_loss``."""
        output = network(*batch.inputs, batch_size=batch.batch_size)
        groups = self.group_of_class.to(output.heatmap.device)
        loss = center_loss(output, batch.targets, groups, self.config.loss)
        return LossTerms(loss.total, {"heatmap": loss.heatmap, "regression": loss.regression})

    def export_view(self, network: nn.Module) -> DetectionView:
        """Grouped points → boxes, scores and labels; norms of sparse convolutions are folded into them."""
        network = copy.deepcopy(network)
        fold_norms(network)
        return DetectionView(self.spec, network)
