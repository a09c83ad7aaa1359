"""The town in which looks matter: what a LiDAR cannot tell apart in it, and what a camera can."""

from __future__ import annotations

import numpy as np
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import points_in_boxes
from lidarloop_core.geometry.iou import bev_iou
from lidarloop_training.toytown.drive import ToyTownDrive
from lidarloop_training.toytown.lidar_styles import HDL32E
from lidarloop_training.toytown.population.lookalikes import ALL_KINDS, Kind
from lidarloop_training.toytown.solids.bodies import Body
from lidarloop_training.toytown.solids.looks import Livery
from lidarloop_training.toytown.streets.point_classes import MANMADE, POINT_CLASSES, VEGETATION

BODIES = sorted({body for kind in ALL_KINDS for body in kind.bodies}, key=lambda body: body.__name__)


@pytest.fixture(scope="module")
def drive() -> ToyTownDrive:
    return ToyTownDrive(1, style="lookalikes")


@pytest.fixture(scope="module")
def plain() -> ToyTownDrive:
    return ToyTownDrive(1)


def liveries(body: Body) -> list[Livery]:
    return [kind.livery for kind in ALL_KINDS if body in kind.bodies]


# --- bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_every_body_is_shared_by_objects_and_clutter(body: Body) -> None:
    labels = {kind.label for kind in ALL_KINDS if body in kind.bodies}
    assert labels & set(NUSCENES_CLASSES)
    assert labels & {"manmade", "vegetation"}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_looks_leave_what_a_lidar_measures_as_it_is(body: Body) -> None:
    first, *others = [body(np.random.default_rng(5), livery(np.random.default_rng(6))) for livery in liveries(body)]
    assert not first.mesh.dropout.any()
    for other in others:
        np.testing.assert_array_equal(other.size, first.size)
        for name in ("vertices", "faces", "reflectivity", "dropout"):
            np.testing.assert_array_equal(getattr(other.mesh, name), getattr(first.mesh, name))
        assert not np.array_equal(other.mesh.colour, first.mesh.colour)


@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: f"{kind.label} {kind.livery.__name__}")
def test_things_of_a_kind_vary_in_size_and_shade(kind: Kind) -> None:
    one, other = (kind(np.random.default_rng(seed)) for seed in (1, 2))
    assert not np.array_equal(one.size, other.size)
    assert not np.array_equal(one.mesh.colour, other.mesh.colour)
    assert kind.label in POINT_CLASSES


# --- the town ---------------------------------------------------------------------------------------------------------


def test_the_streets_are_those_of_the_plain_town(drive: ToyTownDrive, plain: ToyTownDrive) -> None:
    times_s = np.linspace(0, 20, 11)
    np.testing.assert_array_equal(drive.town.ego.poses(times_s), plain.town.ego.poses(times_s))
    np.testing.assert_array_equal(drive.town.ground.cover, plain.town.ground.cover)
    assert drive.scene == "toytown-lookalikes-0001"
    assert drive.stamp_ns(0) != plain.stamp_ns(0)


def test_actors_are_fewer_and_clutter_outnumbers_them(drive: ToyTownDrive, plain: ToyTownDrive) -> None:
    clutter = len(drive.town.things) - len(plain.town.things)
    assert len(drive.town.actors) < 0.6 * len(plain.town.actors)
    assert clutter > 1.3 * len(drive.town.actors)


def test_clutter_has_no_box_and_the_classes_of_the_background(drive: ToyTownDrive, plain: ToyTownDrive) -> None:
    clutter = np.array([thing.cuboid for thing in drive.town.things[len(plain.town.things) :]])
    above_ground = clutter + np.array([0, 0, 0.15, 0, 0, -0.3, 0])
    hit = 0
    for index in (40, 120):
        scan, world_SE3_ego = drive.scan(index), drive.town.world_SE3_ego(drive.time_s(index))
        sweep = drive[index].keyframe
        world = (world_SE3_ego @ HDL32E.ego_SE3_lidar).transform(sweep.points[:, :3].astype(np.float64))
        on_clutter = points_in_boxes(world, above_ground).any(axis=0)
        moving = np.array([actor.track.moves for actor in drive.town.actors])
        still = on_clutter & ~(moving[scan.actor] & (scan.actor >= 0))
        assert (scan.actor[still] == -1).all()
        assert np.isin(scan.label[still], (MANMADE, VEGETATION)).all()
        hit += int(still.sum())
    assert hit > 200
    assert {a.label for a in drive.town.actors} == set(range(10))


def test_clutter_stands_clear_of_all_that_is_parked(drive: ToyTownDrive, plain: ToyTownDrive) -> None:
    clutter = np.array([thing.cuboid for thing in drive.town.things[len(plain.town.things) :]])
    parked = [actor for actor in drive.town.actors if not actor.track.moves]
    boxes = np.array([[*a.poses(np.zeros(1))[0, :3], *a.shape.size, a.poses(np.zeros(1))[0, 3]] for a in parked])
    everything = np.concatenate([clutter, boxes])
    overlap = bev_iou(everything, everything)
    np.fill_diagonal(overlap, 0)
    assert overlap.max() < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_all_ten_classes_are_met_in_every_drive(seed: int) -> None:
    drive = ToyTownDrive(seed, cameras=False, style="lookalikes")
    hit = np.zeros(10, int)
    for index in range(0, 200, 25):
        annotations = drive[index].annotations
        assert annotations is not None
        hit += np.bincount(annotations.boxes.labels[annotations.num_lidar_pts >= 3], minlength=10)
    assert (hit > 0).all(), dict(zip(NUSCENES_CLASSES, hit, strict=True))


def test_masks_show_actors_alone(drive: ToyTownDrive) -> None:
    names = {actor.instance_id for actor in drive.town.actors}
    masks = [mask for camera in ("CAM_FRONT", "CAM_BACK") for mask in drive.instance_masks(60, camera)]
    assert {mask.instance_id for mask in masks} <= names
    assert len(masks) > 3
