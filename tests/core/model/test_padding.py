from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.inference.backend import open_backend
from lidarloop_core.model.padding import Bucket, bucket_for, fill_padded
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grouping import group_pillars

LARGEST = Bucket(320_000, 16_000)


def padded(points: np.ndarray, spec: ModelSpec, bucket: Bucket) -> dict[str, np.ndarray]:
    index = group_pillars(points, spec)
    inputs = {"points": index.points, "slot": index.slot, "cell": index.cell, "count": index.count}
    into = {
        "points": np.full((bucket.num_points, 5), np.nan, np.float32),
        "slot": np.full(bucket.num_points, -1, np.int64),
        "cell": np.full(bucket.num_pillars, -1, np.int64),
        "count": np.full(bucket.num_pillars, -1, np.int64),
    }
    columns, rows = spec.grid_size
    fill_padded(inputs, into, columns * rows)
    return into


@settings(deadline=None)
@given(st.integers(1, 320_000), st.integers(1, 16_000))
def test_a_bucket_holds_its_cloud_and_wastes_at_most_a_quarter(num_points: int, num_pillars: int) -> None:
    bucket = bucket_for(num_points, num_pillars, LARGEST)
    for size, number, most in zip(bucket, (num_points, num_pillars), LARGEST, strict=True):
        assert number <= size <= most
        assert size <= max(1.25 * number, number + 256)
        assert bucket_for(*bucket, LARGEST) == bucket


def test_there_are_few_buckets() -> None:
    assert len({bucket_for(n, 1, LARGEST).num_points for n in range(1, 320_001, 7)}) < 40


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 3))
def test_what_is_added_is_a_repeated_point_and_unused_cells(num_points: int, extra: int) -> None:
    columns, x, y, z = ("x", "y", "z", "intensity", "dt"), (0.0, 4.0), (0.0, 2.0), (0.0, 1.0)
    spec = ModelSpec("t", ("car",), columns, 1.0, x, y, z, (0.5, 0.5), 3, 32, 1, 0.1, 1, 1.0)
    points = np.random.default_rng(num_points).uniform(0, (4, 2, 1, 1, 1), (num_points, 5)).astype(np.float32)
    index = group_pillars(points, spec)
    number = len(index.cell)
    bucket = Bucket(len(index.points) + 5, min(32, number + extra))
    into = padded(points, spec, bucket)
    np.testing.assert_array_equal(into["points"][len(index.points) :], np.repeat(index.points[:1], 5, axis=0))
    np.testing.assert_array_equal(into["slot"][len(index.slot) :], index.slot[0])
    np.testing.assert_array_equal(into["cell"][:number], index.cell)
    assert len(set(into["cell"])) == bucket.num_pillars
    assert into["cell"].max() < 32
    assert into["cell"].min() >= 0
    assert (into["count"][number:] == 1).all()


def test_padding_changes_no_bit_of_a_real_networks_outputs(repository: Path) -> None:
    backend = open_backend(repository / "models/pillar-toytown.onnx", num_threads=1)
    points = np.random.default_rng(0).uniform(-50, 50, (3000, 5)).astype(np.float32)
    points[:, 2] = points[:, 2] % 8 - 5
    index = group_pillars(points, backend.spec)
    exact = backend.infer({"points": index.points, "slot": index.slot, "cell": index.cell, "count": index.count})
    found = backend.infer(padded(points, backend.spec, Bucket(4096, 3500)))
    for name, value in exact.items():
        np.testing.assert_array_equal(found[name], value, strict=True)


def test_a_grid_that_is_full_needs_no_padding() -> None:
    largest = Bucket(100, 32)
    assert bucket_for(90, 30, largest) == largest


@pytest.mark.parametrize("number", [1, 255, 256, 257, 2048, 2049])
def test_bucket_edges(number: int) -> None:
    size = bucket_for(number, 1, LARGEST).num_points
    assert size % 256 == 0
    assert size >= number
