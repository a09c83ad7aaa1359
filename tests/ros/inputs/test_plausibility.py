"""PlausibleMotion: the motion of a vehicle passes, with noise, at any rate of clouds; jumps do not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lidarloop_core.geometry.se3 import SE3
from lidarloop_ros.inputs.motion import ImplausibleMotionError
from lidarloop_ros.inputs.plausibility import MotionLimits, PlausibleMotion

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
LIMITS = MotionLimits(max_speed_mps=45.0, max_acceleration_mps2=20.0, max_turn_rate_radps=4.0)


def judged(poses: list[SE3], period_ms: float = 100.0) -> list[str]:
    """Of each pose why it was refused, or ""."""
    motion, problems = PlausibleMotion(LIMITS), []
    for i, pose in enumerate(poses):
        try:
            motion.require(T0 + round(i * period_ms * MS), pose)
        except ImplausibleMotionError as error:
            problems.append(str(error))
        else:
            problems.append("")
    return problems


def at(x_m: float, yaw_rad: float = 0.0) -> SE3:
    return SE3.from_yaw(yaw_rad, (x_m, 0.0, 0.0))


def test_odometry_that_jumps_to_and_fro_is_refused_at_each_jump() -> None:
    problems = judged([at(5.0 * (i % 2)) for i in range(20)])
    assert all("5.00 m in 0.100 s is 50 m/s, max_speed_mps is 45" in problem for problem in problems[1:])


def test_jumps_within_the_largest_speed_never_join_two_clouds() -> None:
    problems = judged([at(3.0 * (i % 2)) for i in range(20)])
    # A refused pose begins a course that has no sweep yet; the one after it is its first.
    assert all(first or second for first, second in itertools.pairwise(problems[1:]))
    assert "max_acceleration_mps2 is 20" in problems[2]


@pytest.mark.parametrize(
    ("poses", "said"),
    [
        ([at(0), at(6.2)], "max_speed_mps is 45"),
        ([at(0), at(0, 0.5)], "max_turn_rate_radps is 4"),
        ([at(0), at(1), at(2.5)], "max_acceleration_mps2 is 20"),
    ],
    ids=["speed", "turning", "acceleration"],
)
def test_each_limit_is_named(poses: list[SE3], said: str) -> None:
    *before, last = judged(poses)
    assert not any(before)
    assert said in last


def test_a_jump_is_refused_once() -> None:
    problems = judged([at(0.5 * i + (5.0 if i >= 5 else 0.0)) for i in range(10)])
    assert [i for i, problem in enumerate(problems) if problem] == [5]


@pytest.mark.parametrize("period_ms", [25.0, 50.0, 100.0, 400.0])
@pytest.mark.parametrize("speed_mps", [0.0, 15.0, 40.0])
def test_a_drive_with_a_centimetre_of_noise_passes_at_any_rate(period_ms: float, speed_mps: float) -> None:
    rng = np.random.default_rng(0)
    poses = []
    for i in range(200):
        t = i * period_ms / 1e3
        x, y, _ = rng.normal(0, 0.01, 3)
        poses.append(SE3.from_yaw(0.6 * np.sin(t) + rng.normal(0, 0.002), (speed_mps * t + x, 2 * np.sin(t) + y, 0.0)))
    assert not any(judged(poses, period_ms))


def test_full_braking_passes() -> None:
    times = np.arange(0, 3, 0.1)
    assert not any(judged([at(float(30 * t - 5 * t**2)) for t in times]))


def test_a_late_or_repeated_stamp_is_not_judged() -> None:
    motion = PlausibleMotion(LIMITS)
    motion.require(T0, at(0))
    motion.require(T0 + 100 * MS, at(1))
    motion.require(T0 + 95 * MS, at(50))
    motion.require(T0 + 100 * MS, at(50))
    motion.require(T0 + 200 * MS, at(2))
    motion.clear()
    motion.require(T0 - 1000 * MS, at(80))
