"""The LiDAR in towns made by hand, where closed forms are known."""

from __future__ import annotations

import numpy as np
import pytest

from lidarloop_core.sample import LaneMap
from lidarloop_training.toytown import lidar
from lidarloop_training.toytown.casting import Caster
from lidarloop_training.toytown.lidar import Scan, firing_times, scan
from lidarloop_training.toytown.population.actors import Actor
from lidarloop_training.toytown.solids import actor_shapes
from lidarloop_training.toytown.solids.shapes import METAL, Mesh, box, join
from lidarloop_training.toytown.streets.ground import Ground
from lidarloop_training.toytown.streets.motion import Motion, Parked, Path, Track
from lidarloop_training.toytown.streets.point_classes import MANMADE, POINT_CLASSES
from lidarloop_training.toytown.town import Town

PERIOD_S = 0.1
FLOOR = box((0, 0, -0.5), (400, 400, 1), METAL)


def drive_along_x(speed_mps: float, y: float = 0.0, start_x: float = 0.0, yaw: float = 0.0) -> Track:
    """At ``start_x`` when the time is 0."""
    heading = np.array([np.cos(yaw), np.sin(yaw)])
    start = np.array([start_x, y]) - 100 * heading
    path = Path.along(np.stack([start, start + 300 * heading]), lambda xy: np.zeros(len(xy)), speed_mps)
    return Track(path, Motion.planned(path, 100 - 0.5 * speed_mps, -0.5, 3.0), 1.0, 1.0)


def town(scenery: list[Mesh], actors: list[Actor], ego: Track | Parked) -> Town:
    ground = Ground(np.zeros((1, 4)), np.zeros(2), np.zeros((1, 1), np.uint8))
    casters = tuple(Caster(a.shape.mesh) for a in actors)
    caster = Caster(join([FLOOR, *scenery]))
    labels = np.full(len(caster.mesh.faces), MANMADE, np.uint8)
    return Town(ground, caster, 0, (), labels, tuple(actors), casters, ego, LaneMap((), ()), np.array([0.0, 0, 1]))  # type: ignore[arg-type]


def car(track: Track | Parked) -> Actor:
    return Actor("car-00", 0, actor_shapes.car(np.random.default_rng(0)), track)


def standing(x: float, y: float, yaw: float = 0.0) -> Parked:
    return Parked(np.array([x, y, 0.0, yaw]))


def sweep(world: Town, stamp_s: float = 0.0) -> Scan:
    return scan(world, stamp_s, PERIOD_S, np.random.default_rng(0))


def in_world(world: Town, result: Scan, stamp_s: float = 0.0) -> np.ndarray:
    """Points moved to the world from where each was fired."""
    rotation, translation = world.ego_matrices(firing_times(stamp_s, PERIOD_S))
    local = result.points[:, :3] + lidar.EGO_SE3_LIDAR.translation
    k = result.azimuth_index
    return np.einsum("nij,nj->ni", rotation[k], local) + translation[k]


def test_beams_meet_flat_ground_where_trigonometry_puts_them() -> None:
    result = sweep(town([], [], standing(0, 0)))
    ring = result.points[:, 4].astype(int)
    assert ring.max() < np.searchsorted(lidar.ELEVATIONS_RAD, 0.0), "only beams that look down meet the ground"
    distance = np.linalg.norm(result.points[:, :3], axis=1)
    expected = 1.84 / -np.sin(lidar.ELEVATIONS_RAD[ring])
    near = expected < 30
    assert np.abs(distance - expected)[near].max() < 6 * lidar.RANGE_NOISE_M
    assert np.std((distance - expected)[near]) == pytest.approx(lidar.RANGE_NOISE_M, rel=0.05)
    azimuth = np.arctan2(result.points[:, 1], result.points[:, 0])
    np.testing.assert_allclose(azimuth, lidar.AZIMUTHS_RAD[result.azimuth_index], atol=1e-5)
    assert (np.diff(result.azimuth_index) >= 0).all()


def test_the_last_column_is_fired_at_the_stamp() -> None:
    times = firing_times(2.0, 0.1)
    assert times[-1] == pytest.approx(2.0)
    np.testing.assert_allclose(np.diff(times), 0.1 / lidar.NUM_AZIMUTHS)


def test_a_wall_is_skewed_by_the_sweeps_own_motion_and_flat_once_compensated() -> None:
    speed = 10.0
    world = town([box((21, 0, 5), (2, 60, 10), METAL)], [], drive_along_x(speed))
    result = sweep(world)
    wall = result.points[:, 2] > -1.0
    x = result.points[wall, 0]
    fired = firing_times(0.0, PERIOD_S)[result.azimuth_index[wall]]
    ego_x = world.ego_matrices(fired)[1][:, 0]
    np.testing.assert_allclose(ego_x, speed * fired, atol=1e-6)
    np.testing.assert_allclose(x, 20 - 0.9 - ego_x, atol=0.1)  # as seen from where the sensor was
    flat = lidar.compensated(result, world, 0.0, PERIOD_S)
    assert np.std(flat[wall, 0]) < 0.025
    assert np.std(x) > 2 * np.std(flat[wall, 0])
    np.testing.assert_array_equal(flat[:, 3:], result.points[:, 3:])


