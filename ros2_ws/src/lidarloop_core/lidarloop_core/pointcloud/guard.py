"""What a network may be given: points that came back, with finite values within the range it was trained on.

One value out of range is enough to make all boxes of its surroundings NaN, so every column that reaches the network is
judged, here alone: on the vehicle when a cloud is decoded, in training before sweeps are merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numba
import numpy as np
import numpy.typing as npt

Limits = Mapping[str, tuple[float, float]]
"""Name of a column → its lowest and highest value; columns without limits need only be finite."""

NO_LIMITS: Limits = MappingProxyType({})


@dataclass(frozen=True)
class GuardedPoints:
    """Points that a network may be given, and what became of the others.

    Attributes:
        points: (N, C) float32, metres, LiDAR frame; those of the input itself where nothing was wrong.
        num_no_return: number of points left out at exactly (0, 0, 0), which drivers write where nothing came back.
        num_no_position: number of points left out because x, y or z is NaN, infinite or beyond float32.
        num_not_finite: number of points left out because another column is.
        num_clamped: number of points kept with a value moved to the nearest limit of its column.
        problem: what was wrong with columns other than x y z, with what to check, or "".
    """

    points: npt.NDArray[np.float32]
    num_no_return: int = 0
    num_no_position: int = 0
    num_not_finite: int = 0
    num_clamped: int = 0
    problem: str = ""

    @property
    def num_dropped(self) -> int:
        """Number of points left out."""
        return self.num_no_return + self.num_no_position + self.num_not_finite

    @property
    def num_received(self) -> int:
        """Number of points before any was left out."""
        return len(self.points) + self.num_dropped

    def share(self, num_points: int) -> float:
        """A number of points as a share of those received, 0 to 1."""
        return num_points / self.num_received if num_points else 0.0


def guard_points(points: npt.NDArray[np.float32], columns: Sequence[str], limits: Limits = NO_LIMITS) -> GuardedPoints:
    """Leaves out what is no return and what is not finite, and clamps columns to their limits.

    Args:
        points: (N, C) float32, x y z first, metres, LiDAR frame; not written to.
        columns: names of the C columns.
        limits: limits of single columns, e.g. ``ModelSpec.column_limits``.
    """
    beyond = float(np.finfo(np.float32).max)
    low, high = np.array([limits.get(name, (-beyond, beyond)) for name in columns], np.float32).T.copy()
    if _is_sound(points, low, high):
        return GuardedPoints(points)
    kept, counts, bad_column, clamped_column, farthest = _guard(points, low, high)
    num_no_return, num_no_position, num_not_finite, num_clamped = (int(count) for count in counts)
    problems = []
    if num_not_finite:
        problems.append(f"{num_not_finite} points left out, {columns[bad_column]} is NaN or infinite: check the driver")
    if num_clamped:
        name = columns[clamped_column]
        problems.append(
            f"{num_clamped} points clamped, {name} reaches {farthest:g}, the model takes "
            f"{low[clamped_column]:g} to {high[clamped_column]:g}: check the driver, or scale {name} there"
        )
    return GuardedPoints(kept, num_no_return, num_no_position, num_not_finite, num_clamped, "; ".join(problems))


def warm_up_guard(num_columns: int) -> None:
    """Compiles what ``guard_points`` runs, so that the first cloud need not wait for it."""
    guard_points(np.zeros((1, num_columns), np.float32), ["x"] * num_columns)


@numba.njit(cache=True, nogil=True)
def _is_sound(points, low, high):  # type: ignore[no-untyped-def]
    """Whether there is nothing to leave out or to clamp; stops at the first such point."""
    for i in range(points.shape[0]):
        if points[i, 0] == 0 and points[i, 1] == 0 and points[i, 2] == 0:
            return False
        sound = True
        for c in range(points.shape[1]):
            # NaN is in no range.
            sound &= (points[i, c] >= low[c]) & (points[i, c] <= high[c])
        if not sound:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _guard(points, low, high):  # type: ignore[no-untyped-def]
    """The points kept, numbers by what became of the others, and the column and value to name for two of these."""
    num_points, num_columns = points.shape
    kept = np.empty((num_points, num_columns), np.float32)
    counts = np.zeros(4, np.int64)
    num_kept, bad_column, clamped_column, farthest = 0, 0, 0, np.float32(0)
    for i in range(num_points):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        if x == 0 and y == 0 and z == 0:
            counts[0] += 1
            continue
        if not (np.isfinite(x) and np.isfinite(y) and np.isfinite(z)):
            counts[1] += 1
            continue
        is_clamped, is_finite = False, True
        for c in range(num_columns):
            value = points[i, c]
            if not np.isfinite(value):
                is_finite, bad_column = False, c
                break
            kept[num_kept, c] = min(max(value, low[c]), high[c])
            if kept[num_kept, c] != value:
                is_clamped = True
                if abs(value) >= abs(farthest):
                    clamped_column, farthest = c, value
        if not is_finite:
            counts[2] += 1
            continue
        counts[3] += is_clamped
        num_kept += 1
    return kept[:num_kept], counts, bad_column, clamped_column, farthest
