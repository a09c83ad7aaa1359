"""The LiDAR in towns made by hand, where closed forms are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lidarloop_core.sample import LaneMap
from lidarloop_training.toytown import lidar
from lidarloop_training.toytown.casting import Caster
from lidarloop_training.toytown.lidar import Scan, scan
from lidarloop_training.toytown.lidar_styles import (
    HDL32E,
    STYLES,
    IntensityLaw,
    LidarName,
    LidarStyle,
    ScanPattern,
    Spinning,
    Window,
)
from lidarloop_training.toytown.population.actors import Actor
from lidarloop_training.toytown.solids import actor_shapes
from lidarloop_training.toytown.solids.shapes import METAL, Mesh, box, join
from lidarloop_training.toytown.streets.ground import Ground
from lidarloop_training.toytown.streets.motion import Motion, Parked, Path, Track
from lidarloop_training.toytown.streets.point_classes import MANMADE, POINT_CLASSES
from lidarloop_training.toytown.town import Town

PERIOD_S = 0.1
NUM_AZIMUTHS = 1084
ELEVATIONS_DEG = tuple(np.linspace(-30.67, 10.67, 32).tolist())
ELEVATIONS_RAD = np.radians(np.linspace(-30.67, 10.67, 32))
AZIMUTHS_RAD = np.pi - 2 * np.pi * (np.arange(NUM_AZIMUTHS) + 0.5) / NUM_AZIMUTHS
"""Of the HDL-32E, the town's own, whose drives must stay as they are."""
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


def sweep(world: Town, stamp_s: float = 0.0, style: LidarStyle = HDL32E) -> Scan:
    return scan(world, stamp_s, PERIOD_S, np.random.default_rng(0), style)


def in_world(world: Town, result: Scan, stamp_s: float = 0.0) -> np.ndarray:
    """Points moved to the world from where each was fired."""
    rotation, translation = world.ego_matrices(HDL32E.pattern.firing_times(stamp_s, PERIOD_S))
    local = result.points[:, :3] + HDL32E.ego_SE3_lidar.translation
    k = result.azimuth_index
    return np.einsum("nij,nj->ni", rotation[k], local) + translation[k]


def test_beams_meet_flat_ground_where_trigonometry_puts_them() -> None:
    result = sweep(town([], [], standing(0, 0)))
    ring = result.points[:, 4].astype(int)
    assert ring.max() < np.searchsorted(ELEVATIONS_RAD, 0.0), "only beams that look down meet the ground"
    distance = np.linalg.norm(result.points[:, :3], axis=1)
    expected = 1.84 / -np.sin(ELEVATIONS_RAD[ring])
    near = expected < 30
    assert np.abs(distance - expected)[near].max() < 6 * HDL32E.range_noise_m
    assert np.std((distance - expected)[near]) == pytest.approx(HDL32E.range_noise_m, rel=0.05)
    azimuth = np.arctan2(result.points[:, 1], result.points[:, 0])
    np.testing.assert_allclose(azimuth, AZIMUTHS_RAD[result.azimuth_index], atol=1e-5)
    assert (np.diff(result.azimuth_index) >= 0).all()


def test_the_last_column_is_fired_at_the_stamp() -> None:
    times = HDL32E.pattern.firing_times(2.0, 0.1)
    assert times[-1] == pytest.approx(2.0)
    np.testing.assert_allclose(np.diff(times), 0.1 / NUM_AZIMUTHS)


def test_a_wall_is_skewed_by_the_sweeps_own_motion_and_flat_once_compensated() -> None:
    speed = 10.0
    world = town([box((21, 0, 5), (2, 60, 10), METAL)], [], drive_along_x(speed))
    result = sweep(world)
    wall = result.points[:, 2] > -1.0
    x = result.points[wall, 0]
    fired = HDL32E.pattern.firing_times(0.0, PERIOD_S)[result.azimuth_index[wall]]
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
    pose = world.world_SE3_ego(0.0) @ HDL32E.ego_SE3_lidar
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
    assert (np.abs(local) - parked.shape.size / 2).max() < 0.03 + 3 * HDL32E.range_noise_m
    raw = result.points[result.actor == 0, :3] + HDL32E.ego_SE3_lidar.translation
    assert np.abs(raw.mean(axis=0) - points.mean(axis=0) - parked.poses(np.zeros(1))[0, :3])[0] > 0.5


