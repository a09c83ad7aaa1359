"""Batches from loader processes; what goes wrong there is raised here as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

from lidarloop_core.errors import LidarloopError
from lidarloop_training.stages.sampler import StepSampler
from lidarloop_training.tasks.task import Batch, ExampleKey, Examples, Task

T = TypeVar("T")

# What a user can cause. torch's loader raises the same types anew, with a traceback for a message.
_USERS_ERRORS = (LidarloopError, OSError)


def load_batches(
    task: Task[Any, Any], examples: Examples[Any], sampler: StepSampler, num_workers: int
) -> Iterator[Any]:
    """The batches of a run, collated.

    Args:
        task: collates.
        examples: single examples.
        sampler: keys of each batch.
        num_workers: processes that load; 0 loads in this one.

    Raises:
        LidarloopError, OSError: an example cannot be made; the error is the one of the process that made it.
    """
    loader: DataLoader[Any] = DataLoader(
        _Carried(examples), batch_sampler=sampler, num_workers=num_workers, collate_fn=_Collate(task)
    )
    for batch in loader:
        if isinstance(batch, _USERS_ERRORS):
            raise batch
        yield batch


def load_batch(task: Task[Any, Any], examples: Examples[Any], keys: Sequence[ExampleKey]) -> Batch:
    """One batch, made in this process."""
    batch: Batch = task.collate([examples[key] for key in keys])
    return batch


class _Carried(Dataset[Any]):
    """Examples, or the errors in their place."""

    def __init__(self, examples: Examples[Any]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: ExampleKey) -> Any:
        return _result_or_error(lambda: self.examples[key])


class _Collate:
    """Collates, unless an example is an error: then the batch is the first of these."""

    def __init__(self, task: Task[Any, Any]) -> None:
        self.task = task

    def __call__(self, examples: Sequence[Any]) -> Any:
        for example in examples:
            if isinstance(example, _USERS_ERRORS):
                return example
        return self.task.collate(examples)


def _result_or_error(make: Callable[[], T]) -> T | LidarloopError | OSError:
    try:
        return make()
    except _USERS_ERRORS as error:
        return error.with_traceback(None)
