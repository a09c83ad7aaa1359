"""Sizes of objects that are seen from end to end, in part, or not at all."""

from __future__ import annotations

import pytest

from lidarloop_core.labelling.refining.extents import Bounds, standing_extent, usual_extent, usual_size

USUAL_M, LARGEST_M = 4.4, 6.5


def bounds(
    low: float | None, high: float | None, *, low_faces: bool = False, high_faces: bool = False, shown_m: float = 0.0
) -> Bounds:
    return Bounds(low, high, low_faces, high_faces, shown_m)


def test_what_is_seen_from_end_to_end_is_as_long_as_it_is_seen() -> None:
    assert usual_extent(bounds(-2.0, 2.1), USUAL_M, LARGEST_M) == (-2.0, 2.1)
    assert usual_extent(bounds(-2.5, 2.5), USUAL_M, LARGEST_M) == (-2.5, 2.5)


def test_both_ends_seen_face_to_face_are_believed_of_a_short_car_too() -> None:
    short = bounds(-1.5, 1.5, low_faces=True, high_faces=True)
    assert usual_extent(short, USUAL_M, LARGEST_M) == (-1.5, 1.5)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (bounds(-1.0, 1.5, high_faces=True), (-2.9, 1.5)),
        (bounds(-1.0, 1.5, low_faces=True), (-1.0, 3.4)),
        (bounds(-1.0, 1.6), (-1.9, 2.5)),
        (bounds(None, 1.5), (-2.9, 1.5)),
        (bounds(-1.0, None), (-1.0, 3.4)),
    ],
)
def test_a_part_gives_the_usual_size_from_the_end_that_is_sure(seen: Bounds, expected: tuple[float, float]) -> None:
    assert usual_extent(seen, USUAL_M, LARGEST_M) == pytest.approx(expected)


def test_a_size_is_never_below_what_a_frame_showed_nor_above_the_largest() -> None:
    assert usual_extent(bounds(None, 0.0, shown_m=5.0), USUAL_M, LARGEST_M) == (-5.0, 0.0)
    assert usual_extent(bounds(None, 0.0, shown_m=9.0), USUAL_M, LARGEST_M) == (-6.5, 0.0)
    low, high = usual_extent(bounds(-5.0, 5.0, high_faces=True, shown_m=10.0), USUAL_M, LARGEST_M) or (0.0, 0.0)
    assert (low, high) == (-1.5, 5.0)


def test_without_bounds_there_is_no_extent() -> None:
    assert usual_extent(bounds(None, None), USUAL_M, LARGEST_M) is None
    assert standing_extent(bounds(None, None), USUAL_M) is None


@pytest.mark.parametrize(("size_m", "expected_m"), [(None, 4.4), (3.0, 4.4), (4.0, 4.0), (5.0, 5.0), (9.0, 4.4)])
def test_a_moving_object_has_its_own_size_or_the_usual_one(size_m: float | None, expected_m: float) -> None:
    assert usual_size(size_m, USUAL_M) == expected_m
