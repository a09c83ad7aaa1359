"""Classes and usual sizes by the points of tracks."""

from __future__ import annotations

import numpy as np
import pytest

from lidarloop_core.labelling.refining.points import Looks
from lidarloop_core.labelling.refining.refit import trucks_by_size, usual_sizes
from lidarloop_core.labelling.refining.tracks import Track

CLASSES = ("car", "truck", "pedestrian")
NUM_FRAMES = 5
UNSEEN = Looks(np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros((NUM_FRAMES, 2)))


def track(label: int = 0, length: float = 4.5, width: float = 1.8, height: float = 1.4) -> Track:
    """An object that stands, with its underside at 0."""
    values = np.tile([10.0, 5.0, height / 2, length, width, height, 0.0, 0.0, 0.0], (NUM_FRAMES, 1))
    frames = np.arange(NUM_FRAMES)
    return Track(frames, frames, label, 1.0, True, values, np.zeros(NUM_FRAMES, np.bool_), 3.0)


def side(length: float, top: float, height: float = 1.4) -> Looks:
    """A side of an object in all frames, from 0.2 m above the ground to its top, seen from straight beside it."""
    u, z = (g.ravel() for g in np.meshgrid(np.linspace(-length / 2, length / 2, 40), np.arange(0.2, top + 0.01, 0.2)))
    points = np.column_stack([u, np.full(len(u), -0.9), z - height / 2])
    frame = np.repeat(np.arange(NUM_FRAMES), len(u))
    return Looks(np.tile(points, (NUM_FRAMES, 1)), frame, np.tile([0.0, -10.0], (NUM_FRAMES, 1)))


@pytest.mark.parametrize(
    ("length", "top", "label"),
    [(6.5, 3.0, 1), (4.4, 1.4, 0), (5.2, 2.2, 0), (4.4, 3.0, 0), (6.5, 1.6, 0)],
    ids=["box truck", "car", "van", "car before a hedge", "limousine"],
)
def test_a_car_as_long_and_as_high_as_a_truck_is_one(length: float, top: float, label: int) -> None:
    (found,) = trucks_by_size([track()], [side(length, top)], CLASSES)
    assert found.label == label


def test_other_classes_stay_and_so_do_cars_where_there_are_no_trucks() -> None:
    look = side(6.5, 3.0)
    assert trucks_by_size([track(2)], [look], CLASSES)[0].label == 2
    assert trucks_by_size([track()], [look], ("car", "pedestrian"))[0].label == 0


def test_the_usual_size_is_that_of_the_tracks_seen_from_end_to_end() -> None:
    lengths = (4.0, 4.1, 4.2, 4.3, 4.4)
    tracks = [track(length=3.9) for _ in lengths] + [track(length=3.0)]
    looks = [side(length, 1.4) for length in lengths] + [
        Looks(np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros((5, 2)))
    ]
    assert usual_sizes(tracks, looks)[:, 0] == pytest.approx(np.full(6, 4.2), abs=0.25)


def test_of_a_few_tracks_none_is_below_the_median_of_its_class() -> None:
    tracks = [track(length=length) for length in (3.4, 4.5, 4.9)] + [track(2, 0.7, 0.6)]
    assert usual_sizes(tracks, [UNSEEN] * 4)[:, 0] == pytest.approx([4.5, 4.5, 4.9, 0.7])
