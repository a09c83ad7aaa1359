"""Where the cells of a level lie: against the points that are in them, and the map below."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.group import group_cloud
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import VoxelGrid, VoxelLevel
from lidarloop_training.tasks.distillation.occupied import level_grid, occupied_cells
from tests.builders import VOXEL_DETECTOR, make_spec

HALVED = dataclasses.replace(
    VOXEL_DETECTOR,
    grid=dataclasses.replace(
        VOXEL_DETECTOR.grid,
        levels=(
            VoxelLevel(capacity=1500, kernel=(2, 2, 2), padding=(0, 0, 0)),
            VoxelLevel(capacity=1500, kernel=(2, 2, 2), padding=(0, 0, 0)),
            VoxelLevel(capacity=1500, stride=(1, 1, 1), kernel=(1, 1, 4), padding=(0, 0, 0)),
        ),
    ),
)
"""Windows that do not overlap: a voxel of a level is where its points are."""


def cloud(spec: ModelSpec, num: int = 200) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(0)
    low, high = np.array([spec.grid.x_range_m, spec.grid.y_range_m, spec.grid.z_range_m]).T
    return np.column_stack([rng.uniform(low, high, (num, 3)), np.zeros((num, 2))]).astype(np.float32)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_middles_of_voxels_are_those_of_the_cells_that_hold_the_points(level: int) -> None:
    points = cloud(HALVED)
    grid = level_grid(HALVED, level, stride=4)
    centers = grid.centers_m(occupied_cells(group_cloud(points, HALVED), grid))
    assert isinstance(HALVED.grid, VoxelGrid)
    size = np.array(HALVED.grid.cell_size_m) * 2**level
    low = np.array([low for low, _ in HALVED.grid.ranges_m])
    expected = np.unique(np.floor((points[:, :3].astype(np.float64) - low) / size), axis=0)
    found = np.unique(np.round((centers - low) / size - 0.5, 6), axis=0)
    np.testing.assert_allclose(found, expected)


def test_a_voxel_of_overlapping_windows_lies_in_the_middle_of_its_window() -> None:
    grid = level_grid(VOXEL_DETECTOR, 1, stride=4)  # kernel 3, stride 2, padding 1: cells 2 i - 1 … 2 i + 1
    middle = grid.centers_m(np.array([[3, 2, 1]]))[0]
    np.testing.assert_allclose(middle, [-9.6 + 0.4 * 6.5, -6.4 + 0.4 * 4.5, -5 + 0.5 * 2.5])


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_map_cell_below_a_voxel_holds_its_middle(level: int) -> None:
    grid = level_grid(HALVED, level, stride=4)
    cells = occupied_cells(group_cloud(cloud(HALVED), HALVED), grid)
    x, y = grid.centers_m(cells)[:, :2].T
    expected = np.floor((y + 6.4) / 1.6) * 12 + np.floor((x + 9.6) / 1.6)
    np.testing.assert_array_equal(grid.map_cells(cells), expected)


def test_pillars_lie_on_the_ground_in_the_order_of_the_tensors() -> None:
    spec = make_spec()
    grouped = group_cloud(cloud(spec), spec)
    grid = level_grid(spec, -1, stride=2)
    cells = occupied_cells(grouped, grid)
    np.testing.assert_array_equal(cells[:, 1] * 32 + cells[:, 0], grouped.tensors()["cell"])
    x, y = grid.centers_m(cells).T
    np.testing.assert_array_equal(grid.map_cells(cells), np.floor(y + 4) * 16 + np.floor(x + 8))


def test_a_level_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"voxel_level received 3; expected -3…2"):
        level_grid(HALVED, 3, stride=4)


def test_a_level_without_voxels_has_one_row_that_is_nowhere() -> None:
    empty = group_cloud(np.zeros((0, 5), np.float32), HALVED)
    grid = level_grid(HALVED, -1, stride=4)
    assert grid.map_cell_of_rows(occupied_cells(empty, grid)).tolist() == [-1]
