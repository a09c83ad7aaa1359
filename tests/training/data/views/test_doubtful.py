from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from lidarloop_core.errors import ConfigError
from lidarloop_core.sample import Annotations, Sample
from lidarloop_training.data.views.doubtful import DoubtConfig, DoubtfulSource, doubt_counts
from tests.training.conftest import BoxScenes
from tests.training.sources import MemorySource, assert_names_labels_and_poses_need_no_cloud

QUALITY = (0.2, 0.15, 0.05, 0.01)
"""Of ten labels the best is that of the uppermost tenth: 0.2 is the unit."""


def ten_labels(quality: tuple[float, ...] = QUALITY, num_points: int = 40, **changes: Any) -> DoubtfulSource:
    """One sample of ten boxes; the first have these qualities, the others the last of them."""
    sample = BoxScenes(num_samples=1, num_objects=10)[0]
    assert sample.annotations is not None
    scores = np.array([*quality, *[quality[-1]] * (10 - len(quality))], np.float32)
    annotations = dataclasses.replace(
        sample.annotations,
        boxes=dataclasses.replace(sample.annotations.boxes, scores=scores),
        num_lidar_pts=np.full(10, num_points),
    )
    return DoubtfulSource(MemorySource([dataclasses.replace(sample, annotations=annotations)]), DoubtConfig(**changes))


def labels(source: DoubtfulSource) -> Annotations:
    annotations = source[0].annotations
    assert annotations is not None
    return annotations


def test_labels_weigh_by_quality_relative_to_the_best_doubtful_ones_nothing_and_ghosts_are_left_out() -> None:
    """The uppermost tenth of 0.2, 0.15, 0.05 and seven of 0.01 begins at 0.2 - 0.1 · 9 · 0.05 = 0.155."""
    best = float(np.quantile([*QUALITY, *[0.01] * 6], 0.9))
    assert best == pytest.approx(0.155)
    source = ten_labels(min_quality=0.5, ghost_quality=0.1)
    np.testing.assert_allclose(labels(source).boxes.scores, [1, 0.15 / best, 0], rtol=1e-6)
    assert doubt_counts(source).tolist() == [2, 1, 7]


def test_quality_counts_in_units_of_the_best_whatever_the_mask_model_s_scale() -> None:
    small, large = ten_labels(QUALITY), ten_labels(tuple(4 * q for q in QUALITY))
    np.testing.assert_allclose(labels(small).boxes.scores, labels(large).boxes.scores, rtol=1e-6)


def test_without_weighing_believed_labels_count_alike() -> None:
    source = ten_labels(min_quality=0.5, ghost_quality=0.0, weigh=False)
    assert labels(source).boxes.scores.tolist() == [1, 1, *[0] * 8]


def test_nothing_is_doubted_where_that_is_not_wanted() -> None:
    source = ten_labels(
        num_points=1, min_quality=0.0, ghost_quality=0.0, min_points=0, weigh=False, ignore_unseen=False
    )
    found, before = labels(source), source.source[0].annotations
    assert before is not None
    np.testing.assert_array_equal(found.boxes.values, before.boxes.values)
    assert found.boxes.scores.tolist() == [1] * 10
    assert not found.in_view_only


@pytest.mark.parametrize(("num_points", "knows_heading"), [(9, False), (10, True), (-1, True)])
def test_labels_on_few_points_know_no_heading_unknown_numbers_are_counted(num_points: int, knows_heading: bool) -> None:
    """Each box of the scenes holds more than ten points."""
    found = labels(ten_labels((0.2,), num_points=num_points, min_points=10))
    assert np.isfinite(found.boxes.yaws).all() == knows_heading
    assert np.isfinite(found.boxes.dimensions).all()


def test_labels_are_known_to_lack_what_no_camera_sees() -> None:
    assert labels(ten_labels()).in_view_only
    assert not labels(ten_labels(ignore_unseen=False)).in_view_only


def test_a_sample_without_labels_stays_as_it_is() -> None:
    unlabelled: Sample = BoxScenes(num_samples=1, labelled=False)[0]
    assert DoubtfulSource(MemorySource([unlabelled]), DoubtConfig())[0] is unlabelled


def test_names_labels_and_poses_need_no_cloud() -> None:
    source = ten_labels()
    assert_names_labels_and_poses_need_no_cloud(source, "lidarloop_training.data.views.doubtful.points_in_boxes")


def test_ghosts_above_the_believed_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"ghost_quality 0.4 above min_quality 0.3"):
        DoubtConfig(min_quality=0.3, ghost_quality=0.4)
