from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidarloop_core.errors import ConfigError
from lidarloop_core.sample import Sample, SampleKey, SampleSource
from lidarloop_training.data.views.label_share import LabelShare, split_labels
from lidarloop_training.data.views.subset import SubsetSource
from tests.training.sources import MemorySource, assert_names_labels_and_poses_need_no_cloud

if TYPE_CHECKING:
    from tests.training.conftest import BoxScenes


def make_drives(sample: Sample, lengths: tuple[int, ...] = (3, 5, 2, 7, 3)) -> MemorySource:
    """Samples of drives of different lengths, drive after drive; samples differ by their token."""
    return MemorySource(
        [
            dataclasses.replace(sample, scene=f"drive-{d}", token=f"{d}-{i}")
            for d, n in enumerate(lengths)
            for i in range(n)
        ]
    )


@pytest.fixture(scope="module")
def drives(box_scenes: Callable[..., BoxScenes]) -> SampleSource:
    return make_drives(box_scenes()[0])


def tokens(source: SampleSource) -> list[str]:
    return [source[i].token for i in range(len(source))]


@pytest.mark.parametrize("unit", ["drive", "sample"])
@pytest.mark.parametrize("percent", [1.0, 20.0, 40.0, 99.0, 100.0])
def test_both_parts_make_the_whole_in_its_order(drives: SampleSource, unit: str, percent: float) -> None:
    labelled, rest = split_labels(drives, LabelShare(percent=percent, unit=unit, seed=3))
    assert sorted([*tokens(labelled), *tokens(rest)]) == sorted(tokens(drives))
    for part in (labelled, rest):
        assert list(part.indices) == sorted(part.indices)


def test_drives_stay_whole(drives: SampleSource) -> None:
    labelled, rest = split_labels(drives, LabelShare(percent=40.0, unit="drive"))
    scenes = [{part[i].scene for i in range(len(part))} for part in (labelled, rest)]
    assert len(scenes[0]) == 2
    assert not scenes[0] & scenes[1]


def test_samples_are_counted_singly(drives: SampleSource) -> None:
    assert len(split_labels(drives, LabelShare(percent=25.0, unit="sample")).labelled) == 5


def test_at_least_one_unit_is_taken(drives: SampleSource) -> None:
    assert len(split_labels(drives, LabelShare(percent=0.01, unit="sample")).labelled) == 1


@given(st.integers(0, 50))
def test_more_labels_hold_the_fewer(seed: int) -> None:
    everything = [None] * 200
    few, more = (
        set(split_labels(everything, LabelShare(percent=p, unit="sample", seed=seed)).labelled.indices)
        for p in (5.0, 20.0)
    )
    assert len(few) == 10
    assert few < more


def test_another_seed_takes_another_part() -> None:
    parts = [tuple(split_labels([None] * 200, LabelShare(5.0, "sample", seed)).labelled.indices) for seed in range(5)]
    assert len(set(parts)) == 5


@pytest.mark.parametrize("percent", [0.0, -5.0, 101.0])
def test_impossible_shares_are_refused(percent: float) -> None:
    with pytest.raises(ConfigError, match="expected more than 0, at most 100"):
        LabelShare(percent=percent)


def test_a_subset_repeats_and_reorders(drives: SampleSource) -> None:
    subset = SubsetSource(drives, np.array([4, 0, 4]))
    assert tokens(subset) == [drives[4].token, drives[0].token, drives[4].token]
    with pytest.raises(IndexError, match="expected 0…2"):
        subset[3]


def test_drives_are_told_apart_without_a_cloud(drives: MemorySource) -> None:
    class Unread(MemorySource):
        def __getitem__(self, index: int) -> Sample:
            raise AssertionError("a sample was read")

    class Named(Unread):
        @property
        def keys(self) -> list[SampleKey]:
            return MemorySource(self.samples).keys

    labelled, rest = split_labels(Named(drives.samples), LabelShare(40.0))
    assert len({key.drive for key in labelled.keys}) == 2
    assert len(labelled) + len(rest) == len(drives)


def test_a_subset_of_a_subset_keeps_names_labels_and_poses(drives: MemorySource) -> None:
    assert_names_labels_and_poses_need_no_cloud(SubsetSource(SubsetSource(drives, [4, 1, 1, 7]), [3, 0, 2]))
