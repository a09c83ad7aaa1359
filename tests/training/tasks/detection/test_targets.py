from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.model.spec import ModelSpec
from lidarloop_training.tasks.detection.targets import center_targets, gaussian_radius
from tests.builders import make_spec

CAR, PEDESTRIAN = NUSCENES_CLASSES.index("car"), NUSCENES_CLASSES.index("pedestrian")
sides = st.floats(0.1, 40)


def boxes(rows: list[Any], labels: list[int]) -> Boxes3D:
    return Boxes3D(np.array(rows), np.ones(len(rows)), np.array(labels), NUSCENES_CLASSES)


def box(
    x: float = 0.0,
    y: float = 0.0,
    length: float = 4.0,
    width: float = 2.0,
    yaw: float = 0.0,
    velocity: tuple[float, float] = (0.0, 0.0),
) -> list[Any]:
    return [x, y, -0.5, length, width, 1.5, yaw, *velocity]


@given(sides, sides, st.floats(0.05, 0.9))
def test_radius_solves_one_of_its_equations_and_keeps_the_others(length: float, width: float, overlap: float) -> None:
    r = gaussian_radius(length, width, overlap)
    area = length * width
    shared = (length - r) * (width - r)
    overlaps = (
        shared / (2 * area - shared),
        (length - 2 * r) * (width - 2 * r) / area,
        area / ((length + 2 * r) * (width + 2 * r)),
    )
    assert min(overlaps) == pytest.approx(overlap, rel=1e-6)


def test_radius_of_a_square_in_closed_form() -> None:
    """Inwards, (l − 2 r)² = o l², is the tightest: r = l (1 − √o) / 2."""
    assert gaussian_radius(10, 10, 0.25) == pytest.approx(10 * (1 - math.sqrt(0.25)) / 2)


@given(sides, sides)
def test_radius_does_not_care_which_side_is_which_and_scales(length: float, width: float) -> None:
    r = gaussian_radius(length, width)
    assert gaussian_radius(width, length) == pytest.approx(r)
    assert gaussian_radius(3 * length, 3 * width) == pytest.approx(3 * r)


def test_heatmap_of_one_car(spec: ModelSpec) -> None:
    targets = center_targets(boxes([box(x=2.5, y=-1.5)], [CAR]), spec, stride=1)
    heat = targets.heatmap[CAR]
    row, column = 6, 12  # y from −8, x from −10, cells of 1 m
    assert targets.heatmap.shape == (10, 16, 20)
    assert heat[row, column] == 1
    assert np.count_nonzero(targets.heatmap == 1) == 1
    sigma = 5 / 6  # radius 2: a square of 5 cells is 6 sigma
    assert heat[row, column + 1] == pytest.approx(math.exp(-1 / (2 * sigma**2)))
    assert heat[row + 2, column - 1] == pytest.approx(math.exp(-5 / (2 * sigma**2)))
    assert np.count_nonzero(heat) == 25
    assert np.count_nonzero(targets.heatmap) == 25


def test_large_boxes_get_larger_peaks(spec: ModelSpec) -> None:
    targets = center_targets(boxes([box(length=14, width=14)], [CAR]), spec, stride=1)
    assert np.count_nonzero(targets.heatmap) > 25


def test_neighbours_keep_the_higher_value_and_their_own_peaks(spec: ModelSpec) -> None:
    two = center_targets(boxes([box(x=0.5), box(x=2.5)], [CAR, CAR]), spec, stride=1).heatmap
    one = [center_targets(boxes([box(x=x)], [CAR]), spec, stride=1).heatmap for x in (0.5, 2.5)]
    np.testing.assert_array_equal(two, np.maximum(*one))


def test_peak_at_the_border_is_cut_not_wrapped(spec: ModelSpec) -> None:
    heat = center_targets(boxes([box(x=-9.9, y=7.9)], [CAR]), spec, stride=1).heatmap[CAR]
    assert heat[15, 0] == 1
    assert np.count_nonzero(heat) == 9
    assert np.count_nonzero(heat[13:, :3]) == 9