def test_points_of_a_moving_car_lie_on_it_where_it_was_then() -> None:
    moving = car(drive_along_x(10.0, y=6.0, start_x=12.0, yaw=np.pi))
    world = town([], [moving], standing(0, 0))
    result = sweep(world)
    mine = result.actor == 0
    fired = HDL32E.pattern.firing_times(0.0, PERIOD_S)[result.azimuth_index[mine]]
    pose = moving.poses(fired)
    offset = in_world(world, result)[mine] - pose[:, :3]
    assert len(offset) > 100
    assert (np.abs(offset) - moving.shape.size / 2).max() < 0.03 + 3 * HDL32E.range_noise_m
    assert np.abs(pose[:, 0] - moving.poses(np.zeros(1))[0, 0]).max() > 0.5


def test_brightness_follows_material() -> None:
    cone = Actor("cone", 8, actor_shapes.traffic_cone(np.random.default_rng(0)), standing(4, 0))
    result = sweep(town([], [cone], standing(0, 0)))
    intensity = result.points[result.actor == 0, 3]
    assert intensity.max() > 150, "its collar throws light back"
    assert intensity.min() >= 0
    assert result.points[:, 3].max() <= 255
    np.testing.assert_array_equal(intensity, np.round(intensity))


def test_beams_of_the_towns_own_lidar_stay_as_they_are() -> None:
    """To the last bit: shipped models and stored drives were made with them."""
    flat = np.cos(ELEVATIONS_RAD)
    directions = HDL32E.pattern.directions(3)
    np.testing.assert_array_equal(directions[..., 0], np.cos(AZIMUTHS_RAD)[:, None] * flat)
    np.testing.assert_array_equal(directions[..., 1], np.sin(AZIMUTHS_RAD)[:, None] * flat)
    np.testing.assert_array_equal(directions[..., 2], np.ones((NUM_AZIMUTHS, 1)) * np.sin(ELEVATIONS_RAD))
    times = 1.3 - 0.1 + 0.1 * np.arange(1, NUM_AZIMUTHS + 1) / NUM_AZIMUTHS
    np.testing.assert_array_equal(HDL32E.pattern.firing_times(1.3, 0.1), times)


@pytest.mark.parametrize(
    ("name", "num_beams", "low_deg", "high_deg", "height_m"),
    [("hdl64e", 64, -24.33, 2.0, 1.73), ("pandar64", 64, -25.0, 15.0, 2.15), ("os1-128", 128, -22.5, 22.5, 1.9)],
)
def test_beams_of_a_preset_meet_flat_ground_where_trigonometry_puts_them(
    name: LidarName, num_beams: int, low_deg: float, high_deg: float, height_m: float
) -> None:
    style = STYLES[name]
    pattern = style.pattern
    assert isinstance(pattern, Spinning)
    assert len(pattern.elevations_rad) == num_beams
    assert (np.diff(pattern.elevations_rad) > 0).all()
    np.testing.assert_allclose(np.degrees(pattern.elevations_rad[[0, -1]]), [low_deg, high_deg])
    np.testing.assert_allclose(np.linalg.norm(pattern.directions(0), axis=-1), 1.0)
    result = sweep(town([], [], standing(0, 0)), style=style)
    ring = result.points[:, 4].astype(int)
    expected = height_m / -np.sin(pattern.elevations_rad[ring])
    near = expected < 30
    distance = np.linalg.norm(result.points[:, :3], axis=1)
    assert np.abs(distance - expected)[near].max() < 6 * style.range_noise_m


@pytest.mark.parametrize("name", list(STYLES))
def test_windows_lose_no_beam_on_an_actor(name: LidarName) -> None:
    """As many points lie on a car as when all beams are cast at it."""
    style = STYLES[name]
    moving = car(drive_along_x(10.0, y=5.0, start_x=14.0, yaw=np.pi))
    world = town([], [moving], drive_along_x(8.0))
    narrow = sweep(world, style=style)
    num_columns, num_beams = style.pattern.shape
    everything = dataclasses.replace(style, pattern=_AllBeams(style.pattern))
    wide = sweep(world, style=everything)
    assert narrow.num_points.tolist() == wide.num_points.tolist()
    assert narrow.num_points[0] > 20
    np.testing.assert_array_equal(narrow.points, wide.points)
    assert narrow.azimuth_index.max() < num_columns
    assert narrow.points[:, 4].max() < num_beams


