from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.boxes import Boxes3D, points_in_boxes
from lidarloop_core.geometry.iou import bev_iou
from lidarloop_training.tasks.detection.copy_paste import (
    CopyPasteConfig,
    ObjectDatabase,
    centerpoint_copy_paste,
)

if TYPE_CHECKING:
    from tests.training.conftest import BoxScenes


CAR, BUS = NUSCENES_CLASSES.index("car"), NUSCENES_CLASSES.index("bus")
MANY = CopyPasteConfig(num_objects=(("car", 3), ("bus", 2), ("pedestrian", 4), ("traffic_cone", 4)))


def scene(box_scenes: type[Any], index: int) -> tuple[npt.NDArray[np.float32], Boxes3D]:
    sample = box_scenes(num_samples=100)[index]
    points = np.column_stack([sample.keyframe.points, np.zeros(len(sample.keyframe.points))]).astype(np.float32)
    return points, sample.annotations.boxes


@pytest.fixture(scope="module")
def database(box_scenes: Callable[..., BoxScenes]) -> ObjectDatabase:
    database = ObjectDatabase(NUSCENES_CLASSES, MANY, seed=0)
    for index in range(20):
        database.add(*scene(box_scenes, index))
    return database


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(20, 60))
def test_what_is_pasted_touches_nothing_and_brings_its_points(
    box_scenes: Callable[..., BoxScenes], database: ObjectDatabase, seed: int, index: int
) -> None:
    points, boxes = scene(box_scenes, index)
    new_points, new_boxes = database.paste(points, boxes, np.random.default_rng(seed))
    np.testing.assert_array_equal(new_boxes.values[: len(boxes)], boxes.values)  # its own objects stay, first
    pasted = new_boxes[len(boxes) :]
    overlap = bev_iou(pasted.values, new_boxes.values)
    overlap[np.arange(len(pasted)), len(boxes) + np.arange(len(pasted))] = 0
    assert overlap.max(initial=0) == 0
    for values, label in zip(pasted.values, pasted.labels, strict=True):
        (stored,) = [found for found in database.objects(label) if np.array_equal(found.values, values)]
        inside = new_points[points_in_boxes(new_points, values[None])[0]]
        np.testing.assert_array_equal(inside, stored.points)  # those and no others: the scene's own have gone


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_class_is_filled_up_and_never_beyond(
    box_scenes: Callable[..., BoxScenes], database: ObjectDatabase, seed: int
) -> None:
    points, boxes = scene(box_scenes, 40)
    _, new_boxes = database.paste(points, boxes, np.random.default_rng(seed))
    for name, wanted in MANY.num_objects:
        label = NUSCENES_CLASSES.index(name)
        before, after = (int((b.labels == label).sum()) for b in (boxes, new_boxes))
        assert before <= after <= max(before, wanted)


def test_an_empty_scene_far_from_everything_gets_all(database: ObjectDatabase) -> None:
    nothing = np.zeros((0, 5), np.float32), Boxes3D.empty(NUSCENES_CLASSES)
    few = ObjectDatabase(NUSCENES_CLASSES, CopyPasteConfig((("car", 1),)), seed=0)
    few._objects = database._objects
    points, boxes = few.paste(*nothing, np.random.default_rng(0))
    assert boxes.labels.tolist() == [CAR]
    assert len(points) == points_in_boxes(points, boxes.values).sum() > 0


def test_scenes_and_database_stay_as_they_are(box_scenes: Callable[..., BoxScenes], database: ObjectDatabase) -> None:
    points, boxes = scene(box_scenes, 30)
    before = points.copy(), boxes.values.copy(), [found.points.copy() for found in database.objects(CAR)]
    database.paste(points, boxes, np.random.default_rng(0))
    np.testing.assert_array_equal(points, before[0])
    np.testing.assert_array_equal(boxes.values, before[1])
    for found, old in zip(database.objects(CAR), before[2], strict=True):
        np.testing.assert_array_equal(found.points, old)


def test_weights_travel_with_the_objects(box_scenes: Callable[..., BoxScenes]) -> None:
    points, boxes = scene(box_scenes, 0)
    doubtful = dataclasses.replace(boxes, scores=np.full(len(boxes), 0.25))
    database = ObjectDatabase(NUSCENES_CLASSES, MANY, seed=0)
    database.add(points, doubtful)
    _, pasted = database.paste(points[:0], Boxes3D.empty(NUSCENES_CLASSES), np.random.default_rng(0))
    assert len(pasted) > 0
    assert set(pasted.scores.tolist()) == {0.25}


def test_objects_with_few_points_or_of_other_classes_are_not_kept(box_scenes: Callable[..., BoxScenes]) -> None:
    points, boxes = scene(box_scenes, 0)
    assert len(ObjectDatabase(NUSCENES_CLASSES, CopyPasteConfig(), seed=0)) == 0
    for config in (dataclasses.replace(MANY, min_points=10_000), CopyPasteConfig((("barrier", 5),))):
        database = ObjectDatabase(NUSCENES_CLASSES, config, seed=0)
        database.add(points, boxes)
        assert len(database) == 0
        same, same_boxes = database.paste(points, boxes, np.random.default_rng(0))
        assert same is points
        assert same_boxes is boxes


def test_each_object_has_the_same_chance_to_be_kept() -> None:
    box = np.array([[0, 0, 0, 4, 2, 2, 0, 0, 0]], np.float32)
    points = np.zeros((6, 5), np.float32)
    kept = np.zeros(20)
    for seed in range(300):
        database = ObjectDatabase(NUSCENES_CLASSES, CopyPasteConfig((("car", 1),), max_kept=5), seed)
        for number in range(20):
            values = box.copy()
            values[0, 7] = number  # told apart by their speed
            database.add(points, Boxes3D(values, np.ones(1), np.array([CAR]), NUSCENES_CLASSES))
        assert len(database) == 5
        for found in database.objects(CAR):
            kept[int(found.values[7])] += 1
    # Each of 20 is kept with probability 1/4: 300 draws have a standard deviation of 7.5.
    assert np.abs(kept - 75).max() < 5 * 7.5


def test_centerpoints_numbers_name_every_class() -> None:
    assert {name for name, _ in centerpoint_copy_paste().num_objects} == set(NUSCENES_CLASSES)
