"""The batches of a training run, from any step on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_training.tasks.task import ExampleKey, Part


class StepSampler(Sampler[list[ExampleKey]]):
    """The keys of each step's batch.

    An epoch is a permutation drawn from (seed, epoch); its last, incomplete batch is left out. With several processes
    each takes its own share of every batch, so that the step count means the same everywhere. Of several parts each has
    epochs of its own, and gives its share of every batch.

    Args:
        parts: what a batch is mixed of; the indices of a part follow on those of the one before.
        batch_size: examples a step, per process.
        first_step: number of the first step, from 0.
        num_steps: number of the step to stop before.
        seed: seed for the order.
        rank: number of this process, from 0.
        world_size: number of processes.

    Raises:
        ConfigError: a part's share of a batch is less than half an example.
        DatasetError: there are too few examples for one batch.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        batch_size: int,
        *,
        first_step: int,
        num_steps: int,
        seed: int,
        rank: int,
        world_size: int,
    ) -> None:
        self.steps = range(first_step, num_steps)
        firsts = np.cumsum([0, *(part.number for part in parts)])
        sizes = sizes_in_batch(parts, batch_size)
        self._parts = [
            _PartOrder(int(first), part.number, size, (seed, number), rank, world_size)
            for number, (part, size, first) in enumerate(zip(parts, sizes, firsts, strict=False))
        ]
        self.steps_per_epoch = max(part.steps_per_epoch for part in self._parts)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[ExampleKey]]:
        return map(self.batch, self.steps)

    def batch(self, step: int) -> list[ExampleKey]:
        """The keys of one step's batch."""
        return [key for part in self._parts for key in part.batch(step)]


class _PartOrder:
    """The order in which one part of the examples is shown."""

    def __init__(
        self, first: int, number: int, batch_size: int, seed: tuple[int, int], rank: int, world_size: int
    ) -> None:
        check_batch(number, batch_size, world_size)
        self.first, self.number, self.batch_size = first, number, batch_size
        self.rank, self.world_size = rank, world_size
        self.steps_per_epoch = number // (batch_size * world_size)
        self._seed = seed
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def batch(self, step: int) -> list[ExampleKey]:
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._drawn(epoch)
        start = (within * self.world_size + self.rank) * self.batch_size
        return [ExampleKey(epoch, self.first + int(i)) for i in self._order[start : start + self.batch_size]]

    def _drawn(self, epoch: int) -> npt.NDArray[np.int64]:
        seed, part = self._seed
        # Without a second part as before there were parts, so that runs go on as they began.
        return np.random.default_rng((seed, epoch, part) if part else (seed, epoch)).permutation(self.number)


def sizes_in_batch(parts: Sequence[Part], batch_size: int) -> list[int]:
    """How many examples of each part are in a batch: the nearest whole numbers, the first part takes what is left.

    Raises:
        ConfigError: one part would have none.
    """
    others = [round(part.share * batch_size) for part in parts[1:]]
    sizes = [batch_size - sum(others), *others]
    if min(sizes) < 1:
        raise ConfigError(
            f"a batch of {batch_size} received shares of {', '.join(f'{part.share:g}' for part in parts)}, which gives "
            f"{', '.join(map(str, sizes))} samples; expected at least one of each: use a larger batch or other shares"
        )
    return sizes


def check_batch(num_samples: int, batch_size: int, world_size: int) -> None:
    """Raises DatasetError if the samples are too few for one batch of every process."""
    if num_samples < batch_size * world_size:
        raise DatasetError(
            f"training received {num_samples} samples; expected at least one batch of "
            f"{batch_size} × {world_size}: use more data or a smaller batch"
        )
