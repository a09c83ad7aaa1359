from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.geometry.boxes import points_in_boxes, wrap_angle
from lidarloop_core.labelling.placing.box_fit import CONFIDENT, MIN_POINTS, fit_box, place_box
from lidarloop_core.labelling.priors import ShapePriors

CAR = np.array([4.5, 1.8, 1.5])
ORIGIN = np.zeros(2)


def _seen_sides(
    center: npt.NDArray[Any],
    yaw: float,
    size: npt.NDArray[Any],
    sensor_xy: npt.NDArray[Any] = ORIGIN,
    spacing_m: float = 0.15,
) -> npt.NDArray[Any]:
    """Points on the upright sides of a box that face a sensor, as a LiDAR sees them, and the lengths of these sides."""
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, -s], [s, c]])
    points = []
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        normal, along = sign * turn[:, axis], turn[:, 1 - axis]
        middle = center[:2] + normal * size[axis] / 2
        if normal @ (middle - sensor_xy) >= 0:
            continue
        places = np.linspace(-0.5, 0.5, int(size[1 - axis] / spacing_m)) * size[1 - axis]
        for z in np.linspace(-0.45, 0.45, 6) * size[2] + center[2]:
            points.append(np.column_stack([middle + places[:, None] * along, np.full(len(places), z)]))
    return np.concatenate(points)


def _axis_error_deg(a: float, b: float) -> float:
    return float(np.degrees(np.abs(wrap_angle(2 * np.array(a - b))) / 2))


@settings(max_examples=80, deadline=None)
@given(
    bearing=st.floats(-np.pi, np.pi),
    range_m=st.floats(6, 50),
    yaw=st.floats(-np.pi, np.pi),
    scale=st.floats(0.85, 1.1),
)
def test_two_visible_sides_give_the_box_of_a_car(bearing: float, range_m: float, yaw: float, scale: float) -> None:
    center, size = np.array([range_m * np.cos(bearing), range_m * np.sin(bearing), -0.9]), CAR * scale
    points = _seen_sides(center, yaw, size)
    fit = fit_box(points, CAR, ORIGIN)
    assert _axis_error_deg(fit.yaw, yaw) < 3.0
    # A side seen end on has no points that would tell the length across it: then the expected one is taken.
    sides = np.abs(wrap_angle(np.array([yaw - bearing, 2 * (yaw - bearing)])))
    slack = 0.15 + 0.5 * np.abs(size - CAR).max() * (abs(np.sin(sides[1])) < 0.5)
    assert np.linalg.norm(fit.center[:2] - center[:2]) < slack
    assert abs(fit.center[2] - center[2]) < 0.05


def test_its_sizes_are_the_seen_ones() -> None:
    fit = fit_box(_seen_sides(np.array([10.0, 8.0, 0.0]), 0.3, CAR * 1.1), CAR, ORIGIN)
    np.testing.assert_allclose(fit.size[:2], CAR[:2] * 1.1, atol=0.1)
    assert fit.confidence > CONFIDENT


@pytest.mark.parametrize("yaw", [0.0, 0.04, -0.05])
def test_from_a_rear_the_length_is_the_expected_one_and_lies_behind(yaw: float) -> None:
    center = np.array([20.0, 0.5, 0.0])
    points = _seen_sides(center, yaw, CAR)
    rear = points[points[:, 0] < 17.9]
    fit = fit_box(rear, CAR, ORIGIN)
    assert _axis_error_deg(fit.yaw, yaw) < 6.0
    np.testing.assert_allclose(fit.size[0], CAR[0])
    np.testing.assert_allclose(fit.center[:2], center[:2], atol=0.3)


def test_one_side_alone() -> None:
    center = np.array([0.3, 9.0, 0.0])
    points = _seen_sides(center, 0.0, CAR)
    side = points[np.abs(points[:, 1] - (9.0 - CAR[1] / 2)) < 1e-9]
    fit = fit_box(side, CAR, ORIGIN)
    assert _axis_error_deg(fit.yaw, 0.0) < 2.0
    np.testing.assert_allclose(fit.center[:2], center[:2], atol=0.1)


