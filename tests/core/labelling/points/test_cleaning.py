"""Points of a mask that are not its object's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lidarloop_core.labelling.lifting_config import LiftingConfig, paper_lifting
from lidarloop_core.labelling.points.accumulate import Cloud
from lidarloop_core.labelling.points.cleaning import cleaned, with_ground
from lidarloop_core.labelling.points.ground_height import GroundHeight
from lidarloop_core.labelling.points.segments import Segment

RANDOM = np.random.default_rng(1)
PLAIN = paper_lifting()


def blob(x: float, y: float, num_points: int = 40, half_m: float = 0.3) -> np.ndarray:
    center = np.array([x, y, 0.0])
    return RANDOM.uniform(center - half_m, center + half_m, (num_points, 3)).astype(np.float32)


def cloud_of(*parts: np.ndarray, ages: tuple[int, ...] = ()) -> Cloud:
    points = np.concatenate(parts)
    age = np.repeat(ages or (0,) * len(parts), [len(p) for p in parts]).astype(np.int8)
    return Cloud(points, age, np.zeros(len(points), np.bool_))


def clean(cloud: Cloud, config: LiftingConfig) -> list[Segment]:
    return cleaned(Segment(0, 0.8, ("FRONT",), np.arange(len(cloud.points))), cloud, config)


def test_the_plain_pipeline_takes_nothing_out() -> None:
    (segment,) = clean(cloud_of(blob(10, 0), blob(40, 0), ages=(0, 1)), PLAIN)
    assert len(segment.index) == 80


def test_smear_of_a_moving_object_goes_and_a_standing_one_stays() -> None:
    smear = replace(PLAIN, drop_smear=True)
    now = blob(20, 0)
    (moving,) = clean(cloud_of(now, now - (2.0, 0, 0), now - (4.0, 0, 0), ages=(0, 1, 2)), smear)
    np.testing.assert_array_equal(moving.index, np.arange(40))
    (standing,) = clean(cloud_of(now, blob(20, 0), blob(20, 0), ages=(0, 1, 2)), smear)
    assert len(standing.index) == 120


def test_older_points_stay_where_the_keyframe_has_too_few_to_tell() -> None:
    (segment,) = clean(cloud_of(blob(20, 0, 2), blob(22, 0), ages=(0, 1)), replace(PLAIN, drop_smear=True))
    assert len(segment.index) == 42


def test_the_ground_goes_unless_nothing_else_is_left() -> None:
    x, y = np.meshgrid(np.arange(-30, 30, 0.5), np.arange(-30, 30, 0.5))
    plane = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, -1.8)]).astype(np.float32)
    person = RANDOM.uniform((11.8, 2.8, -1.8), (12.2, 3.2, -0.1), (60, 3)).astype(np.float32)
    cloud = with_ground(cloud_of(plane, person), GroundHeight(np.concatenate([plane, person])))
    assert cloud.on_ground[: len(plane)].mean() > 0.99
    about = np.flatnonzero(np.linalg.norm(cloud.points[:, :2] - (12, 3), axis=1) < 1.5)
    (segment,) = cleaned(Segment(5, 0.8, ("FRONT",), about), cloud, PLAIN)
    assert (segment.index >= len(plane)).all()
    assert len(segment.index) > 45
    flat = Segment(5, 0.8, ("FRONT",), np.arange(10))
    assert len(cleaned(flat, cloud, PLAIN)[0].index) == 10


def test_where_the_grounds_height_is_not_known_nothing_is_ground() -> None:
    cloud = cloud_of(blob(10, 0))
    empty = GroundHeight(np.zeros((0, 3), np.float32))
    assert not with_ground(cloud, empty).on_ground.any()


@pytest.mark.parametrize("split", ["gaps", "hdbscan"])
def test_background_behind_the_object_goes(split: str) -> None:
    if split == "hdbscan":
        pytest.importorskip("sklearn")
    (segment,) = clean(cloud_of(blob(10, 0, 60), blob(30, 0.5, 20)), replace(PLAIN, split=split))
    np.testing.assert_array_equal(np.sort(segment.index), np.arange(60))


def test_two_neighbours_in_one_mask_become_two_labels_the_second_less_sure() -> None:
    cloud = cloud_of(blob(12, -1.5), blob(12.5, 1.5), blob(40, 0, 10))
    first, second = clean(cloud, replace(PLAIN, split="gaps", split_merged=True))
    assert {tuple(np.sort(s.index)) for s in (first, second)} == {tuple(range(40)), tuple(range(40, 80))}
    assert first.score == 0.8
    assert second.score < first.score
    assert second.cameras == first.cameras


def test_background_is_no_neighbour() -> None:
    assert len(clean(cloud_of(blob(12, 0), blob(30, 0)), replace(PLAIN, split="gaps", split_merged=True))) == 1
