"""Quality of a label: a weight for training, found without ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.points.accumulate import Cloud
from lidarloop_core.labelling.points.segments import Segment

_SPECK = 0.2
"""Evidence of a single point, where points over the full size of the class give 1."""

_GONE = 0.4
"""Factor for an object without a point in the keyframe's sweep: it was there a moment ago."""


def evidence(segments: Sequence[Segment], cloud: Cloud, sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(M,) in [0, 1], the support of each label by its points.

    The best criterion to separate right labels from wrong ones is the span of the points in the ground plane, relative
    to the object's size: stray points of the background span little.

    Args:
        segments: M segments.
        cloud: the cloud that the segments index.
        sizes: (C, 3) shape priors by label, metres.
    """
    result = np.ones(len(segments))
    for i, segment in enumerate(segments):
        span_m = np.hypot(*np.ptp(cloud.points[segment.index, :2], axis=0))
        size_m = np.hypot(*sizes[segment.label, :2])
        result[i] = _SPECK + (1 - _SPECK) * min(1.0, span_m / size_m)
        if (cloud.age[segment.index] > 0).all():
            result[i] *= _GONE
    return result


def quality_of(
    scores: npt.NDArray[Any],
    num_cameras: npt.NDArray[Any],
    support: npt.NDArray[Any],
    confidence: npt.NDArray[Any],
) -> npt.NDArray[np.float32]:
    """(M,) in [0, 1], growing with each of its arguments.

    Args:
        scores: (M,) scores of the 2D detections, in [0, 1].
        num_cameras: (M,) number of cameras that agree; their errors are taken as independent.
        support: (M,) support of the points, by ``evidence``.
        confidence: (M,) confidence of the box fit, in [0, 1].
    """
    agreed = 1 - (1 - np.asarray(scores, np.float64)) ** np.asarray(num_cameras)
    quality: npt.NDArray[np.float32] = (agreed * support * (0.5 + 0.5 * confidence)).astype(np.float32)
    return quality
