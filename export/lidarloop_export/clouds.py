"""Clouds that an exported model is tested on: toy, random, extreme, and real ones where there are any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lidarloop_core.camera_bev.pictures import trial_pictures
from lidarloop_core.inference.cloud_model import graph_inputs as cloud_inputs
from lidarloop_core.model.group import group_cloud
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import PillarGrid, VoxelGrid
from lidarloop_core.pointcloud.sweeps import merge_sweeps

# Real samples' columns, by the name of their folder; see the readers of these data sets.
_NUSCENES_KEYFRAME = "nuscenes_keyframe/*LIDAR_TOP*.bin"
_NUSCENES_SWEEPS = "nuscenes_10sweep/*.bin"


class Cloud(NamedTuple):
    """A named cloud, (N, C) float32 in ``spec.point_columns``."""

    name: str
    points: npt.NDArray[np.float32]


def clouds(spec: ModelSpec) -> Iterator[Cloud]:
    """From one point to every place of every pillar; real clouds come from $LIDARLOOP_REAL_DATA or ../shared/data."""
    yield Cloud("one point", random_cloud(spec, 1, seed=1))
    yield Cloud("random 50,000 points", random_cloud(spec, 50_000, seed=2))
    yield Cloud("full capacity", full_cloud(spec, seed=3))
    yield from _toy_clouds(spec)
    yield from _real_clouds(spec, real_data_folder())


def graph_inputs(points: npt.NDArray[np.float32], spec: ModelSpec) -> dict[str, npt.NDArray[np.generic]]:
    """What the graph takes.

    Args:
        points: (N, C) float32 in ``spec.point_columns``, metres, LiDAR frame.
        spec: contract of the model.

    Returns:
        Name → array, shaped like the input of that name in the spec; of cameras those of random pictures.
    """
    rig = spec.cameras
    seen = None if rig is None else trial_pictures(rig, spec.grid, seed=len(points))
    return cloud_inputs(group_cloud(points, spec), spec, seen)


def random_cloud(spec: ModelSpec, num_points: int, seed: int) -> npt.NDArray[np.float32]:
    """Points all over the range; denser near the sensor, as a LiDAR's are.

    Returns:
        (num_points, C) float32 in ``spec.point_columns``, metres, LiDAR frame.
    """
    rng = np.random.default_rng(seed)
    distance = 0.999 * rng.random(num_points) ** 2
    angle = rng.uniform(-np.pi, np.pi, num_points)
    xyz = np.stack([distance * np.cos(angle), distance * np.sin(angle), rng.uniform(-0.999, 0.999, num_points)], axis=1)
    ranges = np.array(spec.grid.ranges_m)
    return _with_other_columns(ranges.mean(axis=1) + xyz * np.ptp(ranges, axis=1) / 2, spec, rng)


def full_cloud(spec: ModelSpec, seed: int) -> npt.NDArray[np.float32]:
    """As many pillars as the model takes, with as many points in each; or as many voxels, with a point in each.

    Returns:
        (N, C) float32 in ``spec.point_columns``, metres, LiDAR frame.
    """
    rng = np.random.default_rng(seed)
    xyz = _full_pillars(spec.grid, rng) if isinstance(spec.grid, PillarGrid) else _full_voxels(spec.grid, rng)
    return _with_other_columns(xyz, spec, rng)


def _full_pillars(grid: PillarGrid, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    cell = np.repeat(rng.choice(grid.num_cells, grid.most_pillars, replace=False), grid.max_points_per_pillar)
    column_row = np.stack([cell % grid.shape[0], cell // grid.shape[0]], axis=1) + rng.uniform(
        0.01, 0.99, (len(cell), 2)
    )
    xy = column_row * grid.cell_size_m + (grid.x_range_m[0], grid.y_range_m[0])
    z = rng.uniform(grid.z_range_m[0], grid.z_range_m[1] - 0.01, (len(cell), 1))
    return np.concatenate([xy, z], axis=1)


def _full_voxels(grid: VoxelGrid, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    position = rng.choice(grid.num_cells, grid.level_capacities[0], replace=False)
    place = np.stack(np.unravel_index(position, grid.shape), axis=1) + rng.uniform(0.01, 0.99, (len(position), 3))
    return place * grid.cell_size_m + [low for low, _ in grid.ranges_m]


def real_data_folder() -> Path:
    """Where small real samples lie, if there are any."""
    repository = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("LIDARLOOP_REAL_DATA", repository.parent / "shared" / "data"))


def _with_other_columns(
    xyz: npt.NDArray[np.float64], spec: ModelSpec, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    points = rng.random((len(xyz), len(spec.point_columns)))
    points[:, :3] = xyz
    for i, name in enumerate(spec.point_columns):
        if name == "intensity":
            points[:, i] /= spec.intensity_scale
        elif name == "dt":
            points[:, i] = rng.integers(0, spec.num_sweeps, len(xyz)) * spec.sweep_interval_s
    return points.astype(np.float32)


def _toy_clouds(spec: ModelSpec) -> Iterator[Cloud]:
    try:
        from lidarloop_training.toytown.drive import ToyTownDrive
    except ImportError:  # the ray caster is an optional dependency
        return
    drive = ToyTownDrive(7, duration_s=2.0, num_sweeps=spec.num_sweeps, cameras=False)
    sweeps = drive[len(drive) - 1].sweeps
    has = tuple(name for name in spec.point_columns if name == "dt" or name in sweeps[0].columns)
    yield Cloud("toy town", _columns(merge_sweeps(sweeps, has), has, spec))


def _real_clouds(spec: ModelSpec, folder: Path) -> Iterator[Cloud]:
    for path in sorted(folder.glob(_NUSCENES_KEYFRAME)):
        raw = np.fromfile(path, "<f4").reshape(-1, 5)
        yield Cloud("nuScenes keyframe", _columns(raw, ("x", "y", "z", "intensity", "ring"), spec))
    for path in sorted(folder.glob(_NUSCENES_SWEEPS)):
        raw = np.fromfile(path, "<f2").reshape(-1, 5).astype(np.float32)
        yield Cloud("nuScenes, ten sweeps", _columns(raw, ("x", "y", "z", "intensity", "dt"), spec))


def _columns(raw: npt.NDArray[np.float32], names: tuple[str, ...], spec: ModelSpec) -> npt.NDArray[np.float32]:
    """The model's columns of a cloud that may lack some, e.g. paint; 0 there."""
    points = np.zeros((len(raw), len(spec.point_columns)), np.float32)
    for i, name in enumerate(spec.point_columns):
        if name in names:
            points[:, i] = raw[:, names.index(name)]
    return points
