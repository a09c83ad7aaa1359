from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_training.data.views.balanced import balanced, balanced_indices

if TYPE_CHECKING:
    from tests.training.conftest import BoxScenes


label_lists = st.lists(st.lists(st.integers(0, 4)), min_size=1, max_size=40)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def arrays(lists: list[Any]) -> list[npt.NDArray[np.int64]]:
    return [np.array(labels, np.int64) for labels in lists]


def test_a_rare_class_is_repeated_and_a_common_one_thinned() -> None:
    """90 samples with cars, 10 with bicycles: 50 of each."""
    labels = arrays([[0]] * 90 + [[1]] * 10)
    shown = balanced_indices(labels, 2, rng())
    counts = np.bincount(shown, minlength=100)
    assert counts[:90].sum() == counts[90:].sum() == 50
    assert counts[:90].max() == 1
    assert (counts[90:] == 5).all()


def test_how_many_objects_of_a_class_a_sample_holds_does_not_matter() -> None:
    few, many = ([[0]] * 3 + [[1]], [[0] * 20] * 3 + [[1]])
    np.testing.assert_array_equal(balanced_indices(arrays(few), 2, rng()), balanced_indices(arrays(many), 2, rng()))


@given(label_lists)
def test_each_class_gives_the_same_number(lists: list[Any]) -> None:
    labels = arrays(lists)
    present = sorted({k for row in lists for k in row})
    if not present:
        return
    shown = balanced_indices(labels, 5, rng())
    holders = [sum(k in row for row in lists) for k in present]
    assert len(shown) == len(present) * round(sum(holders) / len(holders))
    assert all(lists[i] for i in shown)  # a sample without objects belongs to no class


@given(label_lists)
def test_samples_with_a_class_come_again_only_when_all_have_come(lists: list[Any]) -> None:
    alone = arrays([[0] if row else [] for row in lists])
    if any(map(len, alone)):
        counts = np.bincount(balanced_indices(alone, 1, rng()), minlength=len(lists))
        assert counts[[bool(row) for row in lists]].tolist() == [1] * sum(map(bool, lists))


def test_nothing_to_balance_is_refused() -> None:
    with pytest.raises(DatasetError, match="3 samples without an object"):
        balanced_indices(arrays([[], [], []]), 5, rng())


def test_a_source_is_balanced_by_the_classes_asked_for(box_scenes: Callable[..., BoxScenes]) -> None:
    source = box_scenes(num_samples=12)
    names = ("bus", "car")
    shown = balanced(source, names, seed=0)
    held = [{source[int(i)].annotations.boxes.names[k] for k in range(4)} for i in shown.indices]
    assert all(found & set(names) for found in held)
    assert balanced(source, names, seed=0).indices.tolist() == shown.indices.tolist()
    assert len(balanced(source, NUSCENES_CLASSES, seed=0)) > len(shown)
