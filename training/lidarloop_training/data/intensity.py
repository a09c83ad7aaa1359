"""What intensities a model has learnt from, for the vehicle to hold its own LiDAR's against."""

from __future__ import annotations

import numpy as np

from lidarloop_core.sample import SampleSource

_NUM_SAMPLES = 32


def intensity_deciles(source: SampleSource) -> tuple[float, ...]:
    """Deciles of the raw intensities, smallest to largest (11 values), of samples spread evenly over a source.

    Empty where the clouds have no intensity.
    """
    chosen = np.unique(np.linspace(0, len(source) - 1, min(_NUM_SAMPLES, len(source))).round().astype(int))
    keyframes = [source[int(index)].keyframe for index in chosen]
    values = [sweep.points[:, sweep.columns.index("intensity")] for sweep in keyframes if "intensity" in sweep.columns]
    found = np.concatenate([*values, np.zeros(0, np.float32)])
    found = found[np.isfinite(found)]
    return tuple(np.quantile(found, np.linspace(0, 1, 11)).round(3).tolist()) if len(found) else ()
