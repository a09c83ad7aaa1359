"""Points that a network may be given, against a reader that judges value by value."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lidarloop_core.pointcloud.guard import Limits, guard_points

COLUMNS = ("x", "y", "z", "intensity", "ring")
LIMITS: Limits = {"intensity": (0.0, 255.0)}
WILD = [0.0, -0.0, 1.0, -7.5, 255.0, 255.001, -1e-9, 1e6, 3e38, -3e38, math.nan, math.inf, -math.inf]


def ordinary(num_points: int) -> npt.NDArray[np.float32]:
    points = np.random.default_rng(0).uniform(1, 200, (num_points, 5))
    return points.astype(np.float32)


@settings(max_examples=500, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 12), st.just(5)),
        elements=st.sampled_from([np.float32(value) for value in WILD]),
    )
)
def test_points_are_judged_as_one_by_one(points: npt.NDArray[np.float32]) -> None:
    before = points.copy()
    kept: list[list[float]] = []
    numbers = {"no_return": 0, "no_position": 0, "not_finite": 0, "clamped": 0}
    for row in points.tolist():
        if row[:3] == [0, 0, 0]:
            numbers["no_return"] += 1
        elif not all(map(math.isfinite, row[:3])):
            numbers["no_position"] += 1
        elif not all(map(math.isfinite, row)):
            numbers["not_finite"] += 1
        else:
            clamped = min(max(row[3], 0.0), 255.0)
            numbers["clamped"] += clamped != row[3]
            kept.append([*row[:3], clamped, row[4]])
    found = guard_points(points, COLUMNS, LIMITS)
    np.testing.assert_array_equal(found.points, np.array(kept, np.float32).reshape(-1, 5))
    assert {name: getattr(found, f"num_{name}") for name in numbers} == numbers
    assert found.num_received == len(points)
    assert bool(found.problem) == bool(numbers["not_finite"] or numbers["clamped"])
    np.testing.assert_array_equal(points, before)


def test_sound_points_are_not_copied() -> None:
    points = ordinary(1000)
    assert guard_points(points, COLUMNS, LIMITS).points is points


@pytest.mark.parametrize("intensity", [256.0, 1e6, 3e38, -1.0])
def test_one_wild_intensity_is_clamped_and_named(intensity: float) -> None:
    points = ordinary(1000)
    points[500, 3] = intensity
    found = guard_points(points, COLUMNS, LIMITS)
    expected = points.copy()
    expected[500, 3] = 255 if intensity > 0 else 0
    np.testing.assert_array_equal(found.points, expected)
    assert found.num_clamped == 1
    assert found.problem.startswith(f"1 points clamped, intensity reaches {intensity:g}, the model takes 0 to 255")


def test_without_limits_only_what_is_not_finite_goes() -> None:
    points = ordinary(10)
    points[3, 3], points[4, 4] = 3e38, np.nan
    found = guard_points(points, COLUMNS)
    np.testing.assert_array_equal(found.points, np.delete(points, 4, axis=0))
    assert (found.num_clamped, found.num_not_finite) == (0, 1)
