from __future__ import annotations

import numpy as np
import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_core.geometry.rectify import distortion_coefficients, rectify

INTRINSICS = np.array([[140.0, 0.0, 101.3], [0.0, 135.0, 58.2], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    "values",
    [
        [-0.3, 0.1, 0.002, -0.001],
        [0.05, -0.3, 0.0, 0.001, 0.02],
        [0.3, -0.1, 0.001, 0.0, 0.02, 0.5, -0.05, 0.01],
    ],
)
def test_equals_opencv(values: list[float]) -> None:
    cv2 = pytest.importorskip("cv2")
    x, y = np.meshgrid(np.arange(200), np.arange(120))
    smooth = np.stack([100 + 90 * np.sin(x / 17), 100 + 90 * np.cos(y / 11), (x + y) / 2], axis=2)
    pixels = smooth.astype(np.uint8)
    got = rectify(pixels, INTRINSICS, distortion_coefficients(values, "test"))
    want = cv2.undistort(pixels, INTRINSICS, np.array(values))
    inner = (want > 0).all(axis=2) & (got > 0).all(axis=2)  # OpenCV blends the margin with black
    assert inner.mean() > 0.8
    difference = np.abs(got.astype(int) - want)[inner]
    assert difference.max() <= 2  # it rounds coordinates to 1/32 of a pixel
    assert difference.mean() < 0.2


def test_no_distortion_leaves_the_picture_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3)).astype(np.uint8)
    assert rectify(pixels, INTRINSICS, distortion_coefficients([], "test")) is pixels
    assert rectify(pixels, INTRINSICS, distortion_coefficients([0.0] * 5, "test")) is pixels


@pytest.mark.parametrize("values", [[0.1], [0.1, 0.2, 0.3, np.nan]])
def test_wrong_coefficients_name_the_file(values: list[float]) -> None:
    with pytest.raises(DatasetError, match=r"calib\.json"):
        distortion_coefficients(values, "calib.json")
