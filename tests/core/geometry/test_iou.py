"""Rotated overlap against exact arithmetic, and suppression against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.geometry.boxes import bev_corners
from lidarloop_core.geometry.iou import bev_iou, nms_circle, nms_rotated, nms_rotated_by_label
from tests.exact_overlap import polygon_overlaps


def box(x: float, y: float, length: float, width: float, yaw_rad: float) -> list[float]:
    return [x, y, 0.0, length, width, 1.0, yaw_rad, 0.0, 0.0]


def exact_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return polygon_overlaps(bev_corners(a), bev_corners(b))[1]


def random_boxes(random: np.random.Generator, num: int, spread_m: float) -> np.ndarray:
    boxes = np.zeros((num, 9))
    boxes[:, :2] = random.normal(size=(num, 2)) * spread_m
    boxes[:, 3:5] = random.uniform(0.2, 12, (num, 2))
    boxes[:, 6] = random.uniform(-7, 7, num)
    return boxes


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 5.0]), st.sampled_from([0.0, 1e3, 1e5]))
def test_overlap_is_exact(seed: int, spread_m: float, far_m: float) -> None:
    random = np.random.default_rng(seed)
    a, b = random_boxes(random, 6, spread_m), random_boxes(random, 6, spread_m)
    expected = exact_iou(a, b)
    a[:, :2] += far_m
    b[:, :2] += far_m
    np.testing.assert_allclose(bev_iou(a, b), expected, atol=1e-9 if far_m == 0 else 1e-7)


GRID = st.sampled_from([0.0, 0.5, 1.0, 2.0])
RIGHT_ANGLES = st.sampled_from([k * np.pi / 4 for k in range(-4, 5)])
GRID_BOXES = st.builds(box, GRID, GRID, GRID.filter(bool), GRID.filter(bool), RIGHT_ANGLES)


@settings(deadline=None)
@given(st.lists(GRID_BOXES, min_size=1, max_size=4), st.lists(GRID_BOXES, min_size=1, max_size=4))
def test_overlap_of_boxes_that_share_edges_and_corners_is_exact(a: list[list[float]], b: list[list[float]]) -> None:
    np.testing.assert_allclose(bev_iou(np.array(a), np.array(b)), exact_iou(np.array(a), np.array(b)), atol=1e-9)


@pytest.mark.parametrize("turns", range(-8, 9))
@pytest.mark.parametrize("side_m", [0.5, 1.0, 2.0])
def test_a_square_turned_onto_itself_overlaps_itself(turns: int, side_m: float) -> None:
    square = np.array([box(1.0, 0.5, side_m, side_m, np.pi / 4)])
    turned = square + np.array(box(0, 0, 0, 0, turns * np.pi / 2)) * (np.arange(9) == 6)
    assert bev_iou(square, turned)[0, 0] == pytest.approx(1, abs=1e-9)
    assert exact_iou(square, turned)[0, 0] == pytest.approx(1, abs=1e-9)


def test_overlap_in_closed_form() -> None:
    a = np.array([box(0, 0, 4, 2, 0)])
    others = np.array(
        [
            box(0, 0, 4, 2, 0),
            box(0, 0, 4, 2, np.pi),
            box(0, 0, 2, 4, np.pi / 2),
            box(2, 0, 4, 2, 0),
            box(4, 0, 4, 2, 0),
            box(0, 0, 2, 1, 0.0),
            box(0, 0, 4, 2, np.pi / 2),
        ]
    )
    np.testing.assert_allclose(bev_iou(a, others)[0], [1, 1, 1, 1 / 3, 0, 1 / 4, 4 / 12], atol=1e-12)
    square, diamond = np.array([box(0, 0, 2, 2, 0)]), np.array([box(0, 0, 2, 2, np.pi / 4)])
    octagon = 8 * (np.sqrt(2) - 1)
    assert bev_iou(square, diamond)[0, 0] == pytest.approx(octagon / (8 - octagon))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_overlap_is_symmetric_and_does_not_depend_on_where_one_looks_from(seed: int) -> None:
    random = np.random.default_rng(seed)
    boxes = random_boxes(random, 8, 3.0)
    iou = bev_iou(boxes, boxes)
    np.testing.assert_allclose(iou, iou.T, atol=1e-12)
    np.testing.assert_allclose(np.diag(iou), 1, atol=1e-9)
    assert (iou >= 0).all()
    assert (iou <= 1).all()


def test_boxes_without_area_overlap_nothing() -> None:
    flat = np.array([box(0, 0, 0, 0, 0), box(0, 0, 4, 0, 0.3)])
    assert (bev_iou(flat, np.array([box(0, 0, 4, 2, 0), *flat.tolist()])) == 0).all()


def test_empty_sides_give_empty_tables() -> None:
    none, one = np.zeros((0, 9)), np.array([box(0, 0, 4, 2, 0)])
    assert bev_iou(none, one).shape == (0, 1)
    assert bev_iou(one, none).shape == (1, 0)
    assert nms_rotated(none, np.zeros(0), 0.5).tolist() == []
    assert nms_circle(np.zeros((0, 2)), np.zeros(0), 1.0).tolist() == []


def greedy(scores: np.ndarray, suppresses: np.ndarray) -> list[int]:
    """Suppression by its definition: ``suppresses[i, j]`` says that i puts out j."""
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if not any(suppresses[k, i] for k in kept):
            kept.append(i)
    return kept


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_suppression_equals_its_definition(seed: int, num: int, threshold: float) -> None:
    random = np.random.default_rng(seed)
    boxes = random_boxes(random, num, 6.0)
    scores = random.integers(0, 5, num) / 4  # many ties
    assert nms_rotated(boxes, scores, threshold).tolist() == greedy(scores, bev_iou(boxes, boxes) > threshold)
    distance = np.linalg.norm(boxes[:, None, :2] - boxes[None, :, :2], axis=2)
    assert nms_circle(boxes[:, :2], scores, 4 * threshold).tolist() == greedy(scores, distance <= 4 * threshold)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40))
def test_suppression_by_label_is_that_of_each_label_alone(seed: int, num: int) -> None:
    random = np.random.default_rng(seed)
    boxes, labels, thresholds = random_boxes(random, num, 6.0), random.integers(0, 3, num), [0.0, 0.2, 0.6]
    scores = random.integers(0, 5, num) / 4
    expected = [
        int(members[i])
        for label, threshold in enumerate(thresholds)
        for members in [np.flatnonzero(labels == label)]
        for i in nms_rotated(boxes[members], scores[members], threshold)
    ]
    best_first = sorted(expected, key=lambda i: (-scores[i], labels[i], i))
    assert nms_rotated_by_label(boxes, scores, labels, thresholds).tolist() == best_first


def test_float32_values_are_taken() -> None:
    boxes = np.array([box(0, 0, 4, 2, 0), box(0.1, 0, 4, 2, 0), box(9, 0, 4, 2, 0)], np.float32)
    scores = np.array([0.5, 0.9, 0.1], np.float32)
    assert nms_rotated(boxes, scores, 0.2).tolist() == [1, 2]
    assert nms_circle(boxes[:, :2], scores, 0.5).tolist() == [1, 2]
