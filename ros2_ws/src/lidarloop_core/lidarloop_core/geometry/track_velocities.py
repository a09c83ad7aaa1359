"""Velocities of labelled objects, from where they are before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

MAX_GAP_NS = 1_500_000_000
"""Longest time between two labels of an object that are set against each other; that of nuScenes' devkit."""


def track_velocities(
    stamps_ns: npt.NDArray[np.int64], tracks: npt.NDArray[Any], centers: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The velocity of each label, by its neighbours in time of the same object.

    As nuScenes' devkit (``box_velocity``): the difference of the labels before and after, at a track's ends that of one
    side. With both neighbours the gap may be twice as long, for it spans two intervals.

    Args:
        stamps_ns: (N,) times of the labels, nanoseconds, in any order.
        tracks: (N,) names of the objects.
        centers: (N, D) places in a frame that stands still, metres.

    Returns:
        (N, D) metres per second in that frame; NaN where a track has no neighbour near enough.
    """
    _, track = np.unique(tracks.astype(str), return_inverse=True)
    order = np.lexsort((stamps_ns, track))
    rows = np.arange(len(order))
    before, after = np.maximum(rows - 1, 0), np.minimum(rows + 1, len(rows) - 1)
    before = np.where(track[order[before]] == track[order], before, rows)
    after = np.where(track[order[after]] == track[order], after, rows)
    gap_ns = stamps_ns[order[after]] - stamps_ns[order[before]]
    limit_ns = MAX_GAP_NS * np.maximum(after - before, 1)
    gap_s = np.where((gap_ns > 0) & (gap_ns <= limit_ns), gap_ns * 1e-9, np.nan)
    velocities = np.empty(centers.shape)
    velocities[order] = (centers[order[after]] - centers[order[before]]) / gap_s[:, None]
    return velocities