def test_a_half_hidden_car_keeps_its_length() -> None:
    center = np.array([12.0, 9.0, 0.0])
    points = _seen_sides(center, 0.0, CAR)
    seen = points[points[:, 0] < 11.5]  # rear and a third of the side
    fit = fit_box(seen, CAR, ORIGIN)
    assert _axis_error_deg(fit.yaw, 0.0) < 3.0
    np.testing.assert_allclose(fit.center[:2], center[:2], atol=0.15)


@settings(max_examples=40, deadline=None)
@given(turn=st.floats(-np.pi, np.pi), shift=st.tuples(st.floats(-99, 99), st.floats(-99, 99)))
def test_turning_and_moving_everything_turns_and_moves_the_box(turn: float, shift: tuple[float, float]) -> None:
    points = _seen_sides(np.array([14.0, -6.0, 0.4]), 0.5, CAR)
    points[:, :2] += np.random.default_rng(1).normal(0, 0.03, (len(points), 2))
    here = fit_box(points, CAR, ORIGIN)
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, -s], [s, c]])
    moved = np.column_stack([points[:, :2] @ rotation.T + shift, points[:, 2]])
    there = fit_box(moved, CAR, np.array(shift))
    assert _axis_error_deg(there.yaw, here.yaw + turn) < 1.0
    np.testing.assert_allclose(there.center[:2], rotation @ here.center[:2] + shift, atol=0.1)


def test_the_hint_decides_between_front_and_back() -> None:
    points = _seen_sides(np.array([15.0, 5.0, 0.0]), 0.4, CAR)
    for hint in (0.1, 0.1 + np.pi):
        fit = fit_box(points, CAR, ORIGIN, hint)
        assert abs(wrap_angle(np.array(fit.yaw - (hint + 0.3)))) < np.radians(3)
        assert -np.pi <= fit.yaw < np.pi
    assert np.cos(fit_box(points, CAR, ORIGIN).yaw - np.arctan2(5, 15)) > 0, "without one it looks away from the sensor"


def test_the_hint_decides_what_points_leave_open_and_no_more() -> None:
    arm = np.linspace(0, 0.7, 8)  # of a corner that points at the sensor: either may be the rear
    corner = np.column_stack([20 + np.r_[arm, arm], np.r_[arm, -arm], np.r_[arm, arm]])
    assert fit_box(corner, CAR, ORIGIN).confidence < 0.1
    for hint in (np.pi / 4, -np.pi / 4, 0.9, -2.2):
        fit = fit_box(corner, CAR, ORIGIN, hint)
        assert abs(wrap_angle(np.array(fit.yaw - hint))) < 0.2
    plain = _seen_sides(np.array([15.0, 5.0, 0.0]), 0.4, CAR)
    for hint in (0.4 + np.pi / 2, 0.4 + np.pi / 4):
        assert _axis_error_deg(fit_box(plain, CAR, ORIGIN, hint).yaw, 0.4) < 3


def test_few_points_take_the_hint_or_the_line_of_sight() -> None:
    points = np.array([[10.0, 10.0, 0.0], [10.1, 10.0, 0.1]])
    assert len(points) < MIN_POINTS
    hinted, plain = fit_box(points, CAR, ORIGIN, -2.0), fit_box(points, CAR, ORIGIN)
    assert hinted.confidence == plain.confidence == 0.0
    np.testing.assert_allclose([hinted.yaw, plain.yaw], [-2.0, np.pi / 4], atol=0.01)
    assert (np.linalg.norm(plain.center[:2]) > np.linalg.norm(points[:, :2], axis=1)).all(), "behind what is seen"
    one = fit_box(points[:1], CAR, ORIGIN)
    np.testing.assert_allclose(np.linalg.norm(one.center[:2]), np.sqrt(200) + CAR[0] / 2)


def test_pedestrians_and_cones_have_no_heading() -> None:
    angles = np.linspace(np.pi / 2, 3 * np.pi / 2, 20)
    surface = np.column_stack([12 + 0.25 * np.cos(angles), 3 + 0.25 * np.sin(angles), np.linspace(-1.5, 0.1, 20)])
    fit = fit_box(surface, (0.7, 0.4, 1.7), ORIGIN, 0.3)
    assert np.isnan(fit.yaw)
    assert fit.confidence == 0.0
    np.testing.assert_array_equal(fit.size, [0.7, 0.4, 1.7])
    np.testing.assert_allclose(fit.center, [12, 3, -0.7], atol=0.2)


