"""Farthest point sampling in the bird's eye view."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt


def farthest_points(xy: npt.NDArray[Any], num_points: int, first: int = 0) -> npt.NDArray[np.int64]:
    """Points each of which is the farthest from all chosen before it (Eldar et al., TIP 1997); of equals the first.

    Height is left out, so that near and far, low and high parts of the scene are covered alike (Cai et al., section
    II-B).

    Args:
        xy: (N, 2) places in the ground plane, metres.
        num_points: most points to choose.
        first: index of the point to begin with.

    Returns:
        (K,) indices in order of choice, all at different places; K < ``num_points`` where there are fewer places.
    """
    chosen: npt.NDArray[np.int64] = _farthest(np.ascontiguousarray(xy[:, :2], np.float32), num_points, first)
    return chosen


@numba.njit(cache=True, nogil=True)
def _farthest(xy, num_points, first):  # type: ignore[no-untyped-def]
    chosen = np.empty(min(num_points, len(xy)), np.int64)
    squared = np.full(len(xy), np.inf, np.float32)  # distance to the nearest chosen point
    last, num_chosen = first, 0
    while num_chosen < len(chosen):
        chosen[num_chosen] = last
        num_chosen += 1
        x, y = xy[last, 0], xy[last, 1]
        farthest = np.float32(0)
        for i in range(len(xy)):
            dx, dy = xy[i, 0] - x, xy[i, 1] - y
            squared[i] = min(squared[i], dx * dx + dy * dy)
            if squared[i] > farthest:
                farthest, last = squared[i], i
        if farthest == 0:
            break
    return chosen[:num_chosen]
