"""OdometryTrack: interpolates, continues a little, waits no longer than allowed, and survives a looped bag."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from lidarloop_core.geometry.se3 import SE3
from lidarloop_ros.inputs.motion import MotionUnavailableError, OdometryTrack, poll

MS = 1_000_000
T0 = 1_700_000_000_000 * MS


def pose(t_s: float) -> SE3:
    """10 m/s ahead in its own frame, turning at 0.5 rad/s: a circle."""
    return SE3.from_yaw(0.5 * t_s, (20 * np.sin(0.5 * t_s), 20 * (1 - np.cos(0.5 * t_s)), 0))


def track(*stamps_ms: int) -> OdometryTrack:
    result = OdometryTrack()
    for stamp_ms in stamps_ms:
        result.add(T0 + stamp_ms * MS, pose(stamp_ms / 1e3))
    return result


def assert_pose(found: SE3, t_s: float) -> None:
    np.testing.assert_allclose(found.matrix, pose(t_s).matrix, atol=1e-9)


def test_between_two_poses_it_interpolates() -> None:
    assert_pose(track(0, 20).at(T0 + 7 * MS, timeout_s=0), 0.007)


def test_a_cloud_just_ahead_of_the_odometry_does_not_wait() -> None:
    start = time.monotonic()
    assert_pose(track(0, 25, 50).at(T0 + 90 * MS, timeout_s=5), 0.090)
    assert time.monotonic() - start < 0.5


@pytest.mark.parametrize(
    ("stamps_ms", "asked_ms"),
    [((), 0), ((0,), 10), ((0, 60), 111), ((0, 600), 300), ((100, 120), 50)],
    ids=["none", "one", "too far ahead", "a gap", "before the first"],
)
def test_unknown_motion_is_an_error_after_the_timeout(stamps_ms: tuple[int, ...], asked_ms: int) -> None:
    start = time.monotonic()
    with pytest.raises(MotionUnavailableError, match="~/input/odometry"):
        track(*stamps_ms).at(T0 + asked_ms * MS, timeout_s=0.05)
    assert 0.04 < time.monotonic() - start < 1


def test_odometry_that_stopped_long_ago_is_not_waited_for() -> None:
    start = time.monotonic()
    with pytest.raises(MotionUnavailableError):
        track(0, 20).at(T0 + 10_000 * MS, timeout_s=5)
    assert time.monotonic() - start < 0.5


def test_waits_for_the_pose_that_comes() -> None:
    odometry = track(0)
    later = threading.Timer(0.05, lambda: odometry.add(T0 + 100 * MS, pose(0.1)))
    later.start()
    assert_pose(odometry.at(T0 + 100 * MS, timeout_s=5), 0.1)


def test_a_looped_bag_starts_over_whichever_comes_first() -> None:
    by_odometry = track(9_900, 10_000, 0)
    with pytest.raises(MotionUnavailableError):
        by_odometry.at(T0 + 9_950 * MS, timeout_s=0)
    by_cloud = track(9_900, 10_000)
    by_cloud.time_jumped_back_to(T0)
    with pytest.raises(MotionUnavailableError):
        by_cloud.at(T0 + 9_950 * MS, timeout_s=0)
    by_cloud.add(T0, pose(0))
    by_cloud.time_jumped_back_to(T0)
    assert_pose(by_cloud.at(T0, timeout_s=0), 0)


def test_poses_of_two_clocks_that_take_turns_clear_nothing() -> None:
    both = OdometryTrack()
    said = [both.add(T0 + (20 * i - clock_ms) * MS, pose(0.02 * i)) for i in range(10) for clock_ms in (0, 1_000_000)]
    assert_pose(both.at(T0 + 50 * MS, timeout_s=0), 0.05)
    assert_pose(both.at(T0 + (50 - 1_000_000) * MS, timeout_s=0), 0.05)
    assert "~/input/odometry has messages of two clocks" in said[-1]


def test_jitter_is_no_jump() -> None:
    jittered = track(0, 20, 10)
    assert_pose(jittered.at(T0 + 15 * MS, timeout_s=0), 0.015)


def test_poll_repeats_until_the_error_is_gone() -> None:
    attempts: list[int] = []

    def attempt() -> SE3:
        attempts.append(1)
        if len(attempts) < 4:
            raise LookupError("not yet")
        return pose(0)

    assert_pose(poll(attempt, LookupError, timeout_s=5), 0)
    with pytest.raises(MotionUnavailableError, match="never"):
        poll(lambda: (_ for _ in ()).throw(LookupError("never")), LookupError, timeout_s=0.01)
