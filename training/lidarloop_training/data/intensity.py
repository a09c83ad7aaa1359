"""What intensities a model has learnt from, for the vehicle to hold its own LiDAR's against."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lidarloop_core.pointcloud.guard import NO_LIMITS, Limits, guard_points
from lidarloop_core.sample import SampleSource, Sweep

_NUM_SAMPLES = 32


def intensity_deciles(source: SampleSource, limits: Limits = NO_LIMITS) -> tuple[float, ...]:
    """Deciles of the raw intensities, smallest to largest (11 values), of samples spread evenly over a source.

    Empty where the clouds have no intensity. The clouds are guarded first: one wild value is no range of a sensor.

    Args:
        source: samples.
        limits: limits of single columns, e.g. ``ModelSpec.column_limits``.
    """
    chosen = np.unique(np.linspace(0, len(source) - 1, min(_NUM_SAMPLES, len(source))).round().astype(int))
    keyframes = [source[int(index)].keyframe for index in chosen]
    values = [_intensities(sweep, limits) for sweep in keyframes if "intensity" in sweep.columns]
    found = np.concatenate([*values, np.zeros(0, np.float32)])
    return tuple(np.quantile(found, np.linspace(0, 1, 11)).round(3).tolist()) if len(found) else ()


def _intensities(sweep: Sweep, limits: Limits) -> npt.NDArray[np.float32]:
    columns = ("x", "y", "z", "intensity")
    points = sweep.points[:, [sweep.columns.index(name) for name in columns]]
    return guard_points(points, columns, limits).points[:, 3]
