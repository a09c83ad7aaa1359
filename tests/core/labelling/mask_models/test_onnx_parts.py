"""Windows, one box for each object, masks from boxes, riders: geometry without any network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.labelling.mask_models.onnx_cut_out import cut_out
from lidarloop_core.labelling.mask_models.onnx_riders import mounts
from lidarloop_core.labelling.mask_models.onnx_tiles import Window, covering, same_object, touches_inner_edge


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(40, 900), st.integers(40, 900), st.floats(0, 0.6))
def test_windows_cover_the_picture(width: int, height: int, tile_width: int, tile_height: int, overlap: float) -> None:
    windows = covering(width, height, tile_width, tile_height, overlap)
    seen = np.zeros((height, width), np.bool_)
    for window in windows:
        assert (window.left, window.top) >= (0, 0)
        assert window.right <= width
        assert window.bottom <= height
        assert (window.width, window.height) == (min(tile_width, width), min(tile_height, height))
        seen[window.top : window.bottom, window.left : window.right] = True
    assert seen.all()
    lefts = sorted({window.left for window in windows})
    steps = np.diff(lefts)
    assert (steps <= tile_width * (1 - overlap) + 1).all()


def test_the_fewest_windows() -> None:
    assert covering(1600, 900, 832, 832, 0.25) == [
        Window(x, y, x + 832, y + 832) for y in (0, 68) for x in (0, 384, 768)
    ]
    assert covering(100, 50, 100, 50, 0.5) == [Window(0, 0, 100, 50)]
    assert covering(100, 50, 400, 20, 0.0) == [Window(0, y, 100, y + 20) for y in (0, 15, 30)]


def test_only_inner_edges_cut_boxes_off() -> None:
    boxes = np.array(
        [[0, 10, 5, 20], [90, 10, 100, 20], [40, 0, 50, 9], [40, 30, 50, 60], [40, 10, 50, 20]], np.float32
    )
    first = touches_inner_edge(boxes, Window(0, 0, 100, 60), 200, 60, 2)
    np.testing.assert_array_equal(first, [False, True, False, False, False])
    shifted = boxes.copy()
    shifted[:, [0, 2]] += 100
    second = touches_inner_edge(shifted, Window(100, 0, 200, 60), 200, 60, 2)
    np.testing.assert_array_equal(second, [True, False, False, False, False])
    upper = touches_inner_edge(boxes, Window(0, 0, 100, 60), 100, 90, 2)
    np.testing.assert_array_equal(upper, [False, False, False, True, False])


def test_boxes_of_one_object() -> None:
    boxes = np.array(
        [
            [0, 0, 100, 100],
            [5, 5, 105, 105],  # the same seen again
            [0, 0, 100, 98],  # the same called by another name of its family
            [10, 10, 40, 40],  # a part of it
            [10, 10, 40, 40],  # something else before it
            [200, 0, 300, 100],
        ],
        np.float32,
    )
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.95], np.float32)
    labels = np.array([0, 0, 1, 0, 2, 0])
    families = np.array([0, 0, 0, 0, 1, 0])
    best_of = same_object(boxes, scores, labels, families, max_iou=0.5, max_inside=0.8)
    np.testing.assert_array_equal(best_of, [0, 0, 0, 0, 4, 5])


def test_a_part_called_by_another_name_is_another_object() -> None:
    """A car in front of a bus lies wholly within the bus's box."""
    boxes = np.array([[0, 0, 100, 100], [10, 50, 50, 90]], np.float32)
    best_of = same_object(boxes, np.array([0.9, 0.5], np.float32), np.array([1, 0]), np.zeros(2, np.int64), 0.5, 0.8)
    np.testing.assert_array_equal(best_of, [0, 1])


def test_no_boxes() -> None:
    none = np.zeros((0, 4), np.float32)
    empty, whole = np.zeros(0, np.float32), np.zeros(0, np.int64)
    assert len(same_object(none, empty, whole, whole, 0.5, 0.8)) == 0
    assert cut_out(none, empty, [], 0.1).masks == ()
    assert len(mounts(none, np.zeros(0, np.bool_), np.zeros(0, np.bool_))) == 0


def test_masks_are_the_boxes_pixels_of_their_class() -> None:
    field = np.zeros((60, 80), np.float32)
    field[10:30, 20:40] = 0.9
    (mask,) = cut_out(np.array([[25, 5, 70, 25]], np.float32), np.ones(1, np.float32), [field], 0.5).masks
    assert (mask.left, mask.top, mask.pixels.shape) == (25, 10, (15, 15))
    assert mask.pixels.all()


def test_agreement_is_the_mean_within_the_ellipse() -> None:
    field = np.full((40, 40), 0.25, np.float32)
    boxes = np.array([[4, 4, 36, 24]], np.float32)
    assert cut_out(boxes, np.ones(1, np.float32), [field], 0.1).agreement == pytest.approx(0.25)
    corner = np.zeros((40, 40), np.float32)
    corner[4:6, 4:8] = 1  # outside the ellipse
    assert cut_out(boxes, np.ones(1, np.float32), [corner], 0.1).agreement == 0


def test_neighbours_part_halfway() -> None:
    field = np.ones((40, 60), np.float32)
    boxes = np.array([[0, 0, 30, 40], [20, 0, 50, 40]], np.float32)
    left, right = cut_out(boxes, np.full(2, 0.7, np.float32), [field, field], 0.5).masks
    assert left.pixels.shape[1] == 25
    assert (right.left, right.pixels.shape[1]) == (25, 25)


def test_what_stands_before_keeps_its_pixels() -> None:
    person, car = np.zeros((40, 60), np.float32), np.full((40, 60), 0.8, np.float32)
    person[:, 25:35], car[:, 25:35] = 0.9, 0.1
    boxes = np.array([[0, 0, 60, 40], [24, 0, 36, 40]], np.float32)
    behind, before = cut_out(boxes, np.full(2, 0.7, np.float32), [car, person], 0.5).masks
    assert before.pixels.sum() == 10 * 40
    assert behind.pixels[:, 25:35].sum() == 0
    assert behind.pixels.sum() == 50 * 40


def test_riders_sit_on_the_nearest_mount() -> None:
    boxes = np.array(
        [
            [100, 100, 160, 150],  # a bicycle
            [115, 50, 145, 140],  # its rider
            [110, 40, 135, 145],  # another near it
            [300, 100, 360, 150],  # a bicycle alone
            [310, 160, 340, 250],  # a person below it
            [400, 50, 430, 180],  # a person who stands lower than the bicycle beside
            [395, 100, 440, 150],
        ],
        np.float32,
    )
    is_mount = np.array([True, False, False, True, False, False, True])
    carried = mounts(boxes, ~is_mount, is_mount)
    np.testing.assert_array_equal(carried, [-1, 0, -1, -1, -1, -1, -1])
