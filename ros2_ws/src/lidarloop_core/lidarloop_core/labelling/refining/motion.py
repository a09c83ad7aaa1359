"""Whether something moved, or only its labels scatter."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_SIGNIFICANT = 4.0
_TRUSTED = 1.0
_LEAST_WAY_M = 1.0
_FAST_MPS = 2.0
_LEAST_GAP_S, _GAP_FRAMES = 0.6, 2.2  # what parts bursts of labels


def has_moved(values: FloatArray, times_s: FloatArray, position_m: FloatArray, period_s: float) -> bool:
    """Whether motion explains N labels so much better than standing still that chance does not.

    The motion is a straight one with one velocity, from another place after every gap: cars that drive by one after the
    other are seen at one and the same place for a while, and again and again, but they move each time.

    Args:
        values: (N, 9) box columns, by time.
        times_s: (N,) ascending.
        position_m: (N,) standard deviation of each centre, each axis.
        period_s: from frame to frame.
    """
    gap_s = max(_LEAST_GAP_S, _GAP_FRAMES * period_s)
    burst = np.cumsum(np.diff(times_s, prepend=times_s[:1]) > gap_s)
    num_free = 2 * len(values) - 2 * (int(burst[-1]) + 1) - 2
    weight = position_m**-2
    since = _centred(times_s[:, None], weight, burst)[:, 0]
    information = float((weight * since**2).sum())
    if num_free < 1 or information <= 0:
        return False
    offset = _centred(values[:, :2], weight, burst)
    velocity = (weight * since) @ offset / information
    rest = offset - since[:, None] * velocity
    # Labels scatter more than was thought, or less: so many of them as _TRUSTED speak as loud as what was thought.
    excess = (_TRUSTED + float((weight[:, None] * rest**2).sum())) / (_TRUSTED + num_free)
    speed = float(np.linalg.norm(velocity))
    if speed * np.sqrt(information / excess) < _SIGNIFICANT:
        return False
    longest_s = float(max(np.ptp(times_s[burst == b]) for b in range(int(burst[-1]) + 1)))
    # A label wanders along a long thing as its view changes, but slowly and not far.
    least_way_m = _LEAST_WAY_M + 0.2 * float(np.median(values[:, 3:5].max(axis=1)))
    return bool(speed > _FAST_MPS or speed * longest_s > least_way_m)


def frame_period_s(times_s: FloatArray) -> float:
    """What usually lies between two frames of a drive."""
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0


def _centred(values: FloatArray, weight: FloatArray, group: npt.NDArray[Any]) -> FloatArray:
    """(N, D) values without the weighted mean of their group."""
    total = np.bincount(group, weights=weight)
    means = np.column_stack([np.bincount(group, weights=weight * column) / total for column in values.T])
    return np.asarray(values - means[group])
