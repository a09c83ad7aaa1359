from __future__ import annotations

import numpy as np

from lidarloop_core.geometry.camera import in_image, project

INTRINSICS = np.array([[500.0, 0, 320], [0, 400, 240], [0, 0, 1]])


def test_projection_in_closed_form() -> None:
    points = np.array([[0, 0, 5], [1, 2, 10], [1, 2, -10], [-3.2, 0, 5]])
    pixels, depth = project(points, INTRINSICS)
    np.testing.assert_allclose(pixels, [[320, 240], [370, 320], [270, 160], [0, 240]])
    np.testing.assert_allclose(depth, [5, 10, -10, 5])


def test_projecting_a_ray_of_a_pixel_gives_that_pixel() -> None:
    pixels = np.random.default_rng(0).uniform(0, 480, (100, 2))
    rays = np.hstack([pixels, np.ones((100, 1))]) @ np.linalg.inv(INTRINSICS).T
    depth_m = np.random.default_rng(1).uniform(1, 80, (100, 1))
    found, depth = project(rays * depth_m, INTRINSICS)
    np.testing.assert_allclose(found, pixels, atol=1e-9)
    np.testing.assert_allclose(depth, depth_m[:, 0])


def test_points_beside_the_lens_have_no_pixel_and_are_not_in_the_image() -> None:
    with np.errstate(all="raise"):
        pixels, depth = project(np.array([[1.0, 1.0, 0.0]]), INTRINSICS)
    assert np.isnan(pixels).all()
    assert not in_image(pixels, depth, 640, 480, 0.0).any()


def test_the_image_ends_half_a_pixel_beyond_its_outer_pixel_centres() -> None:
    pixels = np.array([[-0.5, 0], [-0.51, 0], [639.49, 479.49], [639.5, 0], [0, 479.5], [5, 5], [5, 5]])
    depth = np.array([1, 1, 1, 1, 1, 0.4, -1])
    assert in_image(pixels, depth, 640, 480, 0.5).tolist() == [True, False, True, False, False, False, False]
