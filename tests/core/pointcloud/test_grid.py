"""Grids: their shapes in closed form, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.errors import ModelFileError
from lidarloop_core.pointcloud.grid import PillarGrid, VoxelGrid, VoxelLevel

PILLARS = PillarGrid((-8.0, 8.0), (-4.0, 4.0), (-5.0, 3.0), (0.5, 0.5), max_points_per_pillar=5, max_pillars=64)
VOXELS = VoxelGrid((-51.2, 51.2), (-51.2, 51.2), (-5.0, 3.0), (0.1, 0.1, 0.2), capacity=100_000)


def test_shape_is_columns_along_x_and_rows_along_y() -> None:
    assert PILLARS.shape == (32, 16)
    assert PILLARS.num_cells == 512
    # 102.4 / 0.4 is 255.99999999999997 in floating point.
    wide = dataclasses.replace(PILLARS, x_range_m=(-51.2, 51.2), y_range_m=(-51.2, 51.2), cell_size_m=(0.4, 0.4))
    assert wide.shape == (256, 256)
    assert VOXELS.shape == (1024, 1024, 40)


def test_capacity_is_no_more_than_the_cells() -> None:
    assert (PILLARS.most_pillars, PILLARS.most_points) == (64, 320)
    all_cells = dataclasses.replace(PILLARS, max_pillars=10_000)
    assert (all_cells.most_pillars, all_cells.most_points) == (512, 2560)
    assert all_cells.halved().max_pillars == 256
    assert dataclasses.replace(PILLARS, max_pillars=1).halved().max_pillars == 1


def test_values_have_one_form() -> None:
    same = PillarGrid([-8, 8], [-4, 4], (-5, 3), [0.5, 0.5], 5, 64)  # type: ignore[arg-type]
    assert same == PILLARS
    assert repr(same) == repr(PILLARS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_range_m": (8.0, -8.0)}, r"PillarGrid.x_range_m received \(8.0, -8.0\); expected the lower end first"),
        ({"x_range_m": (math.nan, 8.0)}, "received nan; expected a number from -10000 to 10000"),
        ({"z_range_m": (-math.inf, 3.0)}, "received -inf"),
        ({"y_range_m": (-4.0, 4.1)}, r"\(-4, 4.1\) m with cells of 0.5 m \(16.2 cells\); expected a whole number of"),
        ({"y_range_m": (-4.0,)}, "expected 2 values"),
        ({"y_range_m": "ab"}, "expected 2 values"),
        ({"cell_size_m": (-0.5, 0.5)}, "PillarGrid.cell_size_m received -0.5"),
        ({"cell_size_m": (100.0, 0.5)}, r"\(0.16 cells\)"),
        ({"max_pillars": 0}, "PillarGrid.max_pillars received 0; expected a whole number from 1"),
        ({"max_pillars": 10**9}, "PillarGrid.max_pillars received 1000000000"),
        ({"max_pillars": 2.5}, "received 2.5; expected a whole number"),
        ({"max_pillars": True}, "received True; expected a whole number"),
        ({"max_points_per_pillar": "many"}, "received 'many'; expected a whole number"),
        ({"x_range_m": (0.0, 10_000.0), "y_range_m": (0.0, 10_000.0)}, "20000 × 20000 cells"),
        (
            {
                "x_range_m": (0.0, 2000.0),
                "y_range_m": (0.0, 1000.0),
                "max_points_per_pillar": 1000,
                "max_pillars": 10**7,
            },
            "8000000 pillars of 1000",
        ),
    ],
)
def test_impossible_pillars_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        dataclasses.replace(PILLARS, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z_range_m": (-10.0, 3.0)}, "65 layers; expected at most 64"),
        ({"z_range_m": (-5.0, 3.1)}, "expected a whole number of cells"),
        ({"cell_size_m": (0.1, 0.1)}, "expected 3 values"),
        ({"capacity": 0}, "VoxelGrid.capacity received 0"),
        ({"levels": ((1, 2),)}, "expected VoxelLevel"),
        ({"levels": (VoxelLevel(9),) * 9}, "expected 0 to 8 values"),
        ({"levels": (VoxelLevel(9, padding=(0, 0, 0), stride=(8, 8, 8)),) * 3}, "level 3 of .* expected at least one"),
    ],
)
def test_impossible_voxels_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        dataclasses.replace(VOXELS, **change)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"capacity": 10**9}, "VoxelLevel.capacity"),
        ({"capacity": 5, "stride": (0, 2, 2)}, "VoxelLevel.stride received 0"),
        ({"capacity": 5, "kernel": (3, 3)}, "expected 3 values"),
        ({"capacity": 5, "kernel": (1, 3, 3)}, "VoxelLevel.padding"),
    ],
)
def test_impossible_levels_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        VoxelLevel(**values)


axis = st.tuples(st.integers(1, 40), st.integers(1, 4), st.integers(1, 5)).flatmap(
    lambda a: st.tuples(*map(st.just, a), st.integers(0, a[2] - 1))
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.tuples(axis, axis, axis))
def test_a_levels_shape_is_the_number_of_places_of_its_kernel(axes: tuple[tuple[int, int, int, int], ...]) -> None:
    cells, stride, kernel, padding = zip(*axes, strict=True)
    level = VoxelLevel(1, stride, kernel, padding)
    expected = [len(range(-p, n + p - k + 1, s)) for n, s, k, p in zip(cells, stride, kernel, padding, strict=True)]
    found = level.shape_of(cells)
    assert [max(0, size) for size in found] == expected


def test_four_levels_of_a_field_network() -> None:
    grid = dataclasses.replace(VOXELS, levels=(VoxelLevel(60_000), VoxelLevel(30_000), VoxelLevel(10_000)))
    assert grid.level_shapes == ((1024, 1024, 40), (512, 512, 20), (256, 256, 10), (128, 128, 5))
    assert grid.level_capacities == (100_000, 60_000, 30_000, 10_000)
    assert grid.halved().level_capacities == (50_000, 30_000, 15_000, 5000)
