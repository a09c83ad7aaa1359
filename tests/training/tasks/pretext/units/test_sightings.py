from __future__ import annotations

import dataclasses

import numpy as np

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.sample import CameraImage, Sweep
from lidarloop_training.tasks.pretext.units.sightings import find_sightings

AHEAD = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
INTRINSICS = np.array([[100.0, 0.0, 100.0], [0.0, 100.0, 50.0], [0.0, 0.0, 1.0]])


def no_picture() -> np.ndarray:
    raise AssertionError("no picture is needed")


def camera(yaw_deg: float, world_SE3_ego: SE3 | None = None) -> CameraImage:
    """90° wide, at the LiDAR's place."""
    mounted = SE3.from_yaw(np.radians(yaw_deg)) @ AHEAD
    return CameraImage("C", no_picture, INTRINSICS, 200, 100, 0, mounted, world_SE3_ego)


def sweep(points: np.ndarray, world_SE3_ego: SE3 | None = None) -> Sweep:
    return Sweep(points, ("x", "y", "z"), 0, SE3.identity(), world_SE3_ego)


# Ahead; left ahead, where both see it; left; behind; above the picture; too near.
POINTS = np.array([[10, 0, 0], [10, 5, 0], [0, 10, 0], [-10, 0, 0], [10, 0, 8], [0.2, 0, 0]], np.float32)


def test_overlapping_cameras_see_a_point_each() -> None:
    found = find_sightings(POINTS, [camera(0), camera(60)], sweep(POINTS))
    assert found.camera.tolist() == [0, 0, 1, 1]
    assert found.point.tolist() == [0, 1, 1, 2]
    turned = np.radians(60) - np.arctan2(5, 10)
    expected = [[100, 50], [50, 50], [100 + 100 * np.tan(turned), 50], [100 - 100 * np.tan(np.radians(30)), 50]]
    np.testing.assert_allclose(found.pixels, expected, atol=1e-4)
    assert found.is_seen.tolist() == [True, True, True, False, False, False]
    assert found.sizes == ((200, 100), (200, 100))


def test_motion_up_to_the_exposure_is_taken_into_account() -> None:
    start, later = SE3.from_yaw(0.0), SE3.from_yaw(0.0, (0.0, 1.0, 0.0))
    found = find_sightings(POINTS[:1], [camera(0, later)], sweep(POINTS[:1], start))
    np.testing.assert_allclose(found.pixels, [[110, 50]], atol=1e-4)


def test_no_cameras_see_nothing() -> None:
    found = find_sightings(POINTS, [], sweep(POINTS))
    assert len(found.point) == len(found.pixels) == 0
    assert not found.is_seen.any()
    blind = dataclasses.replace(camera(180), width=1, height=1)
    assert not find_sightings(POINTS, [blind], sweep(POINTS)).is_seen.any()
