"""Frames of a standing car in which it is filled in: where its points are, and not where its place is empty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.labelling.refining.config import RefineConfig
from lidarloop_core.labelling.refining.observations import Observations
from lidarloop_core.labelling.refining.presence import Presence, presence
from lidarloop_core.labelling.refining.tracks import Track

NUM_FRAMES = 20
TIMES_S = 0.5 * np.arange(NUM_FRAMES)
HITS = np.arange(5, 12)
CAREFUL = RefineConfig(resemble=True, end_empty=True, weigh_views=True)
SENSORS = np.zeros((NUM_FRAMES, 2))


def seen() -> Observations:
    count = len(HITS)
    values = np.tile([10.0, 0.0, 0.75, 4.5, 1.8, 1.5, 0.0, 0.0, 0.0], (count, 1))
    ones = np.ones(count)
    return Observations(
        values, HITS, np.zeros(count, np.int64), 0.8 * ones, ones, np.zeros(count, np.int64),
        np.full(count, 50), 10 * ones, np.tile([1.0, 0.0], (count, 1)), np.zeros(count, np.bool_),
    )  # fmt: skip


def track(num_points: npt.NDArray[np.int64], emptied: npt.NDArray[np.bool_] | None = None) -> Track:
    values = np.tile(seen().values[0], (NUM_FRAMES, 1))
    by_motion = np.zeros(NUM_FRAMES, np.bool_)
    rows = np.arange(len(HITS))
    return Track(rows, HITS, 0, 1.0, True, values, by_motion, 5.6, num_points, emptied)


def shown(one: Track, config: RefineConfig | None = None, looked_at: npt.NDArray[np.bool_] | None = None) -> Presence:
    return presence(one, seen(), TIMES_S, SENSORS, config or CAREFUL, looked_at)


def at(*frames: int) -> npt.NDArray[np.bool_]:
    return np.isin(np.arange(NUM_FRAMES), frames)


def test_a_car_is_filled_in_where_it_has_as_many_points_as_before() -> None:
    assert shown(track(np.full(NUM_FRAMES, 50))).shown.all()


def test_a_few_points_at_its_place_are_not_the_car() -> None:
    points = np.where(at(*HITS), 50, 14)
    np.testing.assert_array_equal(np.flatnonzero(shown(track(points)).shown), HITS)
    assert shown(track(points + 2)).shown.all()
    assert shown(track(points), replace(CAREFUL, resemble=False)).shown.all()


def test_from_twice_as_far_a_quarter_of_the_points_is_as_many() -> None:
    one = track(np.where(at(*HITS), 50, 5))
    far = np.where(at(*HITS)[:, None], 0.0, -10.0) * np.array([1.0, 0.0])
    assert presence(one, seen(), TIMES_S, far, CAREFUL).shown.all()


def test_an_empty_place_ends_a_car_before_and_after_its_labels() -> None:
    empty = track(np.full(NUM_FRAMES, 50), at(3, 14))
    np.testing.assert_array_equal(np.flatnonzero(shown(empty).shown), np.arange(4, 14))
    assert shown(empty, replace(CAREFUL, end_empty=False)).shown.all()


def test_an_empty_place_between_two_labels_is_not_filled() -> None:
    one = track(np.full(NUM_FRAMES, 50), at(8))
    without_8 = replace(one, rows=np.delete(one.rows, 3), frames=np.delete(one.frames, 3))
    np.testing.assert_array_equal(np.flatnonzero(~shown(without_8).shown), [8])


def test_frames_that_no_camera_looked_at_do_not_count_against_a_track() -> None:
    one = track(np.full(NUM_FRAMES, 50))
    everywhere = shown(one).confidence[HITS]
    in_view = shown(one, looked_at=at(*HITS)).confidence[HITS]
    assert in_view == pytest.approx(everywhere * np.sqrt((8 / 10) / (8 / 23)))