def test_regression_values(spec: ModelSpec) -> None:
    targets = center_targets(boxes([box(x=2.3, y=-1.2, yaw=2.0, velocity=(3.0, np.nan))], [CAR]), spec, stride=2)
    assert targets.cell.tolist() == [3 * 10 + 6]
    expected = [0.15, 0.4, -0.5, math.log(4), math.log(2), math.log(1.5), math.sin(2), math.cos(2), 3.0, np.nan]
    np.testing.assert_allclose(targets.regression[0], expected, rtol=1e-5)


@pytest.mark.parametrize(("x", "y"), [(-10.01, 0), (10.0, 0), (0, -8.01), (0, 8.0)])
def test_centres_out_of_range_are_no_targets(spec: ModelSpec, x: float, y: float) -> None:
    targets = center_targets(boxes([box(x=x, y=y), box()], [CAR, PEDESTRIAN]), spec, stride=2)
    assert targets.label.tolist() == [PEDESTRIAN]
    assert targets.heatmap[CAR].max() == 0


def test_no_boxes(spec: ModelSpec) -> None:
    targets = center_targets(Boxes3D.empty(NUSCENES_CLASSES), spec, stride=2)
    assert targets.heatmap.shape == (10, 8, 10)
    assert targets.heatmap.max() == 0
    assert targets.regression.shape == (0, 10)


def test_cells_need_not_be_square(spec: ModelSpec) -> None:
    wide = make_spec(spec, cell_size_m=(2.0, 0.5))
    targets = center_targets(boxes([box(x=4.1, y=1.1)], [CAR]), wide, stride=2)
    assert targets.heatmap.shape == (10, 16, 5)
    assert targets.cell.tolist() == [9 * 5 + 3]


def test_scores_are_the_weights_of_those_in_range(spec: ModelSpec) -> None:
    rows = [box(x=1.0), box(x=50.0), box(x=-3.0)]
    labelled = Boxes3D(np.array(rows), np.array([0.25, 0.5, 1.0]), np.array([CAR] * 3), NUSCENES_CLASSES)
    assert center_targets(labelled, spec, stride=2).weight.tolist() == [0.25, 1.0]


def test_a_label_without_weight_teaches_nothing_and_its_cells_are_ignored(spec: ModelSpec) -> None:
    """Cells of 1 m: the box of 4 × 2 m, widened by a cell on each side, covers 6 × 4 of them."""
    labelled = Boxes3D(
        np.array([box(x=2.0), box(x=-6.0)]), np.array([0.0, 1.0]), np.array([CAR, CAR]), NUSCENES_CLASSES
    )
    targets = center_targets(labelled, spec, stride=1)
    assert targets.weight.tolist() == [1.0]
    assert targets.heatmap[CAR].max() == 1
    assert (targets.heatmap == 1).sum() == 1
    x, y = np.meshgrid(np.arange(-9.5, 10), np.arange(-7.5, 8))
    np.testing.assert_array_equal(targets.ignored, (np.abs(x - 2) < 3) & (np.abs(y) < 2))


def test_unseen_cells_are_ignored_beside_those_of_doubtful_labels(spec: ModelSpec) -> None:
    unseen = np.zeros((8, 10), np.bool_)
    unseen[1, 2] = True
    labelled = Boxes3D(np.array([box(x=2.0)]), np.zeros(1), np.array([CAR]), NUSCENES_CLASSES)
    alone = center_targets(labelled, spec, stride=2).ignored
    both = center_targets(labelled, spec, 2, unseen).ignored
    np.testing.assert_array_equal(both, alone | unseen)
    assert not alone[1, 2]


def test_a_label_without_heading_teaches_class_place_and_velocity_alone(spec: ModelSpec) -> None:
    known = center_targets(boxes([box(x=2.3, velocity=(3.0, 1.0))], [CAR]), spec, stride=1)
    unknown = center_targets(boxes([box(x=2.3, yaw=np.nan, velocity=(3.0, 1.0))], [CAR]), spec, stride=1)
    np.testing.assert_array_equal(unknown.heatmap, known.heatmap)
    np.testing.assert_array_equal(np.isnan(unknown.regression), [[False] * 3 + [True] * 5 + [False] * 2])
    np.testing.assert_array_equal(unknown.regression[:, [0, 1, 2, 8, 9]], known.regression[:, [0, 1, 2, 8, 9]])
