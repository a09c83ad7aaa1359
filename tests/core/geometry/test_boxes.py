from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lidarloop_core.geometry.boxes import (
    Boxes3D,
    bev_corners,
    concatenate,
    corners,
    points_in_boxes,
    wrap_angle,
)
from lidarloop_core.geometry.se3 import SE3

NAMES = ("car", "truck", "pedestrian")


def random_boxes(seed: int, num: int = 6) -> Boxes3D:
    random = np.random.default_rng(seed)
    values = random.normal(size=(num, 9)).astype(np.float32) * 5
    values[:, 3:6] = random.uniform(0.5, 8, (num, 3))
    return Boxes3D(values, random.random(num), random.integers(0, 3, num), NAMES)


@given(st.floats(-1e4, 1e4))
def test_wrapped_angles_point_the_same_way(angle_rad: float) -> None:
    wrapped = wrap_angle(np.array([angle_rad]))[0]
    assert -np.pi <= wrapped < np.pi
    assert np.cos(wrapped) == pytest.approx(np.cos(angle_rad), abs=1e-9)
    assert np.sin(wrapped) == pytest.approx(np.sin(angle_rad), abs=1e-9)


def test_corners_in_closed_form() -> None:
    """A box of 4 × 2 × 1 m that heads along +y: its length lies on y."""
    box = np.array([[10, 20, 5, 4, 2, 1, np.pi / 2, 0, 0]])
    np.testing.assert_allclose(bev_corners(box)[0], [[9, 22], [9, 18], [11, 18], [11, 22]], atol=1e-12)
    found = corners(box)[0]
    np.testing.assert_allclose(found[:4, 2], 4.5)
    np.testing.assert_allclose(found[4:, 2], 5.5)
    np.testing.assert_allclose(found[:4, :2], found[4:, :2])


@given(st.integers(0, 1000))
def test_corners_run_counter_clockwise_and_span_the_area(seed: int) -> None:
    boxes = random_boxes(seed)
    x, y = bev_corners(boxes.values.astype(np.float64)).transpose(2, 0, 1)
    area = (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1) / 2
    np.testing.assert_allclose(area, boxes.values[:, 3] * boxes.values[:, 4], rtol=1e-5)


@given(st.integers(0, 1000))
def test_points_inside_are_those_inside_in_the_boxes_own_frame(seed: int) -> None:
    boxes = random_boxes(seed)
    points = np.random.default_rng(seed + 1).normal(size=(200, 3)) * 5
    inside = points_in_boxes(points, boxes.values)
    assert inside.shape == (6, 200)
    for value, found in zip(boxes.values.astype(np.float64), inside, strict=True):
        local = SE3.from_yaw(value[6], value[:3]).inverse().transform(points)
        margin = np.abs(local) - value[3:6] / 2
        clear = np.abs(margin).min(axis=1) > 1e-4
        np.testing.assert_array_equal(found[clear], (margin[clear] <= 0).all(axis=1))


def test_faces_count_as_inside() -> None:
    box = np.array([[0, 0, 0, 4, 2, 1, 0, 0, 0]])
    points = np.array([[2, 1, 0.5], [-2, -1, -0.5], [2.001, 0, 0], [0, 1.001, 0], [0, 0, 0.501]])
    assert points_in_boxes(points, box)[0].tolist() == [True, True, False, False, False]


@given(st.integers(0, 1000), st.floats(-np.pi, np.pi))
def test_corners_a_little_inside_are_inside_and_a_little_outside_are_not(seed: int, yaw_rad: float) -> None:
    """Far from the origin, where float32 is coarse, and at headings whose corner is the farthest point along x."""
    values = random_boxes(seed).values
    values[:, :2] += 60.0
    values[:, 6] = yaw_rad
    middle = values[:, None, :3]
    for share, expected in ((0.9995, True), (1.0005, False)):
        points = middle + share * (corners(values) - middle)
        for i in range(len(values)):
            assert (points_in_boxes(points[i], values)[i] == expected).all()


