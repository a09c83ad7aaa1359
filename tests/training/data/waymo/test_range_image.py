from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.geometry.se3 import SE3
from lidarloop_training.data.waymo.range_image import column_azimuths, decode, row_inclinations, scale_intensity


def _image(ranges: list[Any] | npt.NDArray[np.float64]) -> np.ndarray:
    image = np.zeros((*np.shape(ranges), 4), np.float32)
    image[..., 0] = ranges
    return image


def test_columns_go_clockwise_from_straight_behind() -> None:
    degrees = np.rad2deg(column_azimuths(4, SE3.identity()))
    np.testing.assert_allclose(degrees, [135, 45, -45, -135])  # left behind, left ahead, right ahead, right behind
    turned = np.rad2deg(column_azimuths(4, SE3.from_yaw(np.deg2rad(10))))
    np.testing.assert_allclose(turned, degrees - 10)


def test_rows_go_down() -> None:
    np.testing.assert_allclose(row_inclinations(4, -0.4, 0.4, None), [0.3, 0.1, -0.1, -0.3])
    np.testing.assert_allclose(row_inclinations(3, 0, 0, np.array([-0.5, -0.1, 0.2])), [0.2, -0.1, -0.5])
    with pytest.raises(ValueError, match="3 beam inclinations; expected 2"):
        row_inclinations(2, 0, 0, np.zeros(3))


def test_pixels_by_hand() -> None:
    inclinations = np.array([np.pi / 6, 0.0])
    image = _image([[0, 2, -1, 0], [0, 0, np.sqrt(2), 0]])
    image[0, 1, 1:3] = (0.5, 0.25)
    mounting = SE3.from_yaw(1.0, (0.0, 0.0, 3.0))
    points = decode(image, inclinations, mounting)
    assert points.ring.tolist() == [0, 1]
    level = 2 * np.cos(np.pi / 6) / np.sqrt(2)  # ahead and to the left of the vehicle, though the sensor is turned
    np.testing.assert_allclose(points.xyz, [[level, level, 4.0], [1.0, -1.0, 3.0]], atol=1e-6)
    np.testing.assert_allclose(points.intensity, [255 * np.tanh(0.5), 0.0], rtol=1e-6)
    np.testing.assert_allclose(points.elongation, [0.25, 0.0])


def test_each_pixel_is_moved_from_its_own_pose() -> None:
    """Driving 1 m ahead and turning left by 90° between two columns; the wanted pose is the second one."""
    poses = np.zeros((1, 4, 6), np.float32)
    poses[0, 2] = (0, 0, np.pi / 2, 1, 0, 0)
    world_SE3_vehicle = SE3.from_yaw(np.pi / 2, (1.0, 0.0, 0.0))
    image = _image([[0, np.sqrt(8), np.sqrt(2), 0]])
    points = decode(image, np.zeros(1), SE3.identity(), pixel_poses=poses, world_SE3_vehicle=world_SE3_vehicle)
    # World (2, 2) is 1 m ahead in x of (1, 0), which is to the right of who looks along y.
    np.testing.assert_allclose(points.xyz, [[2.0, -1.0, 0.0], [1.0, -1.0, 0.0]], atol=1e-6)


def test_roll_comes_first_and_yaw_last() -> None:
    poses = np.zeros((1, 2, 6), np.float32)
    poses[0, :, :3] = (np.pi / 2, np.pi / 2, 0)  # roll, pitch
    points = decode(
        _image([[1, 0]]), np.zeros(1), SE3.identity(), pixel_poses=poses, world_SE3_vehicle=SE3.identity()
    )  # straight to the left
    # Roll turns left to up, pitch turns up to ahead.
    np.testing.assert_allclose(points.xyz, [[1.0, 0.0, 0.0]], atol=1e-6)


def test_intensity_stays_in_range_and_in_order() -> None:
    raw = np.array([-1.0, 0.0, 0.01, 0.5, 4000.0], np.float32)
    scaled = scale_intensity(raw)
    assert scaled[0] == scaled[1] == 0
    np.testing.assert_allclose(scaled[2], 2.55, rtol=1e-3)
    assert (np.diff(scaled[1:]) > 0).all()
    assert scaled.max() == 255


def test_nothing_came_back() -> None:
    assert decode(_image(np.zeros((2, 3))), np.zeros(2), SE3.identity()).xyz.shape == (0, 3)
