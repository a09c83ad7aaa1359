"""From points to boxes: which rule gives the centre and the yaw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.labelling.lifting_config import LiftingConfig, paper_lifting
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.placing.place import Placed, on_ground, place
from lidarloop_core.labelling.points.accumulate import Cloud
from lidarloop_core.labelling.points.ground_height import GroundHeight
from lidarloop_core.labelling.points.segments import Segment
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.sample import LaneMap

SIZES = ShapePriors.paper().of(NUSCENES_CLASSES)
CAR, PEDESTRIAN = NUSCENES_CLASSES.index("car"), NUSCENES_CLASSES.index("pedestrian")
FOLLOWS_LANE = np.array([name in paper_lifting().lane_classes for name in NUSCENES_CLASSES])

WORLD_SE3_LIDAR = SE3.from_yaw(0.5, (30.0, -10.0, 1.8))
LANE_YAW_WORLD = 2.0
"""One long straight lane past everything."""

CAR_YAW = 0.7
"""Of the car below, in the LiDAR's frame."""


def lanes(yaw_world: float = LANE_YAW_WORLD) -> LaneLookup:
    heading = np.array([np.cos(yaw_world), np.sin(yaw_world), 0.0])
    middle = WORLD_SE3_LIDAR.transform(np.array([[14.0, 2.0, 0.0]]))[0]
    line = middle + np.array([[-80.0], [80.0]]) * heading
    return LaneLookup(LaneMap((line,), ("only",)))


def car_points() -> np.ndarray:
    """The near rear corner of a car: both faces that the LiDAR sees, densely."""
    along = np.linspace(-2.25, 2.25, 60)
    across = np.linspace(-0.9, 0.9, 30)
    side = np.column_stack([along, np.full(60, 0.9)])
    rear = np.column_stack([np.full(30, -2.25), across])
    local = np.concatenate([side, rear])
    turn = SE3.from_yaw(CAR_YAW, (14.0, 2.0, 0.0))
    return np.concatenate([turn.transform(np.column_stack([local, np.full(90, z)])) for z in (-1.2, -0.8, -0.4)])


def placed(config: LiftingConfig, label: int = CAR, lookup: LaneLookup | None = None) -> Placed:
    points = car_points().astype(np.float32)
    cloud = Cloud(points, np.zeros(len(points), np.int8), np.zeros(len(points), np.bool_))
    segment = Segment(label, 0.9, ("FRONT",), np.arange(len(points)))
    return place([segment], cloud, SIZES, FOLLOWS_LANE, WORLD_SE3_LIDAR, lookup, config)


def heading_off(found: float, expected: float) -> float:
    return float(np.abs((found - expected + np.pi) % (2 * np.pi) - np.pi))


def test_the_papers_yaw_is_the_lanes_turned_into_the_lidars_frame() -> None:
    result = placed(paper_lifting(), lookup=lanes())
    assert result.yaw_sources == ("lane",)
    assert heading_off(result.values[0, 6], LANE_YAW_WORLD - 0.5) < 1e-6
    np.testing.assert_allclose(result.values[0, 3:6], SIZES[CAR])


def test_without_a_lane_the_yaw_is_zero_in_the_world() -> None:
    for lookup in (None, LaneLookup(LaneMap((), ()))):
        result = placed(paper_lifting(), lookup=lookup)
        assert result.yaw_sources == ("none",)
        assert heading_off(result.values[0, 6], -0.5) < 1e-6


def test_a_far_lane_tells_nothing() -> None:
    near = replace(paper_lifting(), max_lane_distance_m=0.01)
    assert placed(near, lookup=lanes()).yaw_sources == ("none",)


def test_pedestrians_follow_no_lane_and_are_not_pushed_out() -> None:
    result = placed(paper_lifting(), label=PEDESTRIAN, lookup=lanes())
    assert result.yaw_sources == ("none",)
    assert np.linalg.norm(car_points() - result.values[0, :3], axis=1).min() < 1e-5  # still one of its points


def test_vehicles_are_pushed_out_along_the_ray() -> None:
    kept = placed(replace(paper_lifting(), push_out=False)).values[0]
    pushed = placed(paper_lifting()).values[0]
    assert np.hypot(*pushed[:2]) > np.hypot(*kept[:2]) + 0.5
    assert np.arctan2(pushed[1], pushed[0]) == pytest.approx(np.arctan2(kept[1], kept[0]), abs=1e-6)
    assert pushed[2] == kept[2]


def test_a_fitted_box_finds_the_car() -> None:
    result = placed(LiftingConfig(center="box_fit", yaw=("box_fit", "lane")), lookup=lanes())
    assert result.yaw_sources == ("box_fit_on_lane",)
    assert np.linalg.norm(result.values[0, :2] - (14.0, 2.0)) < 0.2
    assert heading_off(result.values[0, 6], CAR_YAW) < np.radians(5)


@pytest.mark.parametrize(("lane_yaw", "front"), [(CAR_YAW + 0.4, CAR_YAW), (CAR_YAW + np.pi - 0.4, CAR_YAW + np.pi)])
def test_a_lane_along_a_fitted_box_tells_its_front(lane_yaw: float, front: float) -> None:
    config = LiftingConfig(center="box_fit", yaw=("box_fit", "lane"))
    result = placed(config, lookup=lanes(lane_yaw + 0.5))
    assert result.yaw_sources == ("box_fit_on_lane",)
    assert heading_off(result.values[0, 6], front) < np.radians(5)


def test_a_lane_across_a_fitted_box_does_not() -> None:
    config = LiftingConfig(center="box_fit", yaw=("box_fit", "lane"))
    assert placed(config, lookup=lanes(CAR_YAW + 0.5 + np.radians(80))).yaw_sources == ("box_fit",)


def test_the_lane_first_stands_the_box_at_the_lanes_yaw() -> None:
    result = placed(LiftingConfig(center="box_fit", yaw=("lane", "box_fit")), lookup=lanes())
    assert result.yaw_sources == ("lane",)
    assert heading_off(result.values[0, 6], LANE_YAW_WORLD - 0.5) < 1e-6


def test_a_fitted_yaw_may_turn_a_medoids_box() -> None:
    result = placed(LiftingConfig(yaw=("box_fit",)))
    assert result.yaw_sources == ("box_fit",)
    assert abs(np.sin(result.values[0, 6] - CAR_YAW)) < 0.1


def test_the_mean_is_the_mean() -> None:
    result = placed(replace(paper_lifting(), center="mean", push_out=False))
    np.testing.assert_allclose(result.values[0, :3], car_points().mean(axis=0), atol=1e-4)


def test_nothing_to_place() -> None:
    cloud = Cloud(np.zeros((0, 3), np.float32), np.zeros(0, np.int8), np.zeros(0, np.bool_))
    for config in (paper_lifting(), LiftingConfig(center="box_fit")):
        result = place([], cloud, SIZES, FOLLOWS_LANE, None, lanes(), config)
        assert result.values.shape == (0, 9)


def test_boxes_come_to_stand_on_the_ground_where_it_is_known() -> None:
    x, y = np.meshgrid(np.arange(-40, 40, 0.5), np.arange(-40, 40, 0.5))
    ground = GroundHeight(np.column_stack([x.ravel(), y.ravel(), np.full(x.size, -1.7)]))
    result = on_ground(placed(paper_lifting()), ground)
    assert result.values[0, 2] == pytest.approx(-1.7 + SIZES[CAR, 2] / 2, abs=0.02)
    unknown = GroundHeight(np.zeros((0, 3)))
    assert np.isfinite(on_ground(placed(paper_lifting()), unknown).values).all()
