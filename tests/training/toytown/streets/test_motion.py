from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidarloop_core.geometry.boxes import bev_corners
from lidarloop_training.toytown.streets.motion import Motion, Parked, Path, Stop, Track
from lidarloop_training.toytown.streets.occupancy import Occupancy
from tests.exact_overlap import polygon_overlaps


def flat(xy: np.ndarray) -> np.ndarray:
    return np.zeros(len(xy))


def straight(cruise_mps: float = 8.0, length_m: float = 300.0) -> Path:
    return Path.along(np.array([[0.0, 0.0], [length_m, 0.0]]), flat, cruise_mps)


def test_on_a_straight_road_one_cruises() -> None:
    motion = Motion.planned(straight(), 5.0, 0.0, 10.0)
    np.testing.assert_allclose(motion.speed_mps, 8.0)
    np.testing.assert_allclose(motion.at(np.array([0.0, 0.033, 7.77])), [5.0, 5.0 + 8 * 0.033, 5.0 + 8 * 7.77])


def test_a_bend_slows_to_its_lateral_acceleration() -> None:
    angle = np.linspace(0, np.pi / 2, 200)
    arc = 10 * np.column_stack([np.sin(angle), 1 - np.cos(angle)])
    line = np.concatenate([[[-100.0, 0.0]], arc, [[10.0, 110.0]]])
    path = Path.along(line, flat, 12.0)
    in_bend = path.limit_mps[int(104 / 0.25) : int(110 / 0.25)]
    np.testing.assert_allclose(in_bend, np.sqrt(2.0 * 10.0), rtol=0.03)
    braking = np.diff(path.limit_mps**2) / (2 * 0.25)
    assert braking.min() > -1.8 - 1e-6


def test_one_halts_at_the_line_and_goes_on_when_told() -> None:
    motion = Motion.planned(straight(), 0.0, 0.0, 40.0, [Stop(100.0, 25.0)])
    halted = motion.at(np.array([22.0, 24.9]))
    np.testing.assert_allclose(halted, 100.0, atol=0.6)
    assert motion.at(np.array([35.0]))[0] > 130
    assert np.diff(motion.speed_mps).min() / 0.1 > -2.5
    assert np.diff(motion.speed_mps).max() / 0.1 < 1.5 + 1e-9


@given(time_s=st.floats(0.1, 19.0))
@settings(max_examples=30, deadline=None)
def test_speed_is_the_derivative_of_place(time_s: float) -> None:
    motion = Motion.planned(straight(), 0.0, 0.0, 20.0, [Stop(60.0, 12.0)])
    step = 1e-4
    speed = np.diff(motion.at(np.array([time_s - step, time_s + step])))[0] / (2 * step)
    assert speed == pytest.approx(np.interp(time_s, np.arange(len(motion.s)) * 0.1, motion.speed_mps), abs=1e-3)


def test_a_track_heads_along_its_path() -> None:
    path = Path.along(np.array([[0.0, 0.0], [0.0, 200.0]]), flat, 5.0)
    track = Track(path, Motion.planned(path, 10.0, 0.0, 10.0), 1.4, 1.4)
    x, y, z, yaw = track.poses(np.array([2.0]))[0]
    np.testing.assert_allclose([x, y, z, yaw], [0, 20, 0, np.pi / 2], atol=1e-9)
    np.testing.assert_allclose(track.velocity(2.0), [0, 5], atol=1e-6)


@given(
    x=st.floats(-5, 5),
    y=st.floats(-5, 5),
    yaw=st.floats(-3.2, 3.2),
    length=st.floats(0.3, 8),
    width=st.floats(0.3, 3),
)
@settings(max_examples=150, deadline=None)
def test_conflicts_are_overlaps_of_rectangles(x: float, y: float, yaw: float, length: float, width: float) -> None:
    occupancy = Occupancy(0.0, 0.2)
    occupancy.add(Parked(np.array([0.5, -0.3, 0, 0.7])), 4.0, 2.0)
    # At a touch the two may round differently: what a micrometre decides is left out.
    smaller, larger = (overlaps_parked_car(x, y, yaw, length + margin, width + margin) for margin in (-1e-6, 1e-6))
    if smaller == larger:
        conflict = occupancy.first_conflict(Parked(np.array([x, y, 0, yaw])), length, width)
        assert (conflict is not None) == smaller


def overlaps_parked_car(x: float, y: float, yaw: float, length: float, width: float) -> bool:
    parked, other = np.array([[0.5, -0.3, 0, 4, 2, 1, 0.7]]), np.array([[x, y, 0, length, width, 1, yaw]])
    return polygon_overlaps(bev_corners(parked), bev_corners(other))[0][0, 0] > 0


def test_a_conflict_is_dated() -> None:
    occupancy = Occupancy(0.0, 20.0)
    occupancy.add(Parked(np.array([100.0, 0, 0, 0])), 4.0, 2.0)
    path = straight(8.0)
    track = Track(path, Motion.planned(path, 0.0, 0.0, 20.0), 1.0, 1.0)
    when = occupancy.first_conflict(track, 4.0, 2.0)
    assert when == pytest.approx((100 - 4) / 8, abs=0.11)
    occupancy.remove_last()
    assert occupancy.first_conflict(track, 4.0, 2.0) is None
