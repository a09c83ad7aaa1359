"""Several sweeps as one cloud: ego-motion compensated, each point with its age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numba
import numpy as np
import numpy.typing as npt

from lidarloop_core.errors import CloudFormatError, DatasetError
from lidarloop_core.geometry.se3 import SE3
from lidarloop_core.pointcloud.guard import Limits, guard_points
from lidarloop_core.sample import Sweep


class Posed(Protocol):
    """A sweep's place in time and space; see ``Sweep`` for the attributes."""

    @property
    def stamp_ns(self) -> int: ...

    @property
    def ego_SE3_lidar(self) -> SE3: ...

    @property
    def world_SE3_ego(self) -> SE3 | None: ...


def merge_sweeps(sweeps: Sequence[Sweep], columns: Sequence[str]) -> npt.NDArray[np.float32]:
    """Stacks sweeps in the newest one's LiDAR frame.

    Args:
        sweeps: newest first, at least one.
        columns: names of the cloud's columns in order, x y z first; each is a column of every sweep or ``"dt"``: the
            age in seconds against the newest sweep's stamp (a sweep's own ``dt`` column, ages within it, is added).

    Returns:
        (N, C) float32, metres, the newest sweep's LiDAR frame, its points first.

    Raises:
        CloudFormatError: a sweep lacks a column.
        DatasetError: several sweeps but one has no ego pose, or they are not newest first.
    """
    newest = sweeps[0]
    merged = np.empty((sum(len(s.points) for s in sweeps), len(columns)), np.float32)
    start = 0
    for sweep in sweeps:
        block = merged[start : start + len(sweep.points)]
        _copy_columns(sweep, columns, age_s=age_s(newest, sweep), out=block)
        if sweep is not newest:
            motion = newest_SE3_older(newest, sweep)
            _move(block, motion.rotation.astype(np.float32), motion.translation.astype(np.float32))
        start += len(block)
    return merged


def network_points(sweeps: Sequence[Sweep], columns: Sequence[str], limits: Limits) -> npt.NDArray[np.float32]:
    """``merge_sweeps`` of sweeps as a data source gives them, each guarded first as the vehicle does when it decodes.

    Args:
        sweeps: newest first, at least one.
        columns: names of the cloud's columns, as for ``merge_sweeps``.
        limits: limits of single columns, e.g. ``ModelSpec.column_limits``.

    Returns:
        (N, C) float32, metres, the newest sweep's LiDAR frame.

    Raises:
        CloudFormatError, DatasetError: as ``merge_sweeps``.
    """
    return merge_sweeps([_guarded(sweep, columns, limits) for sweep in sweeps], columns)


def _guarded(sweep: Sweep, columns: Sequence[str], limits: Limits) -> Sweep:
    """The sweep in those of its columns that the network takes; the source's other columns may hold anything."""
    places = [i for i, name in enumerate(sweep.columns) if name in columns]
    taken = tuple(sweep.columns[i] for i in places)
    points = sweep.points if len(taken) == len(sweep.columns) else sweep.points[:, places]
    return replace(sweep, points=guard_points(points, taken, limits).points, columns=taken)


@numba.njit(cache=True, nogil=True)
def _move(points, rotation, translation):  # type: ignore[no-untyped-def]
    """``SE3.transform`` of the first three columns, in place, fast, and in the order of ``sweeps.cu``'s sums."""
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        for j in range(3):
            points[i, j] = rotation[j, 0] * x + rotation[j, 1] * y + rotation[j, 2] * z + translation[j]


def thinning_stride(num_points: int, most: int) -> int:
    """The stride of points that leaves at most ``most`` of a merged cloud; 1 takes all."""
    return -(-num_points // most) or 1


def age_s(newest: Posed, sweep: Posed) -> float:
    """The age of a sweep against the newest, seconds; raises DatasetError if it is younger."""
    age_ns = newest.stamp_ns - sweep.stamp_ns
    if age_ns < 0:
        raise DatasetError(
            f"merge_sweeps received a sweep {-age_ns} ns younger than the first; expected the newest first: sort them"
        )
    return age_ns * 1e-9


def _copy_columns(sweep: Sweep, columns: Sequence[str], *, age_s: float, out: npt.NDArray[np.float32]) -> None:
    for i, name in enumerate(columns):
        if name in sweep.columns:
            out[:, i] = sweep.points[:, sweep.columns.index(name)]
        elif name == "dt":
            out[:, i] = 0.0
        else:
            raise CloudFormatError(
                f"sweep lacks column {name}; found {', '.join(sweep.columns)}, expected {', '.join(columns)}. "
                "Take a source that has it, or a model without it"
            )
        if name == "dt":
            out[:, i] += np.float32(age_s)


def newest_SE3_older(newest: Posed, older: Posed) -> SE3:
    """The motion of the LiDAR between two sweeps; raises DatasetError if a pose is missing."""
    if newest.world_SE3_ego is None or older.world_SE3_ego is None:
        raise DatasetError(
            "merge_sweeps received several sweeps without ego-motion; expected a pose for each: "
            "add odometry to the source, or use one sweep"
        )
    # Composed in float64: world coordinates can be large, the relative motion is small.
    world_SE3_newest = newest.world_SE3_ego @ newest.ego_SE3_lidar
    return world_SE3_newest.inverse() @ older.world_SE3_ego @ older.ego_SE3_lidar
