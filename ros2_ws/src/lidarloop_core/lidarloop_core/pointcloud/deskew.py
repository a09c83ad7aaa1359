"""Deskewing: every point of a sweep brought to one moment by the motion of the LiDAR during the sweep.

What moves by itself stays where it was when it was measured: its own motion is not known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil

import numba
import numpy as np
import numpy.typing as npt

from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.pointcloud.point_time import TIME_COLUMN
from lidarloop_core.sample import Sweep

_KNOT_S = 0.02
"""Time between two poses that are asked for; between them the motion is a straight line. At 25 m/s and 40°/s that is
1 mm off, and 2 mm more at 80 m."""

_STEP_S = 1 / 16_000
"""Time between two entries of the table; each point takes the nearest. At 25 m/s and 40°/s that is 1 mm off, and 2 mm
more at 80 m; to blend two entries would take twice the time."""

Poses = Callable[[int], SE3]
"""Time in nanoseconds → ``world_SE3_lidar``."""


@dataclass(frozen=True)
class SweepMotion:
    """Poses of the LiDAR during one sweep, at equal steps of time.

    Attributes:
        start_s: time of the first pose, seconds after the sweep's stamp.
        per_s: number of poses per second.
        poses: (K, 12) float32, row-major 3 × 4 matrices ``reference_SE3_lidar``, metres; the reference is the LiDAR at
            the sweep's stamp.
    """

    start_s: float
    per_s: float
    poses: npt.NDArray[np.float32]


def motion_during(poses: Poses, stamp_ns: int, first_s: float, last_s: float) -> SweepMotion:
    """The motion of a LiDAR during a sweep.

    Args:
        poses: gives ``world_SE3_lidar``; its exceptions pass through.
        stamp_ns: the moment that points are to be brought to, nanoseconds.
        first_s: time of the earliest point, seconds after ``stamp_ns``.
        last_s: time of the latest point, seconds after ``stamp_ns``.
    """
    knots_s = np.linspace(first_s, last_s, 1 + max(1, ceil((last_s - first_s) / _KNOT_S)))
    # Composed in float64: world coordinates can be large, the relative motion is small.
    reference_SE3_world = poses(stamp_ns).inverse()
    known = [reference_SE3_world @ poses(stamp_ns + round(1e9 * knot_s)) for knot_s in knots_s]
    matrices = np.array([pose.matrix[:3].ravel() for pose in known])
    times_s = first_s + _STEP_S * np.arange(1 + ceil((last_s - first_s) / _STEP_S))
    table = np.column_stack([np.interp(times_s, knots_s, column) for column in matrices.T])
    return SweepMotion(first_s, 1 / _STEP_S, np.ascontiguousarray(table, np.float32))


def deskewed(sweep: Sweep, motion: SweepMotion | None) -> Sweep:
    """A sweep with all points as seen from the LiDAR at its stamp, and without the column of times.

    Args:
        sweep: with the column ``TIME_COLUMN``, seconds after its stamp.
        motion: the motion during the sweep; None where it is not known: points stay where they are.
    """
    place = sweep.columns.index(TIME_COLUMN)
    kept = [i for i in range(len(sweep.columns)) if i != place]
    points = np.empty((len(sweep.points), len(kept)), np.float32)
    known = motion or SweepMotion(0.0, 0.0, _STANDING)
    start_s, per_s = np.float32(known.start_s), np.float32(known.per_s)
    _move(sweep.points, place, np.array(kept), known.poses, start_s, per_s, points)
    return replace(sweep, points=points, columns=tuple(sweep.columns[i] for i in kept))


_STANDING = np.eye(3, 4, dtype=np.float32).reshape(1, 12)


def warm_up_deskew() -> None:
    """Compiles what ``deskewed`` runs, so that the first cloud need not wait for it."""
    columns = ("x", "y", "z", TIME_COLUMN)
    sweep = Sweep(np.zeros((1, 4), np.float32), columns, 0, SE3.identity(), None)
    deskewed(sweep, motion_during(lambda _: SE3.identity(), 0, -0.1, 0.0))


@numba.njit(cache=True, nogil=True)
def _move(points, time_column, kept, poses, start_s, per_s, out):  # type: ignore[no-untyped-def]
    """Moves each point by the pose nearest to its time, in the order of ``sweeps.cu``'s sums, and copies the rest."""
    last, half = len(poses) - 1, np.float32(0.5)
    for i in range(len(points)):
        pose = poses[min(max(int((points[i, time_column] - start_s) * per_s + half), 0), last)]
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        for r in range(3):
            out[i, r] = ((x * pose[4 * r] + y * pose[4 * r + 1]) + z * pose[4 * r + 2]) + pose[4 * r + 3]
        for c in range(3, len(kept)):
            out[i, c] = points[i, kept[c]]
