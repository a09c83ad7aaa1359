"""Voxel grouping: numba against the numpy reference bit for bit, and both against what a mean means."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.pointcloud.grid import VoxelGrid
from lidarloop_core.sparse.occupancy import Occupancy
from lidarloop_core.sparse.voxels import VoxelIndex, group_voxels, group_voxels_reference

GRID = VoxelGrid((-8.0, 8.0), (-4.0, 4.0), (-5.0, 3.0), (0.5, 0.5, 0.4), 10**6)


def assert_same(found: VoxelIndex, expected: VoxelIndex) -> None:
    for a, b in ((found, expected), (found.voxels, expected.voxels)):
        for f in dataclasses.fields(a):
            left, right = getattr(a, f.name), getattr(b, f.name)
            if not isinstance(left, Occupancy):
                np.testing.assert_array_equal(left, right, err_msg=f.name)
                assert getattr(left, "dtype", int) == getattr(right, "dtype", int), f.name


def assert_sound(index: VoxelIndex, points: np.ndarray, grid: VoxelGrid) -> None:
    """What must hold of any grouping, whatever the implementation."""
    assert len(points) == index.count.sum() + index.num_out_of_range + index.num_thinned
    assert index.voxels.num_voxels == len(index.features) == min(index.voxels.num_found, grid.capacity)
    assert np.count_nonzero(index.voxel_of_point) == index.count.sum()
    if len(index.count):
        assert index.count.min() >= 1
    rows = index.voxel_of_point[index.voxel_of_point > 0] - 1
    kept = points[index.voxel_of_point > 0]
    offset = kept[:, :3] - np.array(grid.ranges_m)[:, 0] - index.voxels.coordinates()[rows] * grid.cell_size_m
    assert (offset > -1e-4).all()
    assert (offset < np.array(grid.cell_size_m) + 1e-4).all()
    for row in range(0, len(index.features), 7):
        mean = kept[rows == row].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(index.features[row], mean, rtol=1e-5, atol=1e-5)


@st.composite
def clouds(draw: st.DrawFn) -> np.ndarray:
    """Random points, many on voxel borders, on the range's ends, just beside both, or not finite."""
    num_points = draw(st.integers(0, 300))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    points = random.uniform(-9, 9, (num_points, draw(st.integers(3, 6)))).astype(np.float32)
    grid = np.array([-8, -4, -5, 0, 0.5, 3, 4, 8, np.nan, np.inf, -np.inf, 3.4e38], np.float32)
    edges = np.concatenate([grid, np.nextafter(grid, np.float32(9)), np.nextafter(grid, np.float32(-9))])
    on_edge = random.random((num_points, 3)) < draw(st.floats(0, 1))
    points[:, :3][on_edge] = random.choice(edges, int(on_edge.sum()))
    return points


@settings(max_examples=200, deadline=None, derandomize=True)
@given(clouds(), st.integers(1, 120), st.sampled_from([0.5, 0.1, 0.32]), st.sampled_from([0.125, 0.2, 0.4, 8.0]))
def test_numba_equals_the_reference(points: np.ndarray, capacity: int, size_m: float, height_m: float) -> None:
    grid = VoxelGrid((-8 * size_m, 8 * size_m), (-4.0, 4.0), (-5.0, 3.0), (size_m, 0.5, height_m), capacity)
    index = group_voxels(points, grid)
    assert_same(index, group_voxels_reference(points, grid))
    assert_sound(index, points, grid)


def test_the_mean_is_over_all_points_in_every_column() -> None:
    points = np.zeros((30, 5), np.float32)
    points[:, :3] = (0.1, 0.1, 0.1)
    points[:, 3] = np.arange(30)
    points[:, 4] = [0.0, 0.2] * 15
    index = group_voxels(points, GRID)
    assert index.count.tolist() == [30]
    np.testing.assert_allclose(index.features[0], [0.1, 0.1, 0.1, 14.5, 0.1], rtol=1e-6)


def test_rows_go_by_cell_and_height_not_by_the_order_of_points() -> None:
    points = np.array([(7.9, 3.9, 0), (-7.9, -3.9, 1), (-7.9, -3.9, -1), (-7.4, -3.9, 0)], np.float32)
    index = group_voxels(points, GRID)
    assert index.voxel_of_point.tolist() == [4, 2, 1, 3]
    np.testing.assert_array_equal(index.features, points[[2, 1, 3, 0]])


def test_points_without_a_voxel_have_row_zero() -> None:
    points = np.array([(0, 0, 0), (8, 0, 0), (np.nan, 0, 0), (0, 0, np.inf)], np.float32)
    index = group_voxels(points, GRID)
    assert index.voxel_of_point.tolist() == [1, 0, 0, 0]
    assert index.num_out_of_range == 3


def test_too_many_voxels_are_thinned_with_their_points_evenly() -> None:
    random = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(16) + 0.25 - 8, np.arange(8) + 0.25 - 4)
    points = np.stack([x.ravel(), y.ravel(), np.zeros(128)], axis=1).astype(np.float32)
    points = random.permutation(np.repeat(points, 3, axis=0))
    grid = dataclasses.replace(GRID, capacity=64)
    index = group_voxels(points, grid)
    assert (index.voxels.num_found, index.voxels.num_thinned, index.num_thinned) == (128, 64, 192)
    np.testing.assert_array_equal(index.voxels.coordinates()[:, 0].reshape(8, 8), np.tile(np.arange(2, 32, 4), (8, 1)))
    shuffled = group_voxels(random.permutation(points), grid)
    np.testing.assert_array_equal(shuffled.voxels.position, index.voxels.position)


@pytest.mark.real
def test_numba_equals_the_reference_on_ten_real_sweeps(real_data: Path) -> None:
    path = next((real_data / "nuscenes_10sweep").glob("*.bin"))
    points = np.fromfile(path, np.float16).reshape(-1, 5).astype(np.float32)
    grid = VoxelGrid((-51.2, 51.2), (-51.2, 51.2), (-5.0, 3.0), (0.1, 0.1, 0.2), 60_000)
    index = group_voxels(points, grid)
    assert index.voxels.num_found == 83_862
    assert_same(index, group_voxels_reference(points, grid))
