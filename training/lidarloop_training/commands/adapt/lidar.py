"""The LiDAR of real drives, against the one that a detector was trained with."""

from __future__ import annotations

import dataclasses

import numpy as np
from rich.console import Console

from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.lidar_setup import measure_lidar
from lidarloop_training.toytown.lidar_styles import LidarName

_LIKE = 1.7
"""Clouds whose numbers of points differ by more than this factor are of LiDARs of another kind."""

_NUM_COMPARED = 5
"""Clouds whose points are counted."""


def spec_of_lidar(spec: ModelSpec, drives: SampleSource, console: Console) -> ModelSpec:
    """The source's spec with height and sweeps of the drives' LiDAR; grid and number of sweeps are the network's."""
    found = measure_lidar(drives)
    height_m = spec.lidar_height_m if found.height_m is None else found.height_m
    interval_s = found.sweep_interval_s or spec.sweep_interval_s
    num_sweeps = len(drives[len(drives) - 1].sweeps)
    console.print(
        f"the drives: {len(drives)} samples, LiDAR {height_m:.2f} m above the ground, {num_sweeps} sweeps "
        f"{interval_s:g} s apart",
        highlight=False,
    )
    if num_sweeps < spec.num_sweeps:
        console.print(
            f"warning: the network merges {spec.num_sweeps} sweeps, the drives give {num_sweeps}: without ego-motion "
            "there is only one. `lidarloop convert … --ego-motion kiss-icp` finds it",
            highlight=False,
        )
    return dataclasses.replace(spec, name=f"{spec.name}-adapted", lidar_height_m=height_m, sweep_interval_s=interval_s)


def compare_clouds(town: SampleSource, drives: SampleSource, lidar: LidarName, console: Console) -> None:
    """Warns where the toy town's LiDAR is of another kind than the drives'."""
    ours, theirs = (
        float(np.median([len(source[int(i)].keyframe.points) for i in np.linspace(0, len(source) - 1, _NUM_COMPARED)]))
        for source in (town, drives)
    )
    if not 1 / _LIKE < ours / max(theirs, 1.0) < _LIKE:
        console.print(
            f"warning: the toy town's clouds ({lidar}) hold {ours:,.0f} points, the drives' {theirs:,.0f}: give the "
            "drives' kind of LiDAR by --town.lidar, and a source that was trained on it",
            highlight=False,
        )