def test_a_few_strays_do_not_move_the_box() -> None:
    center = np.array([15.0, 6.0, 0.0])
    points = _seen_sides(center, 0.2, CAR, spacing_m=0.1)
    strays = np.array([[13.0, 2.0, 0.0], [19.0, 9.0, 0.0]])
    clean, dirty = fit_box(points, CAR, ORIGIN), fit_box(np.concatenate([points, strays]), CAR, ORIGIN)
    assert len(points) >= 200
    np.testing.assert_allclose(dirty.center, clean.center, atol=0.15)
    assert _axis_error_deg(dirty.yaw, clean.yaw) < 2


@settings(max_examples=40, deadline=None)
@given(yaw=st.floats(-np.pi, np.pi), seed=st.integers(0, 1000), number=st.integers(1, 60))
def test_a_placed_box_holds_its_points(yaw: float, seed: int, number: int) -> None:
    rng = np.random.default_rng(seed)
    points = np.array([9.0, -7.0, 1.0]) + rng.uniform(-0.7, 0.7, (number, 3))
    box = place_box(points, CAR, ORIGIN, yaw)
    assert abs(wrap_angle(np.array(box.yaw - yaw))) < 1e-9
    values = np.array([[*box.center, *(box.size + 1e-6), box.yaw]])
    assert points_in_boxes(points, values).all()


@pytest.mark.real
def test_real_cars(real_data: Path) -> None:
    """Points of labelled cars: three quarters of the axes, and centres nearer than a push along the line of sight."""
    from lidarloop_training.data.kitti.object import KittiObjectSource

    source = KittiObjectSource(real_data / "kitti_object_labelled", cameras=False)
    axis_deg, off_m, pushed_m = [], [], []
    for sample in (source[i] for i in range(len(source))):
        cars = sample.annotations.boxes[np.array(sample.annotations.boxes.names) == "car"]
        inside = points_in_boxes(sample.keyframe.points, cars.values)
        for box, rows in zip(cars.values.astype(np.float64), inside, strict=True):
            points = sample.keyframe.points[rows, :3].astype(np.float64)
            points = points[points[:, 2] > box[2] - box[5] / 2 + 0.2]
            if len(points) < 10:
                continue
            fit = fit_box(points, CAR, ORIGIN)
            axis_deg.append(_axis_error_deg(fit.yaw, box[6]))
            off_m.append(np.linalg.norm(fit.center[:2] - box[:2]))
            surface = np.median(points[:, :2], axis=0)
            angle = np.arctan2(surface[1], surface[0]) - box[6]  # the true yaw is told to it
            depth = min(CAR[1] / 2 / abs(np.sin(angle)), CAR[0] / 2 / abs(np.cos(angle)))
            pushed_m.append(np.linalg.norm(surface * (1 + depth / np.linalg.norm(surface)) - box[:2]))
    assert len(axis_deg) > 40
    assert (np.array(axis_deg) < 15).mean() > 0.85
    assert np.median(axis_deg) < 2.5
    assert np.mean(off_m) < 0.6 * np.mean(pushed_m)


def test_no_box_is_longer_or_higher_than_its_class_can_be() -> None:
    """A hedge that continues a car's side: the near end and the underside stay, what lies beyond is cut off."""
    along = np.linspace(8.0, 18.3, 200)
    side = np.concatenate([np.column_stack([along, np.full(200, 3.0), np.full(200, z)]) for z in (-1.5, 0.0, 3.0)])
    largest = ShapePriors.paper().largest(("car",))[0]
    box = place_box(side, CAR, ORIGIN, 0.0, largest)
    assert box.size[0] == pytest.approx(6.5)
    assert box.size[2] == pytest.approx(2.8)
    assert box.center[0] - box.size[0] / 2 == pytest.approx(8.0, abs=0.2)
    assert box.center[2] - box.size[2] / 2 == pytest.approx(-1.5, abs=0.05)
    assert place_box(side, CAR, ORIGIN, 0.0).size[0] > 10.0


def test_bounds_are_never_below_a_prior() -> None:
    priors = ShapePriors({"car": (9.0, 2.0, 1.5), "tram": (30.0, 2.5, 3.5)})
    bounds = priors.largest(("car", "tram"))
    np.testing.assert_allclose(bounds[0], [9.0, 2.5, 2.8])
    np.testing.assert_allclose(bounds[1], [48.0, 4.0, 5.6])
