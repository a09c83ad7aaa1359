from __future__ import annotations

import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.labelling.points.ground_height import MAX_RANGE_M, GroundHeight, sensor_height_m


def _rings(
    seed: int, height: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], *, noise_m: float = 0.02
) -> npt.NDArray[Any]:
    """A LiDAR's rings on a ground given as a function of x and y."""
    rng = np.random.default_rng(seed)
    radius = np.repeat(np.geomspace(4.0, 50.0, 24), 600)
    angle = rng.uniform(-np.pi, np.pi, len(radius))
    xy = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return np.column_stack([xy, height(xy) + rng.normal(0, noise_m, len(xy))]).astype(np.float32)


def _box(
    center: Sequence[float], size: Sequence[float], rng: np.random.Generator, number: int = 150
) -> npt.NDArray[Any]:
    """Points on and in a box, from a little above its underside."""
    share = rng.uniform((-0.5, -0.5, 0.2), (0.5, 0.5, 1.0), (number, 3))
    return (np.array(center) + share * size).astype(np.float32)


PLACES = np.random.default_rng(5).uniform(-32, 32, (200, 2))


@settings(max_examples=15, deadline=None)
@given(slope=st.tuples(st.floats(-0.12, 0.12), st.floats(-0.12, 0.12)), height=st.floats(-3, 1), seed=st.integers(0, 9))
def test_a_slope_is_found(slope: tuple[float, float], height: float, seed: int) -> None:
    def plane(xy: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return height + xy @ np.array(slope)

    ground = GroundHeight(_rings(seed, plane))
    np.testing.assert_allclose(ground.at(PLACES), plane(PLACES), atol=0.06)


def test_a_hill_is_followed() -> None:
    def hill(xy: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return 1.5 * np.sin(xy[:, 0] / 15) - 1.8

    off = GroundHeight(_rings(0, hill)).at(PLACES) - hill(PLACES)
    assert np.abs(off).mean() < 0.05
    assert np.abs(off).max() < 0.25


def test_things_on_a_slope_are_not_ground() -> None:
    rng = np.random.default_rng(2)

    def plane(xy: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return 0.08 * xy[:, 0] - 1.8

    cloud = _rings(1, plane)
    things = []
    for x, y in rng.uniform(-35, 35, (40, 2)):
        size = np.array([4.5, 2.0, 1.5])
        underside = plane(np.array([[x, y]]))[0]
        hidden = (np.abs(cloud[:, :2] - (x, y)) < size[:2] / 2).all(axis=1)
        cloud = cloud[~hidden]  # what stands on the ground hides it
        things.append(_box((x, y, underside), size, rng))
    wall = np.column_stack([np.full(3000, 20.0), rng.uniform(-40, 40, 3000), rng.uniform(0.1, 6, 3000)])
    wall[:, 2] += plane(wall)
    ground = GroundHeight(np.concatenate([cloud, *things, wall.astype(np.float32)]))
    off = ground.at(PLACES) - plane(PLACES)
    assert np.abs(off).mean() < 0.03
    assert np.abs(off).max() < 0.2


def test_reflections_below_the_ground_do_not_lower_it() -> None:
    rng = np.random.default_rng(3)
    cloud = _rings(2, lambda xy: np.full(len(xy), -1.8))
    below = cloud[rng.random(len(cloud)) < 0.02] - np.array([0, 0, 1.5], np.float32)
    assert np.abs(GroundHeight(np.concatenate([cloud, below])).at(PLACES) + 1.8).max() < 0.1


def test_order_of_the_points_does_not_matter() -> None:
    cloud = _rings(4, lambda xy: 0.05 * xy[:, 1] - 1.8)
    shuffled = np.random.default_rng(0).permutation(cloud)
    np.testing.assert_allclose(GroundHeight(shuffled).at(PLACES), GroundHeight(cloud).at(PLACES), atol=1e-6)


def test_it_answers_where_nothing_was_seen() -> None:
    cloud = _rings(6, lambda xy: 0.02 * xy[:, 0] - 1.8)
    ahead = cloud[(cloud[:, 0] > 0) & (np.abs(cloud[:, 1]) < 20)]
    places = np.array([[-30.0, 0.0], [60.0, 60.0], [2 * MAX_RANGE_M, 0.0]])
    found = GroundHeight(ahead).at(places)
    assert np.isfinite(found).all()
    assert np.abs(found[:2] - (0.02 * places[:2, 0] - 1.8)).max() < 0.5
    assert found[2] == GroundHeight(ahead).at(np.array([[MAX_RANGE_M, 0.0]]))[0]


def test_few_points_and_none() -> None:
    np.testing.assert_allclose(GroundHeight(np.array([[5.0, 5.0, -1.7]])).at(np.array([[0.0, 9.0]])), -1.7)
    assert np.isnan(GroundHeight(np.zeros((0, 4), np.float32)).at(np.zeros((3, 2)))).all()
    assert GroundHeight(_rings(0, lambda xy: xy[:, 0] * 0)).at(np.zeros((0, 2))).shape == (0,)


@pytest.mark.real
def test_under_labelled_boxes(real_data: Path) -> None:
    """The ground below the boxes that people drew is where these end."""
    from lidarloop_training.data.av2.reader import Av2Source
    from lidarloop_training.data.kitti.object import KittiObjectSource

    for source, median_m, ninth_m in (
        (KittiObjectSource(real_data / "kitti_object_labelled", cameras=False), 0.06, 0.2),
        (Av2Source(real_data / "av2" / "sensor", cameras=False), 0.08, 0.2),
    ):
        off = []
        for sample in (source[i] for i in range(len(source))):
            boxes = sample.annotations.boxes[sample.annotations.num_lidar_pts > 0].values.astype(np.float64)
            boxes = boxes[np.hypot(boxes[:, 0], boxes[:, 1]) < 60]
            ground = GroundHeight(sample.keyframe.points)
            off.append(ground.at(boxes[:, :2]) - (boxes[:, 2] - boxes[:, 5] / 2))
        off_m = np.abs(np.concatenate(off))
        assert len(off_m) > 50
        assert np.median(off_m) < median_m
        assert np.quantile(off_m, 0.9) < ninth_m


OT128 = np.radians(np.concatenate([np.arange(-25, -6, 1.0), np.arange(-6, 2, 0.125), np.arange(2, 15, 0.6)]))
XT16 = np.radians(np.arange(-15, 16, 2.0))
FLAT_ROOF = (0.3, -6.0, 1.0, 1.3)


def _scan(
    elevations: npt.NDArray[Any],
    height_m: float,
    walls_m: tuple[float, float],
    roof: tuple[float, float, float, float] | None = None,
) -> npt.NDArray[np.float32]:
    """A revolution between four walls on a flat ground.

    Args:
        elevations: of the channels, radians.
        height_m: height of the LiDAR above the ground, metres.
        walls_m: distance of the walls along x and along y.
        roof: of the vehicle itself: depth below the LiDAR, first and last x, largest |y|, metres.
    """
    azimuth, elevation = np.meshgrid(np.linspace(-np.pi, np.pi, 600, endpoint=False), elevations)
    ray = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], -1)
    ray = ray.reshape(-1, 3)
    with np.errstate(divide="ignore"):
        range_m = np.minimum(*(wall / np.abs(ray[:, i]) for i, wall in enumerate(walls_m)))
        range_m = np.minimum(range_m, np.where(ray[:, 2] < 0, -height_m / ray[:, 2], np.inf))
        if roof is not None:
            depth, first, last, half_width = roof
            to_roof = np.where(ray[:, 2] < 0, -depth / ray[:, 2], np.inf)
            x, y = ray[:, 0] * to_roof, ray[:, 1] * to_roof
            on_roof = (x > first) & (x < last) & (np.abs(y) < half_width) & (to_roof < range_m)
            range_m = np.where(on_roof, to_roof, range_m)
    noise = np.random.default_rng(0).normal(0, 0.02, len(ray))
    return (ray * (range_m + noise)[:, None]).astype(np.float32)


@pytest.mark.parametrize(
    ("elevations", "height_m", "walls_m", "roof"),
    [
        (OT128, 2.5, (24.0, 8.0), None),
        (OT128, 2.5, (10.0, 5.0), None),
        (XT16, 0.9, (24.0, 8.0), None),
        (XT16, 0.9, (10.0, 5.0), None),
        (OT128, 1.85, (36.0, 12.0), FLAT_ROOF),
    ],
)
def test_a_sensors_height_is_found_between_walls_and_above_its_vehicles_roof(
    elevations: npt.NDArray[Any],
    height_m: float,
    walls_m: tuple[float, float],
    roof: tuple[float, float, float, float] | None,
) -> None:
    """Channels that crowd at the horizon see many points of the walls there, and dense ones of a white roof."""
    cloud = _scan(elevations, height_m, walls_m, roof)
    assert sensor_height_m(cloud) == pytest.approx(height_m, abs=0.05)
    in_vehicle_frame = cloud + np.float32([0.8, 0, height_m])
    assert sensor_height_m(in_vehicle_frame) == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("ground_z", [-1.8, -0.55, -3.0])
def test_a_sensors_height_is_found_above_cars_walls_and_trees(ground_z: float) -> None:
    rng = np.random.default_rng(1)
    ground = np.column_stack([rng.uniform(-20, 20, (3000, 2)), rng.normal(ground_z, 0.03, 3000)])
    walls = np.column_stack([rng.uniform(-20, 20, (3000, 2)), rng.uniform(ground_z, 3.0, 3000)])
    height_m = sensor_height_m(np.vstack([ground, walls]).astype(np.float32))
    assert height_m == pytest.approx(-ground_z, abs=0.05)


def test_a_sensors_height_is_unknown_where_too_little_ground_is_seen() -> None:
    rng = np.random.default_rng(1)
    assert sensor_height_m(rng.uniform(-20, 20, (3000, 3)).astype(np.float32)) is None
    assert sensor_height_m(np.zeros((0, 4), np.float32)) is None
    assert sensor_height_m(np.full((500, 3), np.nan, np.float32)) is None
    upwards = np.radians(np.arange(-2, 20, 0.25))
    assert sensor_height_m(_scan(upwards, 2.5, (30.0, 8.0))) is None
    for walls_m in ((8.0, 4.0), (4.0, 2.0)):
        assert sensor_height_m(_scan(OT128, 2.5, walls_m)) in (None, pytest.approx(2.5, abs=0.05))


@pytest.mark.real
@pytest.mark.parametrize("frame", ["00", "36", "78"])
def test_a_real_cars_roof_is_not_the_ground(real_data: Path, frame: str) -> None:
    """PandaSet's Pandar64 looks down on the white roof of its own car."""
    packed = real_data / "streets" / "unpack.py"
    if not packed.is_file():
        pytest.skip(f"{packed} is not there")
    module = runpy.run_path(str(packed))
    fields = module["decode"]((real_data / "streets" / "pandaset_002" / "lidar" / f"{frame}.npz.xz").read_bytes())
    cloud = fields["xyz"][fields["sensor"] == 0]
    assert sensor_height_m(cloud - np.float32([0.8, 0.0, 1.85])) == pytest.approx(2.15, abs=0.1)
