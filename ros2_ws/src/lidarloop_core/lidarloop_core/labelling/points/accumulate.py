"""Accumulation of sweeps, so that thin and distant objects have enough points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lidarloop_core.labelling.points.own_vehicle import without_own_vehicle
from lidarloop_core.labelling.pseudo_labels import LeftOut
from lidarloop_core.pointcloud.sweeps import merge_sweeps
from lidarloop_core.sample import Sweep


@dataclass(frozen=True)
class Cloud:
    """Points in the frame of the keyframe LiDAR.

    Attributes:
        points: (N, 3) float32, metres; the keyframe's points come first.
        age: (N,) int8, sweep of each point, counted back from the keyframe, which is 0.
        on_ground: (N,) bool, whether a point is known to lie on the ground.
    """

    points: npt.NDArray[np.float32]
    age: npt.NDArray[np.int8]
    on_ground: npt.NDArray[np.bool_]


def accumulate(sweeps: Sequence[Sweep], num_sweeps: int, ego_half_width_m: float, left_out: LeftOut) -> Cloud:
    """Stacks sweeps in the keyframe's frame, with ego-motion compensated.

    CM3D's authors take the keyframe's sweep and the two after it. Here it is the sweeps before: a vehicle that labels
    while it drives has no later ones.

    Args:
        sweeps: sweeps, newest first; the first is the keyframe.
        num_sweeps: largest number of sweeps taken.
        ego_half_width_m: points nearer to the LiDAR than this, in x and in y, belong to the vehicle itself.
        left_out: counts the sweeps that could not be used.
    """
    usable = [sweeps[0]]
    if not len(sweeps[0].points):
        left_out.sweeps["no points in the sweep"] += 1
    for sweep in sweeps[1:num_sweeps]:
        if sweep.world_SE3_ego is None or sweeps[0].world_SE3_ego is None:
            left_out.sweeps["no ego-motion"] += 1
        elif not len(sweep.points):
            left_out.sweeps["no points in the sweep"] += 1
        else:
            usable.append(sweep)
    if len(sweeps) < num_sweeps:
        left_out.sweeps["not in the sample"] += num_sweeps - len(sweeps)
    outside = [replace(sweep, points=without_own_vehicle(sweep.points, ego_half_width_m)) for sweep in usable]
    age = np.repeat(np.arange(len(outside), dtype=np.int8), [len(sweep.points) for sweep in outside])
    return Cloud(merge_sweeps(outside, ("x", "y", "z")), age, np.zeros(len(age), np.bool_))
