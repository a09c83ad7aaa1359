"""What is added to a bucket changes no output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.inference.backend import open_backend
from lidarloop_core.model.padding import Constant, RepeatFirst, UnusedIndex
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import Sizes, fill_padded
from lidarloop_core.pointcloud.grouping import group_pillars
from tests.builders import make_spec

SMALL = make_spec(
    x_range_m=(0.0, 4.0), y_range_m=(0.0, 2.0), z_range_m=(0.0, 1.0), max_points_per_pillar=3, max_pillars=32
)


def padded(points: np.ndarray, spec: ModelSpec, bucket: Sizes) -> dict[str, np.ndarray]:
    into = {
        tensor.name: np.full(tensor.shape_at(bucket), -1, tensor.dtype)  # what is not written would be seen
        for tensor in spec.inputs
    }
    fill_padded(spec.inputs, group_pillars(points, spec.pillars).tensors(), into)
    return into


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 3))
def test_added_rows_are_a_repeated_point_and_unused_cells(num_points: int, extra: int) -> None:
    points = np.random.default_rng(num_points).uniform(0, (4, 2, 1, 1, 1), (num_points, 5)).astype(np.float32)
    index = group_pillars(points, SMALL.pillars)
    number = len(index.cell)
    bucket = {"num_points": len(index.points) + 5, "num_pillars": min(32, number + extra)}
    into = padded(points, SMALL, bucket)
    np.testing.assert_array_equal(into["points"][len(index.points) :], np.repeat(index.points[:1], 5, axis=0))
    np.testing.assert_array_equal(into["slot"][len(index.slot) :], index.slot[0])
    np.testing.assert_array_equal(into["cell"][:number], index.cell)
    assert len(set(into["cell"])) == bucket["num_pillars"]
    assert into["cell"].max() < 32
    assert into["cell"].min() >= 0
    assert (into["count"][number:] == 1).all()


def test_padding_changes_no_bit_of_a_real_networks_outputs(repository: Path) -> None:
    backend = open_backend(repository / "models/pillar-toytown.onnx", num_threads=1)
    points = np.random.default_rng(0).uniform(-50, 50, (3000, 5)).astype(np.float32)
    points[:, 2] = points[:, 2] % 8 - 5
    exact = backend.infer(group_pillars(points, backend.spec.pillars).tensors())
    found = backend.infer(padded(points, backend.spec, {"num_points": 4096, "num_pillars": 3500}))
    for name, value in exact.items():
        np.testing.assert_array_equal(found[name], value, strict=True)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [(RepeatFirst(), [4, 0, 4, 4]), (Constant(1), [4, 0, 1, 1]), (UnusedIndex(9), [4, 0, 1, 2])],
)
def test_each_rule_fills_the_rows_behind_the_clouds_own(
    rule: RepeatFirst | Constant | UnusedIndex, expected: list[int]
) -> None:
    array = np.array([4, 0, -1, -1])
    rule.fill(array, 2)
    assert array.tolist() == expected


def test_full_arrays_are_left_as_they_are() -> None:
    for rule in (RepeatFirst(), Constant(), UnusedIndex(4)):
        array = np.array([3, 1, 0, 2])
        rule.fill(array, 4)
        assert array.tolist() == [3, 1, 0, 2]
