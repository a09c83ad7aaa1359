"""Decision whether an object moved, or only its labels scatter."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_SIGNIFICANT = 4.0
_TRUSTED = 1.0
_LEAST_WAY_M = 1.0
_FAST_MPS = 2.0
_LEAST_GAP_S, _GAP_FRAMES = 0.6, 2.2  # a longer gap starts a new burst of labels


def has_moved(values: FloatArray, times_s: FloatArray, position_m: FloatArray, period_s: float) -> bool:
    """Whether motion explains N labels significantly better than standing still.

    The motion is straight, with one velocity, from a new place after every gap: cars that pass one after the other are
    seen at one place again and again, but each of them moves.

    Args:
        values: (N, 9) box columns, by time.
        times_s: (N,) ascending times, seconds.
        position_m: (N,) standard deviation of each centre along each axis, metres.
        period_s: time from frame to frame, seconds.
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
    # Labels may scatter more or less than assumed: the assumption weighs as much as _TRUSTED labels.
    excess = (_TRUSTED + float((weight[:, None] * rest**2).sum())) / (_TRUSTED + num_free)
    speed = float(np.linalg.norm(velocity))
    if speed * np.sqrt(information / excess) < _SIGNIFICANT:
        return False
    longest_s = float(max(np.ptp(times_s[burst == b]) for b in range(int(burst[-1]) + 1)))
    # The label of a long object wanders along it as the view changes, but slowly and not far.
    least_way_m = _LEAST_WAY_M + 0.2 * float(np.median(values[:, 3:5].max(axis=1)))
    return bool(speed > _FAST_MPS or speed * longest_s > least_way_m)


def frame_period_s(times_s: FloatArray) -> float:
    """Median time between two frames of a drive, seconds; 0 for fewer than two (T,) times."""
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0


def _centred(values: FloatArray, weight: FloatArray, group: npt.NDArray[Any]) -> FloatArray:
    """(N, D) values minus the weighted mean of their group."""
    total = np.bincount(group, weights=weight)
    means = np.column_stack([np.bincount(group, weights=weight * column) / total for column in values.T])
    return np.asarray(values - means[group])
