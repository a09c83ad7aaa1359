"""How far a picture's relative depth is in metres, by the road: the camera's height above it is calibrated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lidarloop_core.sample import CameraImage

FloatArray = npt.NDArray[np.float64]

_NEAR_M, _FAR_M = 3.0, 30.0  # nearer is the vehicle itself, farther a bump or a slope decides
_SAMPLES = 4000
_TRIALS = 300
_TOLERANCE = 0.08  # of the inverse depth
_MIN_SHARE = 0.15  # of the pixels where there would be road, if all were flat and free
_MIN_SPAN = 1.5  # depths that the agreeing pixels span: a line without slope agrees with all that are equally far


def metres(inverse: npt.NDArray[np.float32], image: CameraImage, *, offset: bool) -> npt.NDArray[np.float32] | None:
    """Depth in metres from inverse depth that is right but for a factor, and maybe an offset.

    The road is taken for the plane z = 0 of the ego frame. Where a pixel shows it, the inverse depth is known; most
    lower pixels do, and the others do not agree with each other: the line that most pixels agree on (RANSAC, Fischler
    and Bolles 1981, always the same trials) gives factor and offset.

    Args:
        inverse: (H, W) the larger the nearer.
        image: its intrinsics and mounting give where the road would be; its pixels are not loaded.
        offset: whether zero may mean another depth than infinity, as with networks trained on disparities.

    Returns:
        (H, W) metres along the optical axis, infinite where beyond all depth; None where too few pixels show a road.
    """
    expected = _of_the_road(image)
    asked = np.flatnonzero((expected > 1 / _FAR_M) & (expected < 1 / _NEAR_M) & np.isfinite(inverse))
    asked = asked[:: max(len(asked) // _SAMPLES, 1)]
    if len(asked) < 2:
        return None
    found = _most_agreed(inverse.ravel()[asked].astype(np.float64), expected.ravel()[asked], offset)
    if found is None:
        return None
    factor, constant = found
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = factor * inverse.astype(np.float64) + constant
        depth: npt.NDArray[np.float32] = np.where(scaled > 0, 1 / scaled, np.inf).astype(np.float32)
    return depth


def _of_the_road(image: CameraImage) -> FloatArray:
    """(H, W) inverse depth of the road at each pixel, negative above the horizon."""
    u, v = np.meshgrid(np.arange(image.width), np.arange(image.height))
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(image.intrinsics).T
    fall = -(rays @ image.ego_SE3_camera.rotation[2])  # in metres for each metre of depth
    height_m = max(float(image.ego_SE3_camera.translation[2]), 1e-6)
    inverse: FloatArray = fall / height_m
    return inverse


def _most_agreed(seen: FloatArray, expected: FloatArray, offset: bool) -> tuple[float, float] | None:
    """Factor and constant of ``expected ≈ factor · seen + constant``, for as many as possible."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, len(seen), (2, _TRIALS))
    with np.errstate(divide="ignore", invalid="ignore"):
        if offset:
            factors = (expected[first] - expected[second]) / (seen[first] - seen[second])
            constants = expected[first] - factors * seen[first]
        else:
            factors, constants = expected[first] / seen[first], np.zeros(_TRIALS)
    usable = np.isfinite(factors) & (factors > 0)
    if not usable.any():
        return None
    factors, constants = factors[usable], constants[usable]
    off = np.abs(factors[:, None] * seen + constants[:, None] - expected)
    agreeing = off < _TOLERANCE * expected
    best = agreeing[int(np.argmax(agreeing.sum(axis=1)))]
    near, far = np.percentile(expected[best], (95, 5))
    if best.mean() < _MIN_SHARE or near < _MIN_SPAN * far:
        return None
    # Least squares of the relative error, over those that agree.
    columns = np.stack([seen[best], np.ones(int(best.sum()))], axis=1)[:, : 2 if offset else 1]
    solution = np.linalg.lstsq(columns / expected[best, None], np.ones(int(best.sum())), rcond=None)[0]
    return float(solution[0]), float(solution[1]) if offset else 0.0
