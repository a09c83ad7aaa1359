"""Limits of clouds, against plain numpy and shapely."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import shapely

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.pointcloud.crop import (
    CropLimits,
    crop,
    inside_region,
    parse_box,
    parse_interval,
    parse_region,
)

BASE_SE3_LIDAR = SE3.from_yaw(0.7, (1.2, 0.1, 2.0))
EGO_BOX = (-1.0, 3.8, -1.0, 1.0, 0.0, 1.6)
REGION = parse_region("30 10, 20 -15, -10 -12, 5 0, -12 14")


@pytest.fixture
def points() -> npt.NDArray[np.float32]:
    random = np.random.default_rng(0)
    return random.uniform((-30, -30, -3, 0), (30, 30, 3, 255), (3000, 4)).astype(np.float32)


def in_base(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return BASE_SE3_LIDAR.transform(points[:, :3].astype(np.float64))


def assert_kept(points: npt.NDArray[np.float32], limits: CropLimits, expected: npt.NDArray[np.bool_]) -> None:
    assert 0 < expected.sum() < len(points)
    np.testing.assert_array_equal(crop(points, limits, BASE_SE3_LIDAR), points[expected])


def test_without_limits_nothing_is_copied(points: npt.NDArray[np.float32]) -> None:
    assert crop(points, CropLimits(), BASE_SE3_LIDAR) is points


def test_range_is_measured_from_the_lidar(points: npt.NDArray[np.float32]) -> None:
    distance = np.linalg.norm(points[:, :3].astype(np.float64), axis=1)
    limits = CropLimits(min_range_m=3.0, max_range_m=20.0)
    assert not limits.needs_mounting
    assert_kept(points, limits, (distance >= 3) & (distance <= 20))


def test_height_is_that_above_the_vehicles_origin(points: npt.NDArray[np.float32]) -> None:
    z = in_base(points)[:, 2]
    assert_kept(points, CropLimits(height_m=(-0.5, 3.0)), (z >= -0.5) & (z <= 3))


def test_the_own_vehicle_is_left_out(points: npt.NDArray[np.float32]) -> None:
    points[:, :3] *= (0.15, 0.15, 0.9)
    low, high = np.reshape(EGO_BOX, (3, 2)).T
    inside = ((in_base(points) >= low) & (in_base(points) <= high)).all(axis=1)
    assert_kept(points, CropLimits(ego_box_m=EGO_BOX), ~inside)


def test_its_shadow_is_left_out_where_rays_pass_through_it(points: npt.NDArray[np.float32]) -> None:
    """Samples along each ray say what the slabs say, but where a ray touches an edge."""
    base, origin = in_base(points), BASE_SE3_LIDAR.translation
    low, high = np.reshape(EGO_BOX, (3, 2)).T
    along = origin + np.linspace(0, 1, 4000)[:, None, None] * (base - origin)
    passes = ((along >= low) & (along <= high)).all(axis=2).any(axis=0)
    found = crop(points, CropLimits(ego_box_m=EGO_BOX, shadow=True), BASE_SE3_LIDAR)
    assert passes.sum() > 50
    kept = np.isin(points[:, 3], found[:, 3])
    assert np.mean(kept == ~passes) > 0.995


def test_a_lidar_inside_the_box_has_no_shadow(points: npt.NDArray[np.float32]) -> None:
    box = (-1.0, 3.8, -1.0, 1.0, 0.0, 2.5)
    plain = crop(points, CropLimits(ego_box_m=box), BASE_SE3_LIDAR)
    np.testing.assert_array_equal(crop(points, CropLimits(ego_box_m=box, shadow=True), BASE_SE3_LIDAR), plain)
    assert len(plain) > 2900


def test_points_outside_the_region_are_left_out(points: npt.NDArray[np.float32]) -> None:
    base = in_base(points)
    assert_kept(points, CropLimits(region_m=REGION), shapely.contains_xy(shapely.Polygon(REGION), base[:, :2]))
    np.testing.assert_array_equal(
        inside_region(base[:, :2], REGION), shapely.contains_xy(shapely.Polygon(REGION), base[:, :2])
    )
    assert inside_region(base[:, :2], np.zeros((0, 2))).all()


def test_without_a_mounting_the_ranges_alone_are_kept(points: npt.NDArray[np.float32]) -> None:
    limits = CropLimits(min_range_m=3.0, height_m=(0.0, 0.1), ego_box_m=EGO_BOX, region_m=REGION)
    np.testing.assert_array_equal(crop(points, limits, None), crop(points, CropLimits(min_range_m=3.0), None))


def test_settings_are_read() -> None:
    assert parse_box("-1 3.8, -1 1, 0 1.6") == EGO_BOX
    assert parse_box("") == ()
    assert parse_interval("-1 4") == (-1, 4)
    assert parse_interval(" ") == (-np.inf, np.inf)
    assert parse_region("").shape == (0, 2)


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_box, "1 2", "expected x, y and z from and to"),
        (parse_box, "1 0, 0 1, 0 1", "expected x, y and z"),
        (parse_interval, "4 -1", "the lowest and the highest"),
        (parse_interval, "a b", "the lowest and the highest"),
        (parse_region, "0 0, 1 1", "three corners"),
        (parse_region, "0 0, 1 1, 2 2", "three corners"),
        (parse_region, "0 0, 1 1 1, 2 2", "three corners"),
        (parse_region, "0 0, nan 1, 2 2", "three corners"),
    ],
)
def test_other_forms_are_refused(parse: object, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(text)  # type: ignore[operator]