def test_compensated_points_lie_where_the_world_has_them() -> None:
    circle = np.linspace(-0.4, 0.4, 50)
    bend = Path.along(np.column_stack([25 * np.sin(circle), 25 - 25 * np.cos(circle)]), lambda xy: 0 * xy[:, 0], 10.0)
    track = Track(bend, Motion.planned(bend, 5.0, -1, 1), 0.1, 0.1)
    world = town([box((21, 0, 5), (2, 60, 10), METAL)], [], track)
    result = sweep(world)
    points = lidar.compensated(result, world, 0.0, PERIOD_S)[:, :3].astype(float)
    pose = world.world_SE3_ego(0.0) @ lidar.EGO_SE3_LIDAR
    np.testing.assert_allclose(pose.transform(points), in_world(world, result), atol=1e-4)


def test_nothing_comes_back_from_behind_a_wall() -> None:
    wall = box((10, 0, 5), (0.5, 30, 10), METAL)
    hidden, seen = car(standing(16, 0)), car(standing(-16, 0))
    result = sweep(town([wall], [hidden, seen], standing(0, 0)))
    assert result.num_points.tolist()[0] == 0
    assert result.visible_share[0] == 0.0
    assert result.num_points[1] > 50
    assert result.visible_share[1] == 1.0


def test_an_actor_hides_another_partly() -> None:
    hidden, hiding = car(standing(20, 1.0)), car(standing(10, 0))
    result = sweep(town([], [hidden, hiding], standing(0, 0)))
    assert result.visible_share[1] == 1.0
    assert 0.0 < result.visible_share[0] < 0.9


def test_points_are_labelled_by_what_they_lie_on() -> None:
    cyclist = Actor("bike", 7, actor_shapes.ridden_bicycle(np.random.default_rng(0)), standing(8, 3))
    result = sweep(town([], [car(standing(12, -4)), cyclist], standing(0, 0)))
    assert (result.label[result.actor == -1] == MANMADE).all()
    assert {POINT_CLASSES[label] for label in result.label[result.actor == 0]} == {"car"}
    assert {POINT_CLASSES[label] for label in result.label[result.actor == 1]} == {"bicycle"}


def test_an_actor_between_two_beams_has_unknown_visibility() -> None:
    cone = Actor("cone", 8, actor_shapes.traffic_cone(np.random.default_rng(0)), standing(75, 0))
    result = sweep(town([], [cone], standing(0, 0)))
    assert result.num_points[0] == 0


@pytest.mark.parametrize("yaw", [0.0, 2.0])
def test_points_of_a_parked_car_lie_on_it_once_compensated(yaw: float) -> None:
    parked = car(standing(2, 8, yaw))
    world = town([], [parked], drive_along_x(12.0))
    result = sweep(world)
    points = in_world(world, result)[result.actor == 0] - parked.poses(np.zeros(1))[0, :3]
    assert len(points) > 200
    c, s = np.cos(yaw), np.sin(yaw)
    local = points @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    assert (np.abs(local) - parked.shape.size / 2).max() < 0.03 + 3 * lidar.RANGE_NOISE_M
    raw = result.points[result.actor == 0, :3] + lidar.EGO_SE3_LIDAR.translation
    assert np.abs(raw.mean(axis=0) - points.mean(axis=0) - parked.poses(np.zeros(1))[0, :3])[0] > 0.5


def test_points_of_a_moving_car_lie_on_it_where_it_was_then() -> None:
    moving = car(drive_along_x(10.0, y=6.0, start_x=12.0, yaw=np.pi))
    world = town([], [moving], standing(0, 0))
    result = sweep(world)
    mine = result.actor == 0
    fired = firing_times(0.0, PERIOD_S)[result.azimuth_index[mine]]
    pose = moving.poses(fired)
    offset = in_world(world, result)[mine] - pose[:, :3]
    assert len(offset) > 100
    assert (np.abs(offset) - moving.shape.size / 2).max() < 0.03 + 3 * lidar.RANGE_NOISE_M
    assert np.abs(pose[:, 0] - moving.poses(np.zeros(1))[0, 0]).max() > 0.5


def test_brightness_follows_material() -> None:
    cone = Actor("cone", 8, actor_shapes.traffic_cone(np.random.default_rng(0)), standing(4, 0))
    result = sweep(town([], [cone], standing(0, 0)))
    intensity = result.points[result.actor == 0, 3]
    assert intensity.max() > 150, "its collar throws light back"
    assert intensity.min() >= 0
    assert result.points[:, 3].max() <= 255
    np.testing.assert_array_equal(intensity, np.round(intensity))
