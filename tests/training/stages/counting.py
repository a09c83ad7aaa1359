"""A second task, small enough to be checked by hand: how many objects does a cloud hold?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lidarloop_core.pointcloud.grid import PillarGrid
from lidarloop_core.pointcloud.grouping import PillarIndex, group_pillars
from lidarloop_core.sample import SampleSource
from lidarloop_training.models.encoders.pillar import PillarEncoder
from lidarloop_training.tasks.detection.dataset import labelled_cloud
from lidarloop_training.tasks.export_view import ExportView
from lidarloop_training.tasks.grouped import collate_grouped
from lidarloop_training.tasks.task import ExampleKey, Examples, Forward, LossTerms, TaskConfig


class Example(NamedTuple):
    cloud: PillarIndex
    number: int


class CountedBatch(NamedTuple):
    inputs: tuple[Tensor, ...]
    number: Tensor

    def to(self, device: torch.device) -> CountedBatch:
        return CountedBatch(tuple(tensor.to(device) for tensor in self.inputs), self.number.to(device))


class CountedClouds(Examples[Example]):
    summary = "clouds to count in"

    def __init__(self, source: SampleSource, config: CountingConfig, noise_m: float, seed: int) -> None:
        self.source, self.config, self.noise_m, self.seed = source, config, noise_m, seed

    def __len__(self) -> int:
        return len(self.source)

    def token(self, sample: int) -> str:
        return self.source.keys[sample].token

    def __getitem__(self, key: ExampleKey) -> Example:
        points, boxes = labelled_cloud(self.source[key.sample], self.config.spec)
        rng = np.random.default_rng((self.seed, key.epoch, key.sample))
        points = points + rng.normal(0, self.noise_m, points.shape).astype(np.float32)
        return Example(group_pillars(points, self.config.spec.pillars), len(boxes))


class ColumnSums(nn.Module):
    """Sums of the points' columns of each cloud: an encoder without batch norm."""

    def __init__(self, num_columns: int, grid: PillarGrid, channels: int) -> None:
        super().__init__()
        self.grid = grid
        self.linear = nn.Linear(num_columns, channels)

    def forward(self, points: Tensor, slot: Tensor, cell: Tensor, count: Tensor, batch_size: int) -> Tensor:
        sample = torch.div(cell, self.grid.num_cells, rounding_mode="floor")[slot // self.grid.max_points_per_pillar]
        sums = points.new_zeros(batch_size, points.shape[1]).index_add(0, sample, points / 1000)
        return self.linear(sums)[:, :, None, None]


class Counter(nn.Module):
    def __init__(self, encoder: nn.Module, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.counter = nn.Linear(channels, 1)

    def forward(self, *inputs: Tensor, batch_size: int = 1) -> Tensor:
        return self.counter(self.encoder(*inputs, batch_size=batch_size).mean(dim=(2, 3)))[:, 0]


@dataclass(frozen=True)
class CountingConfig(TaskConfig):
    name: ClassVar[str] = "counting"

    channels: int = 8
    on_pillars: bool = True

    def task(self) -> CountingTask:
        return CountingTask(self)


class CountingTask:
    def __init__(self, config: CountingConfig) -> None:
        self.config, self.spec = config, config.spec

    def build(self) -> Counter:
        spec, channels = self.spec, self.config.channels
        if self.config.on_pillars:
            return Counter(PillarEncoder(spec, channels), channels)
        return Counter(ColumnSums(len(spec.point_columns), spec.pillars, channels), channels)

    def check(self, source: SampleSource, *, training: bool) -> str:
        return ""

    def dataset(self, source: SampleSource, *, training: bool, seed: int) -> CountedClouds:
        return CountedClouds(source, self.config, 0.01 if training else 0.0, seed)

    def collate(self, examples: Sequence[Example]) -> CountedBatch:
        number = torch.tensor([float(example.number) for example in examples])
        return CountedBatch(collate_grouped([example.cloud for example in examples], self.spec), number)

    def loss(self, network: Forward, batch: CountedBatch) -> LossTerms:
        off = (network(*batch.inputs, batch_size=len(batch.number)) - batch.number).square()
        return LossTerms(off.mean(), {"squared_error": off.mean(), "largest_error": off.max().sqrt()})

    def export_view(self, network: nn.Module) -> ExportView:
        raise NotImplementedError
