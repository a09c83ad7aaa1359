"""Grouping: numba against the numpy reference bit for bit, and both against what a grid means."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import PillarGrid
from lidarloop_core.pointcloud.grouping import PillarIndex, group_pillars, group_pillars_reference


@pytest.fixture
def grid(spec: ModelSpec) -> PillarGrid:
    return spec.pillars


def points_at(*xyz: tuple[float, float, float]) -> np.ndarray:
    points = np.zeros((len(xyz), 5), np.float32)
    points[:, :3] = xyz
    points[:, 3] = np.arange(len(xyz))
    return points


def assert_same(found: PillarIndex, expected: PillarIndex) -> None:
    for f in dataclasses.fields(PillarIndex):
        a, b = getattr(found, f.name), getattr(expected, f.name)
        np.testing.assert_array_equal(a, b, err_msg=f.name)
        assert getattr(a, "dtype", int) == getattr(b, "dtype", int), f.name


def assert_sound(index: PillarIndex, points: np.ndarray, grid: PillarGrid) -> None:
    """What must hold of any grouping, whatever the implementation."""
    num_lost = index.num_out_of_range + index.num_over_full + index.num_thinned
    assert len(points) == len(index.points) + num_lost
    assert len(index.cell) == len(index.count) == min(index.num_pillars_found, grid.max_pillars)
    assert len(np.unique(index.slot)) == len(index.slot) == len(index.points)
    assert len(np.unique(index.cell)) == len(index.cell)
    assert int(index.count.sum()) == len(index.points)
    if len(index.cell):
        assert index.count.min() >= 1
        assert index.count.max() <= grid.max_points_per_pillar
    pillar, place = np.divmod(index.slot, grid.max_points_per_pillar)
    assert (place < index.count[pillar]).all()
    row, column = np.divmod(index.cell[pillar], grid.shape[0])
    for axis, cell, (low, _), size in (
        (0, column, grid.x_range_m, grid.cell_size_m[0]),
        (1, row, grid.y_range_m, grid.cell_size_m[1]),
    ):
        offset = index.points[:, axis] - (low + size * cell)
        assert (offset > -1e-4).all()
        assert (offset < size + 1e-4).all()


@st.composite
def clouds(draw: st.DrawFn) -> np.ndarray:
    """Random points, with many on cell borders, on the range's ends, just beside both, or not finite."""
    num_points = draw(st.integers(0, 300))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    points = random.uniform(-9, 9, (num_points, 5)).astype(np.float32)
    grid = np.array([-8, -4, -5, 0, 0.5, 3, 4, 8, np.nan, np.inf, -np.inf, 3.4e38], np.float32)
    edges = np.concatenate([grid, np.nextafter(grid, np.float32(9)), np.nextafter(grid, np.float32(-9))])
    on_edge = random.random((num_points, 3)) < draw(st.floats(0, 1))
    points[:, :3][on_edge] = random.choice(edges, int(on_edge.sum()))
    return points


@settings(max_examples=300, deadline=None)
@given(clouds(), st.integers(1, 6), st.integers(1, 80), st.sampled_from([0.5, 0.1, 0.4, 0.32]))
def test_numba_equals_the_reference(points: np.ndarray, max_points: int, max_pillars: int, size_m: float) -> None:
    grid = PillarGrid(
        x_range_m=(-8.0, 8.0), y_range_m=(-8 * size_m, 8 * size_m), z_range_m=(-5.0, 3.0),
        cell_size_m=(size_m, size_m), max_points_per_pillar=max_points, max_pillars=max_pillars,
    )  # fmt: skip
    index = group_pillars(points, grid)
    assert_same(index, group_pillars_reference(points, grid))
    assert_sound(index, points, grid)


