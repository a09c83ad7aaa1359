"""One object in two pictures is one label."""

from __future__ import annotations

import numpy as np

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.labelling.lifting.fusion import fused
from lidarloop_core.labelling.points.accumulate import Cloud
from lidarloop_core.labelling.points.segments import Segment
from lidarloop_core.labelling.priors import ShapePriors

SIZES = ShapePriors.paper().of(NUSCENES_CLASSES)
CAR, TRUCK, BUS, PEDESTRIAN = (NUSCENES_CLASSES.index(name) for name in ("car", "truck", "bus", "pedestrian"))


def row(start_m: float, end_m: float) -> np.ndarray:
    """Points every 0.2 m along y, 10 m ahead."""
    y = np.arange(start_m, end_m, 0.2)
    return np.column_stack([np.full(len(y), 10.0), y, np.zeros(len(y))]).astype(np.float32)


def cloud_of(points: np.ndarray) -> Cloud:
    return Cloud(points, np.zeros(len(points), np.int8), np.zeros(len(points), np.bool_))


def test_masks_that_share_points_are_one_and_the_surer_names_it() -> None:
    cloud = cloud_of(row(0, 8))
    seen = [
        Segment(BUS, 0.5, ("LEFT",), np.arange(0, 30)),
        Segment(TRUCK, 0.9, ("FRONT",), np.arange(20, 40)),
    ]
    (one,) = fused(seen, cloud, SIZES)
    assert (one.label, one.score, one.cameras) == (TRUCK, 0.9, ("FRONT", "LEFT"))
    np.testing.assert_array_equal(one.index, np.arange(40))


def test_halves_of_a_bus_at_the_edge_of_two_pictures_are_one() -> None:
    cloud = cloud_of(row(0, 10))
    halves = [Segment(BUS, 0.9, ("LEFT",), np.arange(0, 25)), Segment(BUS, 0.8, ("FRONT",), np.arange(25, 50))]
    (one,) = fused(halves, cloud, SIZES)
    assert len(one.index) == 50


def test_neighbours_are_not() -> None:
    """Too large together for one pedestrian, or too far apart."""
    cloud = cloud_of(np.concatenate([row(0, 0.6), row(1.2, 1.8)]))
    pair = [Segment(PEDESTRIAN, 0.9, ("LEFT",), np.arange(0, 3)), Segment(PEDESTRIAN, 0.8, ("FRONT",), np.arange(3, 6))]
    assert len(fused(pair, cloud, SIZES)) == 2
    apart = cloud_of(np.concatenate([row(0, 1), row(2.5, 3.5)]))
    cars = [Segment(CAR, 0.9, ("LEFT",), np.arange(0, 5)), Segment(CAR, 0.8, ("FRONT",), np.arange(5, 10))]
    assert len(fused(cars, apart, SIZES)) == 2


def test_one_camera_does_not_agree_with_itself() -> None:
    cloud = cloud_of(row(0, 4))
    twice = [Segment(CAR, 0.9, ("FRONT",), np.arange(20)), Segment(CAR, 0.8, ("FRONT",), np.arange(20))]
    assert len(fused(twice, cloud, SIZES)) == 2


def test_three_cameras_and_parts_that_meet_only_through_the_first() -> None:
    cloud = cloud_of(row(0, 12))
    parts = [
        Segment(BUS, 0.9, ("FRONT",), np.arange(20, 40)),
        Segment(BUS, 0.8, ("LEFT",), np.arange(0, 25)),
        Segment(BUS, 0.7, ("RIGHT",), np.arange(35, 60)),
    ]
    (one,) = fused(parts, cloud, SIZES)
    assert one.cameras == ("FRONT", "LEFT", "RIGHT")
    assert len(one.index) == 60


def test_nothing_is_nothing() -> None:
    assert fused([], cloud_of(row(0, 1)), SIZES) == []
