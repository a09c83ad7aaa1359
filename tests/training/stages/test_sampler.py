from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lidarloop_core.errors import ConfigError, DatasetError  # noqa: E402
from lidarloop_training.stages.sampler import StepSampler, sizes_in_batch  # noqa: E402
from lidarloop_training.tasks.task import Part  # noqa: E402


def sampler(**changes: Any) -> StepSampler:
    values = {"first_step": 0, "num_steps": 7, "seed": 0, "rank": 0, "world_size": 1, **changes}
    return StepSampler([Part(11, 1.0)], 3, **values)


def test_an_epoch_shows_each_sample_at_most_once_and_epochs_differ() -> None:
    keys = list(itertools.chain.from_iterable(sampler()))
    epochs = [[k.sample for k in keys if k.epoch == e] for e in range(3)]
    assert [len(set(e)) for e in epochs] == [9, 9, 3]
    assert epochs[0] != epochs[1]


def test_resuming_goes_on_with_the_same_batches() -> None:
    assert list(sampler(first_step=4)) == list(sampler())[4:]


def test_processes_share_a_batch() -> None:
    one = StepSampler([Part(16, 1.0)], 4, first_step=0, num_steps=6, seed=1, rank=0, world_size=1)
    two = [StepSampler([Part(16, 1.0)], 2, first_step=0, num_steps=6, seed=1, rank=r, world_size=2) for r in (0, 1)]
    assert list(one) == [a + b for a, b in zip(*two, strict=True)]


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"2 samples; expected at least one batch of 3 × 1"):
        StepSampler([Part(2, 1.0)], 3, first_step=0, num_steps=1, seed=0, rank=0, world_size=1)


TWO = [Part(10, 0.75), Part(6, 0.25)]


def mixed(**changes: Any) -> StepSampler:
    values = {"first_step": 0, "num_steps": 12, "seed": 0, "rank": 0, "world_size": 1, **changes}
    return StepSampler(TWO, 4, **values)


def test_each_batch_holds_its_share_of_each_part_and_each_part_its_own_epochs() -> None:
    batches = list(mixed())
    assert [sum(key.sample >= 10 for key in batch) for batch in batches] == [1] * 12
    second = [key for batch in batches for key in batch if key.sample >= 10]
    assert sorted(key.sample for key in second if key.epoch == 0) == list(range(10, 16))
    first = [key for batch in batches for key in batch if key.sample < 10]
    assert [key.epoch for key in first] == [epoch for epoch in range(4) for _ in range(9)]
    assert all(len({key.sample for key in first if key.epoch == epoch}) == 9 for epoch in range(4))


def test_a_mixed_run_resumes_with_the_same_batches() -> None:
    assert list(mixed(first_step=7)) == list(mixed())[7:]


def test_one_part_keeps_the_order_of_runs_without_parts() -> None:
    """Pinned: runs that were begun before there were parts go on as they began."""
    order = np.random.default_rng((5, 0)).permutation(11)
    (batch,) = sampler(seed=5, num_steps=1)
    assert [key.sample for key in batch] == order[:3].tolist()


@pytest.mark.parametrize(("share", "sizes"), [(0.5, [2, 2]), (0.3, [3, 1]), (0.9, None), (0.1, None)])
def test_shares_are_rounded_to_samples_and_none_may_be_left_out(share: float, sizes: list[int] | None) -> None:
    parts = [Part(9, 1 - share), Part(9, share)]
    if sizes is not None:
        assert sizes_in_batch(parts, 4) == sizes
        return
    with pytest.raises(ConfigError, match="expected at least one of each"):
        sizes_in_batch(parts, 4)
