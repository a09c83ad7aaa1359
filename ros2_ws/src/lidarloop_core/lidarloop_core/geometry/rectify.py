"""Pictures without lens distortion: what ``CameraImage`` promises, from data sets that publish pictures as taken.

Distortion follows OpenCV's model (calib3d, "Camera Calibration and 3D Reconstruction"): coefficients k1 k2 p1 p2, then
optionally k3, then optionally k4 k5 k6. Its thin prism (s1 s2 s3 s4) and tilt (τx τy) must be zero. The rectified
picture keeps size and pinhole matrix; what the lens did not see becomes black.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import DatasetError

_ALLOWED = (0, 4, 5, 8, 12, 14)
_NUM_USED = 8


def distortion_coefficients(values: npt.ArrayLike, where: str) -> npt.NDArray[np.float64]:
    """(8,) coefficients k1 k2 p1 p2 k3 k4 k5 k6 from the 0, 4, 5, 8, 12 or 14 that a data set provides.

    Raises:
        DatasetError: another number of them, one that is not finite, or a thin prism or tilt other than zero;
            ``where`` names the source.
    """
    given = np.asarray(values, dtype=np.float64).reshape(-1)
    if len(given) not in _ALLOWED or not np.isfinite(given).all():
        raise DatasetError(
            f"{where}: received distortion coefficients {given.tolist()}; expected k1 k2 p1 p2 [k3 [k4 k5 k6]]: "
            "restore the calibration"
        )
    if given[_NUM_USED:].any():
        raise DatasetError(
            f"{where}: received a lens with thin prism or tilt, {given[_NUM_USED:].tolist()}; expected zeros there: "
            "rectify the images with image_proc and take image_rect"
        )
    return np.concatenate([given[:_NUM_USED], np.zeros(max(0, _NUM_USED - len(given)))])


def rectify(
    pixels: npt.NDArray[np.uint8], intrinsics: npt.NDArray[np.float64], coefficients: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    """The picture a pinhole camera with the same matrix would have taken, interpolated linearly.

    Args:
        pixels: (H, W, 3) uint8 as taken.
        intrinsics: (3, 3) in pixels; pixel centres have integer coordinates.
        coefficients: (8,) from ``distortion_coefficients``.
    """
    if not coefficients.any():
        return pixels
    source = np.ascontiguousarray(pixels)
    return _rectify(source, intrinsics.astype(np.float64), coefficients.astype(np.float64))  # type: ignore[no-any-return]


@numba.njit(cache=True, nogil=True)
def _rectify(pixels, intrinsics, k):  # type: ignore[no-untyped-def]
    height, width, channels = pixels.shape
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    result = np.zeros_like(pixels)
    for row in range(height):
        y = (row - cy) / fy
        for column in range(width):
            x = (column - cx) / fx
            r2 = x * x + y * y
            radial = (1 + r2 * (k[0] + r2 * (k[1] + r2 * k[4]))) / (1 + r2 * (k[5] + r2 * (k[6] + r2 * k[7])))
            u = (x * radial + 2 * k[2] * x * y + k[3] * (r2 + 2 * x * x)) * fx + cx
            v = (y * radial + k[2] * (r2 + 2 * y * y) + 2 * k[3] * x * y) * fy + cy
            if not (0 <= u <= width - 1 and 0 <= v <= height - 1):
                continue
            left, top = int(u), int(v)
            right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
            a, b = u - left, v - top
            for c in range(channels):
                upper = (1 - a) * pixels[top, left, c] + a * pixels[top, right, c]
                lower = (1 - a) * pixels[bottom, left, c] + a * pixels[bottom, right, c]
                result[row, column, c] = int((1 - b) * upper + b * lower + 0.5)
    return result
