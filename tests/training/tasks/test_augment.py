from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.geometry.boxes import points_in_boxes
from lidarloop_training.tasks.augment import NO_AUGMENTATION, AugmentConfig, SceneChange, augment

if TYPE_CHECKING:
    from tests.training.conftest import BoxScenes


STRONG = AugmentConfig(max_rotation_rad=np.pi, max_scaling=0.2, max_drop=0.0)


def scene(box_scenes: type[Any], index: int = 0) -> tuple[Any, ...]:
    sample = box_scenes()[index]
    points = np.column_stack([sample.keyframe.points, np.arange(len(sample.keyframe.points))]).astype(np.float32)
    return points, sample.annotations.boxes.values


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_points_stay_in_their_boxes(box_scenes: Callable[..., BoxScenes], seed: int) -> None:
    points, values = scene(box_scenes)
    moved, new_values = augment(points, values, STRONG, np.random.default_rng(seed))
    np.testing.assert_array_equal(points_in_boxes(moved, new_values), points_in_boxes(points, values))
    np.testing.assert_array_equal(moved[:, 3:], points[:, 3:])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_velocity_leads_where_the_object_will_be(box_scenes: Callable[..., BoxScenes], seed: int) -> None:
    """Moving a box by v Δt and then changing the scene is changing the scene and then moving it by the new v Δt."""
    points, values = scene(box_scenes)
    later = values.copy()
    later[:, :2] += 0.5 * values[:, 7:9]
    _, now = augment(points, values, STRONG, np.random.default_rng(seed))
    _, then = augment(points, later, STRONG, np.random.default_rng(seed))
    np.testing.assert_allclose(now[:, :2] + 0.5 * now[:, 7:9], then[:, :2], atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_distances_change_by_the_scale_alone(box_scenes: Callable[..., BoxScenes], seed: int) -> None:
    points, values = scene(box_scenes)
    moved, new_values = augment(points, values, STRONG, np.random.default_rng(seed))
    scale = new_values[0, 3] / values[0, 3]
    assert 0.8 <= scale <= 1.2
    np.testing.assert_allclose(
        np.linalg.norm(moved[:, :3], axis=1), scale * np.linalg.norm(points[:, :3], axis=1), rtol=1e-4
    )


def test_arguments_stay_as_they_are(box_scenes: Callable[..., BoxScenes]) -> None:
    points, values = scene(box_scenes)
    before = points.copy(), values.copy()
    augment(points, values, STRONG, np.random.default_rng(0))
    np.testing.assert_array_equal(points, before[0])
    np.testing.assert_array_equal(values, before[1])


def test_no_augmentation_changes_nothing(box_scenes: Callable[..., BoxScenes]) -> None:
    points, values = scene(box_scenes)
    same, same_values = augment(points, values, NO_AUGMENTATION, np.random.default_rng(0))
    np.testing.assert_array_equal(same, points)
    np.testing.assert_allclose(same_values, values, atol=1e-6)


def test_drop_leaves_out_about_its_share(box_scenes: Callable[..., BoxScenes]) -> None:
    points, values = scene(box_scenes)
    config = dataclasses.replace(NO_AUGMENTATION, max_drop=0.5)
    kept = [len(augment(points, values, config, np.random.default_rng(i))[0]) / len(points) for i in range(200)]
    assert min(kept) > 0.4
    assert np.mean(kept) == pytest.approx(0.75, abs=0.03)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_change_is_undone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    change = SceneChange.draw(STRONG, rng)
    points = rng.uniform(-50, 50, (20, 3)).astype(np.float32)
    np.testing.assert_allclose(
        change.undone(change.of_points(points, rng)[:, :2].astype(float)), points[:, :2], atol=1e-4
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_change_s_matrix_moves_the_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    change = SceneChange.draw(dataclasses.replace(STRONG, max_drop=0.0), rng)
    points = rng.uniform(-50, 50, (20, 3)).astype(np.float32)
    np.testing.assert_allclose(change.of_points(points, rng), points @ change.matrix.T, atol=1e-4)


def test_an_unknown_heading_stays_unknown_and_hurts_nothing_else() -> None:
    change = SceneChange.draw(STRONG, np.random.default_rng(3))
    values = np.array([[3.0, 1.0, 0.0, 4.0, 2.0, 1.5, 0.4, 1.0, 0.0]], np.float32)
    without = values.copy()
    without[:, 6] = np.nan
    known, unknown = change.of_boxes(values), change.of_boxes(without)
    assert np.isnan(unknown[0, 6])
    np.testing.assert_array_equal(np.delete(unknown, 6, axis=1), np.delete(known, 6, axis=1))
