from __future__ import annotations

import itertools
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lidarloop_core.errors import DatasetError  # noqa: E402
from lidarloop_training.stages.sampler import StepSampler  # noqa: E402


def sampler(**changes: Any) -> StepSampler:
    values = {"first_step": 0, "num_steps": 7, "seed": 0, "rank": 0, "world_size": 1, **changes}
    return StepSampler(11, 3, **values)


def test_an_epoch_shows_each_sample_at_most_once_and_epochs_differ() -> None:
    keys = list(itertools.chain.from_iterable(sampler()))
    epochs = [[k.sample for k in keys if k.epoch == e] for e in range(3)]
    assert [len(set(e)) for e in epochs] == [9, 9, 3]
    assert epochs[0] != epochs[1]


def test_resuming_goes_on_with_the_same_batches() -> None:
    assert list(sampler(first_step=4)) == list(sampler())[4:]


def test_processes_share_a_batch() -> None:
    one = StepSampler(16, 4, first_step=0, num_steps=6, seed=1, rank=0, world_size=1)
    two = [StepSampler(16, 2, first_step=0, num_steps=6, seed=1, rank=r, world_size=2) for r in (0, 1)]
    assert list(one) == [a + b for a, b in zip(*two, strict=True)]


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"2 samples; expected at least one batch of 3 × 1"):
        StepSampler(2, 3, first_step=0, num_steps=1, seed=0, rank=0, world_size=1)
