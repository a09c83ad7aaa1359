"""Fusion of segments that several cameras give of one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from lidarloop_core.labelling.points.accumulate import Cloud
from lidarloop_core.labelling.points.segments import Segment

_SHARED = 0.3
"""Two masks that share this part of the smaller one's points show one object."""

_GAP_M = 1.0
_OVER_SIZE = 1.2
"""Segments of one class that are nearer to each other than the first, and together no larger than the second times the
usual size, are parts of one object, cut by the edge of a picture."""


def fused(segments: Sequence[Segment], cloud: Cloud, sizes: npt.NDArray[np.float64]) -> list[Segment]:
    """The segments, best first, with those of one object in different cameras joined.

    The class is that of the best segment: if one camera finds a truck and the other, with a lower score, a bus, it is a
    truck.

    Args:
        segments: segments of all cameras.
        cloud: the cloud that the segments index.
        sizes: (C, 3) shape priors by label, metres.
    """
    ordered = sorted(segments, key=lambda s: -s.score)
    low = np.array([cloud.points[s.index].min(axis=0) for s in ordered]).reshape(-1, 3) - _GAP_M / 2
    high = np.array([cloud.points[s.index].max(axis=0) for s in ordered]).reshape(-1, 3) + _GAP_M / 2
    objects: dict[int, Segment] = {}  # by position in ``ordered``
    for i, segment in enumerate(ordered):
        near = np.flatnonzero(((low[:i] <= high[i]) & (low[i] <= high[:i])).all(axis=1))
        for j in near.tolist():
            known = objects.get(j)
            if known and segment.cameras[0] not in known.cameras and _is_one(known, segment, cloud, sizes):
                index = np.union1d(known.index, segment.index)
                objects[j] = replace(known, index=index, cameras=known.cameras + segment.cameras)
                low[j], high[j] = np.minimum(low[i], low[j]), np.maximum(high[i], high[j])
                break
        else:
            objects[i] = segment
    return list(objects.values())


def _is_one(a: Segment, b: Segment, cloud: Cloud, sizes: npt.NDArray[np.float64]) -> bool:
    shared = len(np.intersect1d(a.index, b.index, assume_unique=True))
    if shared >= _SHARED * min(len(a.index), len(b.index)):
        return True
    if a.label != b.label:
        return False
    own, other = cloud.points[a.index], cloud.points[b.index]
    span_m = np.hypot(*np.ptp(np.concatenate([own, other])[:, :2], axis=0))
    if span_m > _OVER_SIZE * np.hypot(*sizes[a.label, :2]):
        return False
    return bool(cKDTree(own).query(other)[0].min() < _GAP_M)
