from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.geometry.trajectory import Trajectory


def straight(stamps_ns: list[int]) -> Trajectory:
    """x in metres equals time in nanoseconds."""
    return Trajectory.from_poses(stamps_ns, [SE3.from_yaw(0, (t, 0, 0)) for t in stamps_ns])


def on_circle(t: int) -> SE3:
    """At 1 m/ns and 0.001 rad/ns."""
    return SE3.from_yaw(0.001 * t, (1000 * np.sin(0.001 * t), 1000 * (1 - np.cos(0.001 * t)), 0))


@given(st.lists(st.integers(0, 1000), min_size=1, unique=True).flatmap(st.permutations), st.integers(0, 1000))
def test_poses_in_any_order_interpolate_a_circle(stamps_ns: list[int], t: int) -> None:
    trajectory = Trajectory.from_poses(stamps_ns, [on_circle(stamp_ns) for stamp_ns in stamps_ns])
    if min(stamps_ns) <= t <= max(stamps_ns):
        pose = trajectory.at(t, max_gap_ns=1000)
        np.testing.assert_allclose(pose.matrix, on_circle(t).matrix, atol=1e-6)
    else:
        with pytest.raises(LookupError, match=f"no pose at {t} ns"):
            trajectory.at(t, max_gap_ns=1000)


def test_a_gap_too_wide_is_refused_but_its_ends_are_not() -> None:
    trajectory = straight([0, 10, 100])
    assert trajectory.at(5, max_gap_ns=10).translation[0] == 5
    assert trajectory.at(100, max_gap_ns=10).translation[0] == 100
    with pytest.raises(LookupError, match="a gap of 90 ns; allowed: 10 ns"):
        trajectory.at(50, max_gap_ns=10)


def test_the_oldest_poses_are_forgotten() -> None:
    trajectory = Trajectory(max_poses=2)
    for t in (3, 1, 2):
        trajectory.add(t, SE3.from_yaw(0, (t, 0, 0)))
    assert len(trajectory) == 2
    with pytest.raises(LookupError, match="known: 2…3"):
        trajectory.at(1, max_gap_ns=9)


def test_a_pose_with_the_same_stamp_replaces() -> None:
    trajectory = straight([1, 2])
    trajectory.add(2, SE3.from_yaw(0, (7, 0, 0)))
    assert len(trajectory) == 2
    np.testing.assert_array_equal(trajectory.at(2, max_gap_ns=1).translation, [7, 0, 0])


def test_cleared_it_knows_nothing() -> None:
    trajectory = straight([1, 2])
    trajectory.clear()
    with pytest.raises(LookupError, match="known: none"):
        trajectory.at(1, max_gap_ns=1)


def test_motion_goes_on_beyond_the_poses_as_far_as_allowed() -> None:
    trajectory = Trajectory.from_poses([100, 150, 200], [on_circle(t) for t in (100, 150, 200)])
    for t in (60, 240):
        np.testing.assert_allclose(
            trajectory.at(t, max_gap_ns=50, max_beyond_ns=40).matrix, on_circle(t).matrix, atol=1e-6
        )
    for t in (59, 241):
        with pytest.raises(LookupError, match=f"no pose at {t} ns"):
            trajectory.at(t, max_gap_ns=50, max_beyond_ns=40)
