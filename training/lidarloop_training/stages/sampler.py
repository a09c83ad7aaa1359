"""The batches of a training run, from any step on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from lidarloop_core.errors import DatasetError
from lidarloop_training.tasks.task import ExampleKey


class StepSampler(Sampler[list[ExampleKey]]):
    """The keys of each step's batch.

    An epoch is a permutation drawn from (seed, epoch); its last, incomplete batch is left out. With several processes
    each takes its own share of every batch, so that the step count means the same everywhere.

    Args:
        num_samples: examples in an epoch.
        batch_size: examples a step, per process.
        first_step: number of the first step, from 0.
        num_steps: number of the step to stop before.
        seed: seed for the order.
        rank: number of this process, from 0.
        world_size: number of processes.

    Raises:
        DatasetError: there are too few examples for one batch.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        first_step: int,
        num_steps: int,
        seed: int,
        rank: int,
        world_size: int,
    ) -> None:
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.steps = range(first_step, num_steps)
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.steps_per_epoch = num_samples // (batch_size * world_size)
        check_batch(num_samples, batch_size, world_size)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[ExampleKey]]:
        epoch, order = -1, np.zeros(0, np.int64)
        for step in self.steps:
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order = self._order(epoch)
            yield self._batch(step, epoch, order)

    def batch(self, step: int) -> list[ExampleKey]:
        """The keys of one step's batch."""
        epoch = step // self.steps_per_epoch
        return self._batch(step, epoch, self._order(epoch))

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng((self.seed, epoch)).permutation(self.num_samples)

    def _batch(self, step: int, epoch: int, order: npt.NDArray[np.int64]) -> list[ExampleKey]:
        first = (step % self.steps_per_epoch * self.world_size + self.rank) * self.batch_size
        return [ExampleKey(epoch, int(i)) for i in order[first : first + self.batch_size]]


def check_batch(num_samples: int, batch_size: int, world_size: int) -> None:
    """Raises DatasetError if the samples are too few for one batch of every process."""
    if num_samples < batch_size * world_size:
        raise DatasetError(
            f"training received {num_samples} samples; expected at least one batch of "
            f"{batch_size} × {world_size}: use more data or a smaller batch"
        )