@given(st.integers(0, 1000), st.floats(-3, 3))
def test_moved_boxes_hold_the_moved_points(seed: int, yaw_rad: float) -> None:
    boxes = random_boxes(seed)
    dst_SE3_src = SE3.from_yaw(yaw_rad, (3.0, -7.0, 1.0))
    moved = boxes.transformed(dst_SE3_src)
    np.testing.assert_allclose(
        corners(moved.values.astype(np.float64)).reshape(-1, 3),
        dst_SE3_src.transform(corners(boxes.values.astype(np.float64)).reshape(-1, 3)),
        atol=1e-4,
    )
    speed = np.hypot(*boxes.velocities.T)
    np.testing.assert_allclose(np.hypot(*moved.velocities.T), speed, rtol=1e-4)
    back = moved.transformed(dst_SE3_src.inverse())
    np.testing.assert_allclose(back.values[:, :6], boxes.values[:, :6], atol=1e-4)
    np.testing.assert_allclose(wrap_angle(back.yaws - boxes.yaws), 0, atol=1e-4)


def test_an_unknown_velocity_stays_unknown() -> None:
    boxes = random_boxes(0)
    boxes.values[0, 7:] = np.nan
    moved = boxes.transformed(SE3.from_yaw(1.0))
    assert np.isnan(moved.velocities[0]).all()
    assert np.isfinite(moved.values[:, :7]).all()
    assert np.isfinite(moved.velocities[1:]).all()


def test_relabelling_counts_in_the_new_names_and_drops_the_rest() -> None:
    boxes = Boxes3D(np.zeros((3, 9)), np.arange(3) / 3, np.array([0, 1, 2]), NAMES)
    renamed = boxes.relabelled(("pedestrian", "car"))
    assert renamed.names == ["car", "pedestrian"]
    assert renamed.labels.tolist() == [1, 0]
    assert len(Boxes3D.empty(NAMES).relabelled(("car",))) == 0


def test_selection_and_concatenation() -> None:
    boxes = random_boxes(3)
    both = concatenate([boxes[:2], boxes[np.array([5])], boxes[boxes.scores > 2]])
    assert len(both) == 3
    np.testing.assert_array_equal(both.values, boxes.values[[0, 1, 5]])
    with pytest.raises(ValueError, match="different class lists"):
        concatenate([boxes, Boxes3D.empty(("car",))])


@pytest.mark.parametrize(
    ("values", "scores", "labels", "message"),
    [
        (np.zeros((2, 9)), np.zeros(3), np.zeros(2), "2 boxes, 3 scores and 2 labels"),
        (np.zeros((1, 9)), np.zeros(1), np.array([3]), r"labels 3…3; expected 0…2 \(car, truck, pedestrian\)"),
        (np.zeros((1, 9)), np.zeros(1), np.array([-1]), "labels -1…-1"),
    ],
)
def test_refusals(values: np.ndarray, scores: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Boxes3D(values, scores, labels, NAMES)


def test_righted_undoes_the_way_into_a_tilted_frame() -> None:
    """Upright boxes that move horizontally survive a frame on a slope; ``transformed`` would not bring them back."""
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.uniform(-50, 50, (40, 3)), rng.uniform(1, 5, (40, 3)), rng.uniform(-3, 3, (40, 3))])
    boxes = Boxes3D(values, np.ones(40), np.zeros(40), ("car",))
    rotation = Rotation.from_euler("zyx", [0.7, 0.05, -0.08]).as_matrix()
    world_SE3_tilted = SE3(rotation, np.array([3.0, -4.0, 1.0]))
    tilted = boxes.transformed(world_SE3_tilted.inverse())
    np.testing.assert_allclose(tilted.righted(world_SE3_tilted).values, boxes.values, atol=2e-5)
    assert np.abs(tilted.transformed(world_SE3_tilted).velocities - boxes.velocities).max() > 1e-3
