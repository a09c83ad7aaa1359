"""CloudHealth: the sensor's unit of intensity and mounting height, as one cloud shows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.model.spec import ModelSpec

# With fewer points the intensity is not judged.
MIN_POINTS = 100
# The ground is looked for where it is seen in most revolutions: not under the vehicle, not beyond the next cars.
GROUND_RANGE_M = (2.0, 20.0)
GROUND_BIN_M = 0.1
# The ground holds at least so many of the points there, or its height is unknown.
MIN_GROUND_POINTS = 200
MIN_GROUND_SHARE = 0.1
GROUND_TOLERANCE_M = 0.4


@dataclass(frozen=True)
class CloudHealth:
    """Figures of one cloud.

    Attributes:
        intensity: smallest, median and largest intensity; None with too few points, or if the model takes none.
        ground_height_m: height of the LiDAR above the ground, metres; None where no ground is seen.
    """

    intensity: tuple[float, float, float] | None
    ground_height_m: float | None


def inspect(points: npt.NDArray[np.float32], columns: tuple[str, ...]) -> CloudHealth:
    """Figures of one sweep. Takes about a millisecond: meant for one cloud a second.

    Args:
        points: (N, C) points in the LiDAR's frame, metres.
        columns: names of the C columns.
    """
    intensity = None
    if "intensity" in columns and len(points) >= MIN_POINTS:
        low, median, high = np.percentile(points[:, columns.index("intensity")], (0, 50, 100))
        intensity = float(low), float(median), float(high)
    return CloudHealth(intensity, ground_height_m(points))


def ground_height_m(points: npt.NDArray[np.float32]) -> float | None:
    """Height of the sensor above the level at which most points near it lie, metres; None without such a level.

    Args:
        points: (N, C) points in the LiDAR's frame, x y z first, metres.
    """
    range_m = np.hypot(points[:, 0], points[:, 1])
    near = (range_m > GROUND_RANGE_M[0]) & (range_m < GROUND_RANGE_M[1])
    z = points[near, 2]
    z = z[(z > -10.0) & (z < 0.0)]
    if len(z) < MIN_GROUND_POINTS:
        return None
    bins = np.floor(z / -GROUND_BIN_M).astype(np.int64)
    # Pairs of bins: a level on the border of two is found too.
    counts = np.bincount(bins, minlength=2)
    pairs = counts[:-1] + counts[1:]
    best = int(pairs.argmax())
    if pairs[best] < MIN_GROUND_SHARE * np.count_nonzero(near):
        return None
    return -float(np.median(z[(bins == best) | (bins == best + 1)]))


def health_problems(health: CloudHealth, spec: ModelSpec) -> list[str]:
    """One line, with what to check, for each figure that does not fit the model's training data."""
    reasons = []
    if health.intensity is not None:
        reasons.append(_intensity_problem(*health.intensity, spec))
    height_m = health.ground_height_m
    if height_m is not None and abs(height_m - spec.lidar_height_m) > GROUND_TOLERANCE_M:
        reasons.append(
            f"the ground lies {height_m:.2f} m below the LiDAR, the model was trained at {spec.lidar_height_m:.2f} m: "
            "check the mounting, or train with clouds of this height"
        )
    return [reason for reason in reasons if reason]


def _intensity_problem(low: float, median: float, high: float, spec: ModelSpec) -> str:
    if low == high:
        return f"intensity is flat, every point has {low:g}: check the driver; scores will be lower"
    # A sensor in another unit (0 to 1, 16 bit) is off by far more than these factors; a dark scene is not.
    if high * spec.intensity_scale < 0.02:
        unit = f"0 to {1 / spec.intensity_scale:.0f}" if spec.intensity_scale else "0 alone"
        return f"intensity is {low:g} to {high:g}, the model was trained on {unit}: scale it in the driver"
    if spec.training_intensity:
        dark, bright = spec.training_intensity[1], spec.training_intensity[-2]
        if not dark <= median <= bright:
            return (
                f"half of the points have an intensity {'below' if median < dark else 'above'} {median:g}, in training "
                f"eight of ten lay from {dark:g} to {bright:g}: scale it in the driver, or train for this sensor"
            )
    return ""
