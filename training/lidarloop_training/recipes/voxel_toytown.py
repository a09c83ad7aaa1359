"""CenterPoint-Voxel on the toy town, and a tiny one for tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import VoxelGrid, VoxelLevel
from lidarloop_training.losses.center import CenterLossConfig
from lidarloop_training.models.detector import NetworkConfig
from lidarloop_training.recipes.pillar_toytown import pillar_smoke, pillar_toytown, toytown_spec
from lidarloop_training.stages.config import RunConfig, TrainConfig
from lidarloop_training.tasks.detection.task import DetectionConfig

HALVED = {"stride": (2, 2, 2), "kernel": (2, 2, 2), "padding": (0, 0, 0)}
"""A strided convolution whose windows do not overlap: no voxel appears that holds no point."""


def voxel_toytown_spec() -> ModelSpec:
    """The sensor and the sweeps of ``toytown_spec``, in voxels of 0.2 × 0.2 × 0.4 m; the map has cells of 0.8 m."""
    return dataclasses.replace(
        toytown_spec(),
        name="voxel-toytown",
        grid=VoxelGrid(
            x_range_m=(-51.2, 51.2),
            y_range_m=(-51.2, 51.2),
            z_range_m=(-5.0, 3.0),
            cell_size_m=(0.2, 0.2, 0.4),
            capacity=60_000,
            levels=(
                VoxelLevel(capacity=40_000, **HALVED),
                VoxelLevel(capacity=20_000, **HALVED),
                VoxelLevel(capacity=16_384, stride=(1, 1, 1), kernel=(1, 1, 5), padding=(0, 0, 0)),
            ),
        ),
    )


def voxel_toytown() -> TrainConfig[DetectionConfig]:
    """Voxels with the data, steps and augmentation of ``pillar_toytown``."""
    pillars = pillar_toytown()
    return dataclasses.replace(
        pillars,
        task=dataclasses.replace(
            pillars.task,
            spec=voxel_toytown_spec(),
            network=NetworkConfig(
                class_groups=(NUSCENES_CLASSES,),
                voxel_channels=(16, 32, 64),
                voxel_blocks=(0, 1, 1),
                map_channels=64,
                first_stride=1,
                stage_channels=(32, 64, 128),
                stage_depths=(2, 2, 2),
                neck_channels=32,
                shared_channels=32,
                group_channels=32,
                velocity_channels=32,
            ),
            loss=CenterLossConfig(code_weights=(1.0,) * 8 + (2.0, 2.0), moving_weight=4.0),
        ),
        optimisation=dataclasses.replace(pillars.optimisation, precision="float32"),
        run=RunConfig(out=Path("out/voxel-toytown")),
    )


def voxel_smoke() -> TrainConfig[DetectionConfig]:
    """A tiny network on voxels; drives and steps of ``pillar_smoke``."""
    smoke = pillar_smoke()
    network = dataclasses.replace(
        smoke.task.network, voxel_channels=(8, 8, 8), voxel_blocks=(0, 1, 1), map_channels=16, first_stride=1
    )
    return dataclasses.replace(
        smoke,
        task=dataclasses.replace(smoke.task, spec=voxel_toytown_spec(), network=network),
        run=dataclasses.replace(smoke.run, out=Path("out/voxel-smoke")),
    )