def test_cells_count_columns_along_x_and_rows_along_y(grid: PillarGrid) -> None:
    index = group_pillars(points_at((-8, -4, 0), (7.9, -4, 0), (-8, 3.9, 0), (0.6, 0.2, 0)), grid)
    assert grid.shape == (32, 16)
    assert index.cell.tolist() == [0, 31, 15 * 32, 8 * 32 + 17]
    assert index.slot.tolist() == [0, 5, 10, 15]


def test_low_ends_are_in_range_and_high_ends_are_not(grid: PillarGrid) -> None:
    zero = np.float32(0)
    inside = points_at((-8, -4, -5), (np.nextafter(np.float32(8), zero), np.nextafter(np.float32(4), zero), 2.999))
    outside = points_at((8, 0, 0), (0, 4, 0), (0, 0, 3), (-8.001, 0, 0), (0, 0, -5.001), (np.nan, 0, 0), (0, np.inf, 0))
    assert group_pillars(inside, grid).cell.tolist() == [0, 32 * 16 - 1]
    index = group_pillars(outside, grid)
    assert index.num_out_of_range == 7
    assert index.points.shape == (0, 5)
    assert index.cell.shape == (0,)


def test_pillars_are_numbered_by_first_point_and_keep_the_first_points(grid: PillarGrid) -> None:
    a, b = (0.1, 0.1, 0.0), (5.1, 0.1, 0.0)
    index = group_pillars(points_at(b, *[a] * 7, b), grid)
    assert index.count.tolist() == [2, 5]
    assert index.slot.tolist() == [0, 5, 6, 7, 8, 9, 1]
    assert index.points[:, 3].tolist() == [0, 1, 2, 3, 4, 5, 8]
    assert index.num_over_full == 2


def test_too_many_pillars_are_thinned_evenly_everywhere(grid: PillarGrid) -> None:
    """Twice the capacity: any stretch of the grid keeps half of its pillars, so that objects anywhere stay."""
    x, y = np.meshgrid(np.arange(16) * 0.5 + 0.25 - 8, np.arange(8) * 0.5 + 0.25 - 4)
    points = points_at(*[(a, b, 0.0) for a, b in zip(x.ravel(), y.ravel(), strict=True)])
    order = np.random.default_rng(1).permutation(len(points))
    index = group_pillars(points[order], grid)
    assert index.num_pillars_found == 128
    assert index.num_thinned == 64
    canvas = np.zeros(grid.shape[::-1], int)
    canvas.ravel()[index.cell] = 1
    for row in range(8):
        for start in range(0, 16, 4):
            assert canvas[row, start : start + 4].sum() == 2
    # Which cells stay does not depend on the order of the points.
    assert set(index.cell.tolist()) == set(group_pillars(points, grid).cell.tolist())


def test_columns_beyond_the_position_travel_unchanged(grid: PillarGrid) -> None:
    points = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
    points[:, 4] = np.nan
    index = group_pillars(points, grid)
    np.testing.assert_array_equal(index.points, points)


def test_a_cloud_that_is_no_contiguous_float32_is_taken_too(grid: PillarGrid) -> None:
    points = np.random.default_rng(0).normal(size=(50, 10))
    assert_same(group_pillars(points[:, ::2], grid), group_pillars(points[:, ::2].astype(np.float32).copy(), grid))


@pytest.mark.real
def test_numba_equals_the_reference_on_a_real_keyframe(real_data: Path) -> None:
    path = next((real_data / "nuscenes_keyframe").rglob("*.bin"))
    points = np.fromfile(path, np.float32).reshape(-1, 5)
    grid = PillarGrid(
        x_range_m=(-51.2, 51.2), y_range_m=(-51.2, 51.2), z_range_m=(-5.0, 3.0), cell_size_m=(0.4, 0.4),
        max_points_per_pillar=20, max_pillars=16000,
    )  # fmt: skip
    for capacity in (16000, 2000):
        limited = dataclasses.replace(grid, max_pillars=capacity)
        index = group_pillars(points, limited)
        assert_same(index, group_pillars_reference(points, limited))
        assert_sound(index, points, limited)