@dataclasses.dataclass(frozen=True)
class _AllBeams:
    """A pattern whose windows hold everything."""

    pattern: ScanPattern

    @property
    def shape(self) -> tuple[int, int]:
        return self.pattern.shape

    def directions(self, turn: int) -> np.ndarray:
        return self.pattern.directions(turn)

    def firing_times(self, stamp_s: float, period_s: float) -> np.ndarray:
        return self.pattern.firing_times(stamp_s, period_s)

    def column_facing(self, offset: np.ndarray) -> int:
        return self.pattern.column_facing(offset)

    def window(self, offset: np.ndarray, radius_m: float, turn: int) -> Window:
        num_columns, num_beams = self.shape
        return np.arange(num_columns), slice(0, num_beams)


@pytest.mark.parametrize("place", [(10.0, 0.0), (0.0, 10.0), (-10.0, 0.0)])
def test_a_lidar_that_looks_ahead_sees_what_is_ahead_alone(place: tuple[float, float]) -> None:
    ahead = dataclasses.replace(HDL32E, pattern=Spinning(ELEVATIONS_DEG, NUM_AZIMUTHS, view_deg=120.0))
    world = town([], [car(standing(*place))], standing(0, 0))
    part = sweep(world, style=ahead)
    azimuth = np.arctan2(part.points[:, 1], part.points[:, 0])
    assert np.abs(azimuth).max() <= np.radians(60.01)
    assert (part.num_points[0] > 200) == (place[0] > 0)
    everything = sweep(world, style=dataclasses.replace(ahead, pattern=_AllBeams(ahead.pattern)))
    np.testing.assert_array_equal(part.points, everything.points)
    columns = np.flatnonzero(np.abs(AZIMUTHS_RAD) <= np.radians(60))
    np.testing.assert_array_equal(ahead.pattern.firing_times(1.0, 0.1), HDL32E.pattern.firing_times(1.0, 0.1)[columns])


def test_a_wall_is_flat_once_compensated_for_a_lidar_that_looks_ahead() -> None:
    ahead = dataclasses.replace(HDL32E, pattern=Spinning(ELEVATIONS_DEG, NUM_AZIMUTHS, view_deg=120.0))
    world = town([box((21, 0, 5), (2, 60, 10), METAL)], [], drive_along_x(10.0))
    result = sweep(world, style=ahead)
    flat = lidar.compensated(result, world, 0.0, PERIOD_S, ahead)
    wall = result.points[:, 2] > -1.0
    np.testing.assert_allclose(flat[wall, 0].mean(), 20 - 0.9, atol=0.01)
    assert np.std(flat[wall, 0]) < 0.025


def test_rosettes_fill_their_field_of_view_turn_by_turn() -> None:
    pattern = STYLES["livox"].pattern
    views = np.radians([81.7, 25.1]) / 2
    cells = []
    for turn in range(4):
        x, y, z = pattern.directions(turn).reshape(-1, 3).T
        azimuth, elevation = np.arctan2(y, x), np.arcsin(z)
        assert np.abs(azimuth).max() <= views[0]
        assert np.abs(elevation).max() <= views[1] + 1e-12
        column, row = ((np.stack([azimuth, elevation]) / views[:, None] + 1) * [[80], [25]]).astype(int)
        cells.append(set(zip(column, row, strict=True)))
    covered = [len(set().union(*cells[: i + 1])) for i in range(4)]
    assert covered[0] < covered[1] < covered[2] < covered[3]
    assert covered[3] > 0.9 * 160 * 50


def test_intensities_fall_with_range_where_the_sensor_does_not_even_them_out() -> None:
    law = IntensityLaw(gain=200.0, falloff=1.0, reach_m=20.0, noise=0.0)
    style = dataclasses.replace(HDL32E, intensity=law, range_noise_m=0.0)
    for distance in (20.0, 60.0):
        world = town([box((distance + 1.9, 0, 5), (2, 60, 10), METAL)], [], standing(0, 0))
        result = sweep(world, style=style)
        level = (result.points[:, 4] == np.abs(ELEVATIONS_RAD).argmin()) & (np.abs(result.points[:, 1]) < 0.5)
        expected = 200.0 * METAL.reflectivity / (1 + distance / 20.0)
        np.testing.assert_allclose(result.points[level, 3], expected, atol=1.0)
