"""Batch norms for other clouds than a network was trained on: their statistics are measured again on those.

Source: Li et al., "Revisiting batch normalization for practical domain adaptation" (AdaBN, 2016): weights stay as they
are, mean and variance of each norm become those of the clouds that the network will see.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn
from torch.optim.swa_utils import update_bn

from lidarloop_core.sample import SampleSource
from lidarloop_training.data.intensity import intensity_deciles
from lidarloop_training.stages.checkpoint import SavedRun, find_checkpoint, load_task, step_of, write_checkpoint
from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.stages.loading import load_batch
from lidarloop_training.stages.sampler import StepSampler
from lidarloop_training.tasks.task import Task


def with_norms_of(
    checkpoint: Path, source: SampleSource, config: TrainConfig[Any], num_batches: int, console: Console
) -> Path:
    """A checkpoint's network with the statistics of other clouds, as a checkpoint in ``config.run.out``.

    The intensities that the spec names for the vehicle become those of these clouds. What is there already stays.

    Args:
        checkpoint: a run, or one of its checkpoints.
        source: samples as the task learns from; they are shown as in training, augmented.
        config: settings of the run; seed and batch size are those of the batches.
        num_batches: number of batches, at most those of an epoch; 0 leaves the statistics as they are.
        console: where progress is printed.

    Returns:
        The new checkpoint's folder.

    Raises:
        ConfigError: there is no checkpoint, or it is not readable.
        DatasetError: the samples are too few for a batch.
    """
    folder = find_checkpoint(checkpoint)
    made = config.run.out / "checkpoints" / folder.name
    if made.is_dir():
        return made
    task, network, _ = load_task(folder)
    if num_batches:
        number = _measure(task, network, source, config, num_batches)
        console.print(f"statistics of the batch norms measured on {number} batches", highlight=False)
    limits = dataclasses.replace(task.spec, training_intensity=()).column_limits
    spec = dataclasses.replace(task.spec, training_intensity=intensity_deciles(source, limits))
    own = dataclasses.replace(config, task=dataclasses.replace(config.task, spec=spec), init_from=folder)
    saved = SavedRun.of(own, 1, None)
    return write_checkpoint(config.run.out, step_of(folder), network, torch.optim.AdamW(network.parameters()), saved)


def _measure(
    task: Task[Any, Any], network: nn.Module, source: SampleSource, config: TrainConfig[Any], num_batches: int
) -> int:
    """Sets mean and variance of each norm to those over some batches; gives their number."""
    examples = task.dataset(source, training=True, seed=config.seed)
    sampler = StepSampler(
        examples.parts,
        config.optimisation.batch_size,
        first_step=0,
        num_steps=num_batches,
        seed=config.seed,
        rank=0,
        world_size=1,
    )
    number = min(num_batches, sampler.steps_per_epoch)
    # A batch is no tensor: torch's function hands on whatever it is given.
    update_bn((load_batch(task, examples, sampler.batch(step)) for step in range(number)), _Run(task, network))
    network.eval()
    return number


class _Run(nn.Module):
    """A network run on complete batches."""

    def __init__(self, task: Task[Any, Any], network: nn.Module) -> None:
        super().__init__()
        self.task = task
        self.network = network

    def forward(self, batch: Any) -> Any:
        return self.task.loss(self.network, batch).total
