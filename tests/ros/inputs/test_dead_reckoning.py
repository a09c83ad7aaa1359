"""Dead reckoning against the closed form of a circle."""

from __future__ import annotations

import numpy as np
import pytest

from lidarloop_core.geometry.se3 import SE3
from lidarloop_ros.inputs.dead_reckoning import DeadReckoning

MS = 1_000_000
T0 = 1_700_000_000_000 * MS
SPEED = np.array([25.0, 0.0, 0.0])
TURN = np.array([0.0, 0.0, 0.7])


def on_circle(seconds: float) -> SE3:
    radius = SPEED[0] / TURN[2]
    angle = TURN[2] * seconds
    return SE3.from_yaw(angle, (radius * np.sin(angle), radius * (1 - np.cos(angle)), 0.0))


def test_a_constant_velocity_leads_along_a_circle() -> None:
    reckoning = DeadReckoning(turns_by_imu=False)
    for i in range(21):
        pose = reckoning.add_twist(T0 + 20 * i * MS, SPEED, TURN)
        assert pose is not None
        np.testing.assert_allclose(pose.matrix, on_circle(0.02 * i).matrix, atol=1e-9)


def test_turning_by_an_imu_leads_along_the_same_circle() -> None:
    """Of the twist's own turning nothing is taken."""
    reckoning = DeadReckoning(turns_by_imu=True)
    assert reckoning.add_turn(T0 - 10 * MS, TURN) is None, "no speed yet"
    assert reckoning.add_twist(T0, SPEED, 99 * TURN) is None
    poses = []
    for i in range(41):
        poses.append(reckoning.add_turn(T0 + 10 * i * MS, TURN))
        if i % 5 == 0:
            reckoning.add_twist(T0 + 10 * i * MS, SPEED, 99 * TURN)
    for i, pose in enumerate(poses):
        assert pose is not None
        np.testing.assert_allclose(pose.matrix, on_circle(0.01 * i).matrix, atol=1e-9)


def test_an_even_acceleration_is_integrated_exactly() -> None:
    """s = a t² / 2: the mean of two speeds is that of the time between them."""
    reckoning = DeadReckoning(turns_by_imu=False)
    for i in range(11):
        pose = reckoning.add_twist(T0 + 100 * i * MS, np.array([3.0 * 0.1 * i, 0, 0]), np.zeros(3))
        assert pose is not None
        assert pose.translation[0] == pytest.approx(1.5 * (0.1 * i) ** 2)


def test_a_pause_is_not_bridged_and_is_reported_once() -> None:
    reckoning = DeadReckoning(turns_by_imu=False)
    reckoning.add_twist(T0, SPEED, TURN)
    before = reckoning.add_twist(T0 + 400 * MS, SPEED, TURN)
    after = reckoning.add_twist(T0 + 1400 * MS, SPEED, TURN)
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(after.matrix, before.matrix)
    assert reckoning.take_pause() == pytest.approx(1.0)
    assert reckoning.take_pause() == 0.0


def test_without_a_fresh_speed_an_imu_gives_no_pose() -> None:
    reckoning = DeadReckoning(turns_by_imu=True)
    reckoning.add_twist(T0, SPEED, TURN)
    assert reckoning.add_turn(T0 + 100 * MS, TURN) is not None
    assert reckoning.add_turn(T0 + 601 * MS, TURN) is None


def test_messages_out_of_order_are_passed_over_and_a_jump_back_starts_anew() -> None:
    reckoning = DeadReckoning(turns_by_imu=False)
    reckoning.add_twist(T0, SPEED, TURN)
    reckoning.add_twist(T0 + 100 * MS, SPEED, TURN)
    assert reckoning.add_twist(T0 + 90 * MS, SPEED, TURN) is None
    again = reckoning.add_twist(T0 - 5000 * MS, SPEED, TURN)
    assert again is not None
    assert reckoning.take_pause() == 0.0
    pose = reckoning.add_twist(T0 - 4900 * MS, SPEED, TURN)
    assert pose is not None
    np.testing.assert_allclose((again.inverse() @ pose).matrix, on_circle(0.1).matrix, atol=1e-9)
