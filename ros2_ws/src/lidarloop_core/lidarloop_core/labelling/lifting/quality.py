"""How far a label can be trusted: a weight for training, without any ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.points.accumulate import Cloud
from lidarloop_core.labelling.points.segments import Segment

_SPECK = 0.2
"""How well a single point bears a label out, against points over the whole size of its class."""

_GONE = 0.4
"""The same for an object of which the keyframe's sweep has no point: it was there a moment ago."""


def evidence(segments: Sequence[Segment], cloud: Cloud, sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(M,) in [0, 1] how well its points bear each label out.

    What most tells right labels from wrong ones is how much of the object the points span in the ground plane: few
    points of something else that shines past it span little.

    Args:
        segments: M of them.
        cloud: that they point into.
        sizes: (C, 3) shape priors by label.
    """
    result = np.ones(len(segments))
    for i, segment in enumerate(segments):
        span_m = np.hypot(*np.ptp(cloud.points[segment.index, :2], axis=0))
        whole_m = np.hypot(*sizes[segment.label, :2])
        result[i] = _SPECK + (1 - _SPECK) * min(1.0, span_m / whole_m)
        if (cloud.age[segment.index] > 0).all():
            result[i] *= _GONE
    return result


def quality_of(
    scores: npt.NDArray[Any],
    num_cameras: npt.NDArray[Any],
    borne_out: npt.NDArray[Any],
    confidence: npt.NDArray[Any],
) -> npt.NDArray[np.float32]:
    """A number in [0, 1] that grows with each of what a label rests on.

    Args:
        scores: (M,) of the 2D detections, in [0, 1].
        num_cameras: (M,) that agree: they are taken to err independently.
        borne_out: (M,) ``evidence``.
        confidence: (M,) of the box fit, in [0, 1].
    """
    agreed = 1 - (1 - np.asarray(scores, np.float64)) ** np.asarray(num_cameras)
    quality: npt.NDArray[np.float32] = (agreed * borne_out * (0.5 + 0.5 * confidence)).astype(np.float32)
    return quality
