"""How the LiDAR of some drives is mounted and how often it turns: what the drives hold need not be typed."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np

from lidarloop_core.labelling.points.ground_height import sensor_height_m
from lidarloop_core.sample import SampleSource

_NUM_SAMPLES = 16
# An origin so near to the ground is that of a vehicle frame, in which no LiDAR is.
_LOWEST_M = 0.4


@dataclass(frozen=True)
class LidarSetup:
    """Figures of the keyframes' LiDAR.

    Attributes:
        height_m: height of the LiDAR above the ground, metres; None where the drives do not show it.
        sweep_interval_s: time from one sweep of a sample to the next, seconds; None with one sweep per sample.
    """

    height_m: float | None
    sweep_interval_s: float | None


def measure_lidar(source: SampleSource) -> LidarSetup:
    """By samples spread evenly over a source.

    The height is that above the ground in the clouds, as the vehicle measures it too; where the clouds show none, that
    in the mounting, which counts from the ego frame.
    """
    chosen = np.unique(np.linspace(0, len(source) - 1, min(_NUM_SAMPLES, len(source))).round().astype(int))
    samples = [source[int(index)] for index in chosen]
    seen = [sensor_height_m(sample.keyframe.points) for sample in samples]
    mounted = [float(sample.keyframe.ego_SE3_lidar.translation[2]) for sample in samples]
    heights_m = [height for height in seen if height is not None] or [z for z in mounted if z > _LOWEST_M]
    gaps_ns = [
        newer.stamp_ns - older.stamp_ns
        for sample in samples
        for newer, older in zip(sample.sweeps, sample.sweeps[1:], strict=False)
    ]
    return LidarSetup(
        round(median(heights_m), 2) if heights_m else None, round(median(gaps_ns) * 1e-9, 3) if gaps_ns else None
    )
