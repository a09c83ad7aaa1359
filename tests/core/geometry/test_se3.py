from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lidarloop_core.errors import LidarloopError, PoseError
from lidarloop_core.geometry.se3 import SE3, interpolate


@st.composite
def poses(draw: st.DrawFn) -> SE3:
    turn = [draw(st.floats(-3, 3)) for _ in range(3)]
    shift = [draw(st.floats(-100, 100)) for _ in range(3)]
    return SE3(Rotation.from_rotvec(turn).as_matrix(), np.array(shift))


@given(poses(), poses(), poses())
def test_group_laws(a: SE3, b: SE3, c: SE3) -> None:
    np.testing.assert_allclose((a @ b).matrix, a.matrix @ b.matrix, atol=1e-9)
    np.testing.assert_allclose(((a @ b) @ c).matrix, (a @ (b @ c)).matrix, atol=1e-9)
    np.testing.assert_allclose((a @ a.inverse()).matrix, np.eye(4), atol=1e-9)
    np.testing.assert_allclose((a @ SE3.identity()).matrix, a.matrix)


@given(poses())
def test_transform_equals_the_homogeneous_matrix(pose: SE3) -> None:
    points = np.array([[1.0, 2.0, 3.0], [-4.0, 0.0, 9.0]])
    homogeneous = np.hstack([points, np.ones((2, 1))]) @ pose.matrix.T
    np.testing.assert_allclose(pose.transform(points), homogeneous[:, :3], atol=1e-9)
    np.testing.assert_allclose(pose.rotate(points), homogeneous[:, :3] - pose.translation, atol=1e-9)


@given(poses())
def test_quaternions_round_trip(pose: SE3) -> None:
    np.testing.assert_allclose(SE3.from_xyzw(pose.xyzw, pose.translation).matrix, pose.matrix, atol=1e-9)
    np.testing.assert_allclose(SE3.from_wxyz(pose.wxyz, pose.translation).matrix, pose.matrix, atol=1e-9)
    assert pose.wxyz[0] >= 0
    np.testing.assert_array_equal(SE3.from_matrix(pose.matrix).matrix, pose.matrix)


@given(st.floats(-3.1, 3.1))
def test_yaw_turns_x_towards_y(yaw_rad: float) -> None:
    pose = SE3.from_yaw(yaw_rad)
    np.testing.assert_allclose(pose.rotate(np.eye(3))[0], [np.cos(yaw_rad), np.sin(yaw_rad), 0], atol=1e-12)
    assert pose.yaw_rad == pytest.approx(yaw_rad)


def test_float32_points_stay_float32() -> None:
    assert SE3.identity().transform(np.zeros((2, 3), np.float32)).dtype == np.float32


def test_interpolation_keeps_the_velocity_in_the_moving_frame() -> None:
    """A vehicle at 25 m/s and 0.7 rad/s drives a circle; the closed form is its pose at any time."""

    def on_circle(t: float) -> SE3:
        radius = 25 / 0.7
        return SE3.from_yaw(0.7 * t, (radius * np.sin(0.7 * t), radius * (1 - np.cos(0.7 * t)), 0.3 * t))

    for fraction in (-0.5, 0.0, 0.25, 0.5, 1.0, 1.4):
        found = interpolate(on_circle(0.2), on_circle(0.3), fraction)
        np.testing.assert_allclose(found.matrix, on_circle(0.2 + 0.1 * fraction).matrix, atol=1e-10)
    # The short way round.
    assert abs(interpolate(SE3.from_yaw(3.0), SE3.from_yaw(-3.0), 0.5).yaw_rad) == pytest.approx(np.pi)


def test_interpolation_without_rotation_is_a_straight_line() -> None:
    quarter = interpolate(SE3.from_yaw(0.2), SE3.from_yaw(0.2, (10, -4, 2)), 0.25)
    np.testing.assert_allclose(quarter.matrix, SE3.from_yaw(0.2, (2.5, -1, 0.5)).matrix, atol=1e-12)


@given(poses(), poses())
def test_interpolation_begins_and_ends_at_its_poses(a: SE3, b: SE3) -> None:
    np.testing.assert_allclose(interpolate(a, b, 0).matrix, a.matrix, atol=1e-6)
    np.testing.assert_allclose(interpolate(a, b, 1).matrix, b.matrix, atol=1e-6, rtol=1e-6)


def test_poses_do_not_change_with_the_arrays_they_came_from() -> None:
    translation = np.zeros(3)
    pose = SE3(np.eye(3), translation)
    translation[0] = 5
    assert pose.translation[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        pose.translation[0] = 5


@pytest.mark.parametrize(
    ("rotation", "translation", "message"),
    [
        (np.eye(4), np.zeros(3), "expected"),
        (np.eye(3), np.zeros(2), "expected"),
        (np.eye(3) * np.nan, np.zeros(3), "non-finite"),
        (np.eye(3), np.array([np.inf, 0, 0]), "non-finite"),
        (np.eye(3) * 2, np.zeros(3), "no rotation"),
        (np.diag([1.0, 1.0, -1.0]), np.zeros(3), "no rotation"),
    ],
)
def test_what_is_no_rigid_transform_is_refused(rotation: np.ndarray, translation: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SE3(rotation, translation)


@pytest.mark.parametrize(
    "quaternion",
    [(0, 0, 0, 0), (np.nan, 0, 0, 1), (np.inf, 0, 0, 1), (1e-200, 0, 0, 0), (0, 0, 1), None, "xyzw", (0, 0, 0, "a")],
)
def test_quaternions_that_turn_nothing_are_pose_errors(quaternion: Any) -> None:
    with pytest.raises(PoseError, match="SE3 received"):
        SE3.from_xyzw(quaternion, (0, 0, 0))
    with pytest.raises(PoseError, match="SE3 received"):
        SE3.from_wxyz(quaternion, (0, 0, 0))


@pytest.mark.parametrize(
    "matrix", [np.ones((4, 4)), np.full((4, 4), np.nan), np.eye(3), None, [[1, 2], [3]], "eye", np.diag([1, 1, -1, 1])]
)
def test_matrices_that_are_no_transform_are_pose_errors(matrix: Any) -> None:
    with pytest.raises(PoseError, match="SE3"):
        SE3.from_matrix(matrix)
    assert issubclass(PoseError, LidarloopError)
