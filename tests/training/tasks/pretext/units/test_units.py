from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lidarloop_core.errors import ConfigError
from lidarloop_training.tasks.pretext.units.sightings import Sightings
from lidarloop_training.tasks.pretext.units.units import UnitConfig, Units, find_units, merge_seeds
from tests.training.tasks.pretext.units.scenes import block, rings

CAR = block((10.0, 4.0, -1.0), (4.4, 1.8, 1.0), 0.2)
WALKER = block((8.0, -5.0, -0.9), (0.4, 0.4, 1.4), 0.1)
WALL = block((0.0, 20.0, 0.0), (40.0, 0.2, 3.0), 0.2)
GROUND = rings(lambda xy: np.full(len(xy), -1.8, np.float32), noise_m=0.01)
STREET = np.concatenate([CAR, WALKER, WALL, GROUND])
PARTS = np.repeat(np.arange(4), [len(CAR), len(WALKER), len(WALL), len(GROUND)])
CONFIG = UnitConfig(num_seeds=128)


def seen_by_one(num_points: int, seen: np.ndarray | None = None) -> Sightings:
    point = np.arange(num_points) if seen is None else np.flatnonzero(seen)
    return Sightings(point, np.zeros_like(point), np.zeros((len(point), 2), np.float32), ((8, 8),), num_points)


def street_units(config: UnitConfig = CONFIG, seed: int = 0, seen: np.ndarray | None = None) -> Units:
    return find_units(STREET, seen_by_one(len(STREET), seen), config, np.random.default_rng(seed))


def test_seeds_in_one_cluster_become_one_unit_with_all_its_points() -> None:
    #                    seed 0, its context | seed 1 in cluster 4 | seed 2 in 4 | cluster 7 | cluster 2 with seed 3
    cluster = np.array([-1, -1, 4, 4, 4, 4, 7, 7, 2, 2, -1], np.int32)
    context = np.array([0, 0, 1, 1, 2, 0, 0, -1, 3, -1, 1], np.int32)
    units = merge_seeds(context, np.array([0, 2, 4, 8]), cluster)
    assert units.is_instance.tolist() == [True, True, False]
    assert units.unit_of_point.tolist() == [2, 2, 1, 1, 1, 1, 2, -1, 0, 0, -1]


def test_without_clusters_every_seed_stays_a_unit() -> None:
    units = merge_seeds(np.array([0, 1, 1, -1], np.int32), np.array([0, 2]), np.full(4, -1, np.int32))
    assert units.unit_of_point.tolist() == [0, 1, 1, -1]
    assert not units.is_instance.any()


def test_objects_are_one_unit_each_and_a_wall_is_many() -> None:
    units = street_units()
    car, walker, wall = (units.unit_of_point[part == PARTS] for part in range(3))
    for instance in (car, walker):
        assert len(np.unique(instance)) == 1
        assert units.is_instance[instance[0]]
    assert car[0] != walker[0]
    assert len(np.unique(wall[wall >= 0])) > 30
    assert not units.is_instance[wall[wall >= 0]].any()


def test_the_ground_is_in_no_unit() -> None:
    assert (street_units().unit_of_point[PARTS == 3] == -1).all()


@pytest.mark.parametrize("context", ["neighbours", "pillar"])
@pytest.mark.parametrize("sampling", ["farthest", "random"])
def test_every_unit_has_points_and_every_point_one_unit_at_most(context: str, sampling: str) -> None:
    units = street_units(dataclasses.replace(CONFIG, context=context, sampling=sampling))
    counts = np.bincount(units.unit_of_point + 1, minlength=units.num_units + 1)
    assert (counts[1:] > 0).all()
    assert len(counts) == units.num_units + 1
    assert units.unit_of_point.dtype == np.int32


def test_only_points_that_a_camera_sees_are_in_units() -> None:
    seen = STREET[:, 1] > 4.0
    units = street_units(seen=seen)
    assert (units.unit_of_point[~seen] == -1).all()
    assert len(np.unique(units.unit_of_point[(PARTS == 0) & seen])) == 1
    none = street_units(seen=np.zeros(len(STREET), np.bool_))
    assert none.num_units == 0
    assert (none.unit_of_point == -1).all()


def test_far_points_and_the_vehicle_itself_are_in_no_unit() -> None:
    roof = block((0.0, 0.0, -0.3), (1.0, 1.0, 0.4), 0.1)
    far = block((0.0, -60.0, -1.0), (2.0, 2.0, 1.0), 0.2)
    cloud = np.concatenate([roof, far, STREET])
    units = find_units(cloud, seen_by_one(len(cloud)), CONFIG, np.random.default_rng(0))
    assert (units.unit_of_point[: len(roof) + len(far)] == -1).all()


def test_units_depend_on_the_seed_alone() -> None:
    np.testing.assert_array_equal(street_units(seed=3).unit_of_point, street_units(seed=3).unit_of_point)
    assert (street_units(seed=3).unit_of_point != street_units(seed=4).unit_of_point).any()


def test_without_instances_every_seed_is_a_unit() -> None:
    units = street_units(dataclasses.replace(CONFIG, clusters=None))
    assert units.num_units == CONFIG.num_seeds
    assert not units.is_instance.any()


def test_points_that_are_not_finite_are_in_no_unit() -> None:
    cloud = np.concatenate([np.full((3, 3), np.nan, np.float32), STREET])
    units = find_units(cloud, seen_by_one(len(cloud)), CONFIG, np.random.default_rng(0))
    np.testing.assert_array_equal(units.unit_of_point[3:], street_units().unit_of_point)
    assert (units.unit_of_point[:3] == -1).all()


def test_an_empty_cloud_has_no_units() -> None:
    units = find_units(np.zeros((0, 5), np.float32), seen_by_one(0), CONFIG, np.random.default_rng(0))
    assert units.num_units == 0


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_seeds"):
        UnitConfig(num_seeds=1)
