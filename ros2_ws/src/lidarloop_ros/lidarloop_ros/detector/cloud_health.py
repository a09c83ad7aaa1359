"""CloudHealth: the sensor's unit of intensity and mounting height, as one cloud shows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.points.ground_height import sensor_height_m
from lidarloop_core.model.spec import ModelSpec

# With fewer points the intensity is not judged.
MIN_POINTS = 100
GROUND_TOLERANCE_M = 0.4
# A LiDAR so near to the ground is none: the clouds are in the frame of a vehicle, whose origin lies on the ground.
IN_VEHICLE_FRAME_M = 0.4


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
    """Figures of one sweep. Takes a few milliseconds: meant for one cloud a second.

    Args:
        points: (N, C) points in the LiDAR's frame, metres.
        columns: names of the C columns.
    """
    intensity = None
    if "intensity" in columns and len(points) >= MIN_POINTS:
        low, median, high = np.percentile(points[:, columns.index("intensity")], (0, 50, 100))
        intensity = float(low), float(median), float(high)
    return CloudHealth(intensity, sensor_height_m(points))


def health_problems(health: CloudHealth, spec: ModelSpec) -> list[str]:
    """One line, with what to check, for each figure that does not fit the model's training data."""
    reasons = []
    if health.intensity is not None:
        reasons.append(_intensity_problem(*health.intensity, spec))
    height_m = health.ground_height_m
    if height_m is not None and abs(height_m - spec.lidar_height_m) > GROUND_TOLERANCE_M:
        is_lidar_frame = abs(height_m) > IN_VEHICLE_FRAME_M
        reasons.append(
            f"the ground lies {height_m:.2f} m below the LiDAR, the model was trained at {spec.lidar_height_m:.2f} m: "
            + ("check the mounting, or train with clouds of this height" if is_lidar_frame else
               "are the clouds in the vehicle's frame? Take the driver's clouds in the LiDAR's own")
        )  # fmt: skip
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
