from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.camera_bev.lift_table import LiftTable, PlacedCamera, dark_table, lift_table, place_of_cell
from lidarloop_core.camera_bev.pictures import ring_of_cameras, trial_pictures
from lidarloop_core.camera_bev.rig import CHUNK, MOST_CHUNKS, CameraRig
from lidarloop_core.geometry.camera import project
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.model.tensors import capacity, sizes_of
from lidarloop_core.pointcloud.grid import PillarGrid
from tests.builders import make_spec

GRID = PillarGrid(
    x_range_m=(-8.0, 8.0),
    y_range_m=(-4.0, 4.0),
    z_range_m=(-5.0, 3.0),
    cell_size_m=(0.5, 0.5),
    max_points_per_pillar=5,
    max_pillars=64,
)
ONE_PIXEL = CameraRig(
    names=("FRONT",), width=1, height=1, stride=1, depth_range_m=(4.0, 6.0), num_depths=2, map_stride=2
)
"""Features at depths of 4.5 and 5.5 m; a map of 16 × 8 cells of one metre."""
RIG = CameraRig(
    names=("FRONT", "LEFT", "BACK"),
    width=48,
    height=24,
    stride=8,
    depth_range_m=(1.0, 9.0),
    num_depths=8,
    map_stride=2,
)
FORWARD = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))


def looking(x: float, y: float, yaw_rad: float) -> PlacedCamera:
    """A camera whose one pixel looks along its optical axis."""
    return PlacedCamera(np.eye(3), 1, 1, SE3.from_yaw(yaw_rad, (x, y, 0.0)) @ FORWARD)


def summed(table: LiftTable, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(cells, C) what a graph computes from the table and values (places, C)."""
    zero = np.zeros((1, values.shape[1]))
    of_rows = np.concatenate([zero, values])[table.places].sum(axis=1)
    of_used = np.concatenate([zero, of_rows])[table.rows].sum(axis=1)
    found: npt.NDArray[np.float64] = np.concatenate([zero, of_used])[table.cells]
    return found


def test_one_pixel_at_a_known_depth_falls_into_its_cell() -> None:
    """From (1, -2) along +x: at 4.5 m to (5.5, -2), column 13 and row 2 of cells of a metre; at 5.5 m one further."""
    table = lift_table([looking(1.0, -2.0, 0.0)], ONE_PIXEL, GRID)
    expected = np.zeros((8, 16))
    expected[2, 13], expected[2, 14] = 1.0, 10.0
    found = summed(table, np.array([[1.0], [10.0]]))
    np.testing.assert_array_equal(found[:, 0].reshape(8, 16), expected)


def test_a_camera_that_looks_left_falls_along_y() -> None:
    table = lift_table([looking(0.5, -3.9, np.pi / 2)], ONE_PIXEL, GRID)
    rows, columns = summed(table, np.array([[1.0], [10.0]]))[:, 0].reshape(8, 16).nonzero()
    assert (rows.tolist(), columns.tolist()) == ([4, 5], [8, 8])


def test_places_project_back_to_the_middles_of_their_cells() -> None:
    """In the camera's own picture, twice as large as the network's: middles lie at 16 i + 7.5 pixels."""
    intrinsics = np.array([[60.0, 0.0, 47.5], [0.0, 60.0, 23.5], [0.0, 0.0, 1.0]])
    camera = PlacedCamera(intrinsics, 96, 48, SE3.from_yaw(0.4, (1.0, 2.0, 0.3)) @ FORWARD)
    places = place_of_cell(camera, RIG)
    pixels, depth = project(camera.lidar_SE3_camera.inverse().transform(places), intrinsics)
    np.testing.assert_allclose(depth.reshape(3, 6, 8), np.broadcast_to(np.arange(8) + 1.5, (3, 6, 8)))
    np.testing.assert_allclose(pixels[:, 0].reshape(3, 6, 8)[0, :, 0], 16 * np.arange(6) + 7.5)
    np.testing.assert_allclose(pixels[:, 1].reshape(3, 6, 8)[:, 0, 5], 16 * np.arange(3) + 7.5)


def test_the_table_sums_as_brute_force_does() -> None:
    cameras = ring_of_cameras(RIG, view_rad=1.8)
    values = np.random.default_rng(0).normal(size=(RIG.num_places, 3))
    expected = np.zeros((8, 16, 3))
    places = np.concatenate([place_of_cell(camera, RIG) for camera in cameras])
    for place, value in zip(places, values, strict=True):
        column, row = int(np.floor(place[0] + 8)), int(np.floor(place[1] + 4))
        if 0 <= column < 16 and 0 <= row < 8 and -5 <= place[2] < 3:
            expected[row, column] += value
    table = lift_table(cameras, RIG, GRID)
    assert table.num_thinned == 0
    np.testing.assert_allclose(summed(table, values), expected.reshape(-1, 3), atol=1e-12)


def test_a_changed_scene_moves_the_places_with_its_points() -> None:
    """Mirrored at the x axis, what fell to y falls to -y."""
    cameras = [ring_of_cameras(RIG)[1], None, None]
    values = np.random.default_rng(1).normal(size=(RIG.num_places, 2))
    plain = summed(lift_table(cameras, RIG, GRID), values).reshape(8, 16, 2)
    mirrored = summed(lift_table(cameras, RIG, GRID, np.diag([1.0, -1.0, 1.0])), values).reshape(8, 16, 2)
    assert np.abs(plain).max() > 0
    np.testing.assert_allclose(mirrored, plain[::-1], atol=1e-12)


def test_a_full_cell_is_thinned_evenly_and_counted() -> None:
    """All of 300 depths in one cell: every place stands for 300 / 128 of them, in order."""
    rig = dataclasses.replace(ONE_PIXEL, depth_range_m=(4.5, 4.9), num_depths=300)
    table = lift_table([looking(0.0, 0.0, 0.0)], rig, GRID)
    room = CHUNK * MOST_CHUNKS
    assert table.num_thinned == 300 - room
    kept = table.places.ravel() - 1
    assert len(kept) == room
    assert set(np.diff(kept)) == {2, 3}
    assert summed(table, np.ones((300, 1))).max() == room


def test_a_dark_rig_gives_zeros_and_fits_the_graph() -> None:
    spec = dataclasses.replace(make_spec(), cameras=RIG)
    tensors = [tensor for tensor in spec.inputs if tensor not in spec.point_inputs]
    assert summed(dark_table(RIG, GRID), np.ones((RIG.num_places, 1))).max() == 0
    largest = capacity(tensors)
    sizes = sizes_of(tensors, trial_pictures(RIG, spec.grid, seed=0).tensors())
    assert all(1 <= size <= largest[name] for name, size in sizes.items())


@pytest.mark.parametrize("map_stride", [1, 4])
def test_no_calibration_needs_more_rows_than_the_model_takes(map_stride: int) -> None:
    """Also where each place has a cell of its own, or all share few."""
    rig = dataclasses.replace(RIG, map_stride=map_stride)
    spec = dataclasses.replace(make_spec(), cameras=rig)
    rng = np.random.default_rng(2)
    for _ in range(3):
        cameras = [
            dataclasses.replace(camera, lidar_SE3_camera=SE3.from_yaw(*rng.uniform(-3, 3, 1)) @ camera.lidar_SE3_camera)
            for camera in ring_of_cameras(rig, view_rad=2.0)
        ]
        sizes = sizes_of(spec.inputs[-3:], lift_table(cameras, rig, spec.grid).tensors())
        assert all(size <= capacity(spec.inputs)[name] for name, size in sizes.items())
