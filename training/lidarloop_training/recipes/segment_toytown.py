"""A sparse U-Net on the toy town: every point's class, and a tiny one for tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.model.outputs import Segmentation
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import VoxelGrid, VoxelLevel
from lidarloop_training.models.unet import UNetConfig
from lidarloop_training.recipes.pillar_toytown import pillar_smoke, pillar_toytown, toytown_spec
from lidarloop_training.recipes.voxel_toytown import HALVED
from lidarloop_training.stages.config import RunConfig, TrainConfig
from lidarloop_training.tasks.augment import AugmentConfig
from lidarloop_training.tasks.segmentation.task import SegmentationConfig

POINT_CLASSES = (*NUSCENES_CLASSES, "driveable_surface", "sidewalk", "terrain", "manmade", "vegetation")
"""The classes of nuScenes-lidarseg that the toy town has."""


def segment_toytown_spec() -> ModelSpec:
    """One sweep of the sensor of ``toytown_spec``, in voxels of 0.2 × 0.2 × 0.2 m on four levels."""
    return dataclasses.replace(
        toytown_spec(),
        name="segment-toytown",
        class_names=POINT_CLASSES,
        point_columns=("x", "y", "z", "intensity"),
        grid=VoxelGrid(
            x_range_m=(-51.2, 51.2),
            y_range_m=(-51.2, 51.2),
            z_range_m=(-5.0, 7.8),
            cell_size_m=(0.2, 0.2, 0.2),
            capacity=40_000,
            levels=(
                VoxelLevel(capacity=30_000, **HALVED),
                VoxelLevel(capacity=20_000, **HALVED),
                VoxelLevel(capacity=10_000, **HALVED),
            ),
        ),
        outputs=Segmentation(),
        num_sweeps=1,
    )


def segment_toytown() -> TrainConfig[SegmentationConfig]:
    """A class for each point of a sweep; drives of ``pillar_toytown``.

    Scenes are flipped and turned all the way: no class of a point depends on its side of the street.
    """
    pillars = pillar_toytown()
    return TrainConfig(
        task=SegmentationConfig(
            spec=segment_toytown_spec(),
            network=UNetConfig(),
            augment=AugmentConfig(max_rotation_rad=float(np.pi)),
        ),
        data=pillars.data,
        optimisation=dataclasses.replace(pillars.optimisation, num_steps=3000, precision="float32"),
        run=RunConfig(out=Path("out/segment-toytown")),
    )


def segment_smoke() -> TrainConfig[SegmentationConfig]:
    """A tiny network; drives and steps of ``pillar_smoke``."""
    smoke = pillar_smoke()
    network = UNetConfig(channels=(8, 8, 8, 8), encoder_blocks=(0, 0, 0, 1), decoder_blocks=(0, 0, 0), head_channels=8)
    return TrainConfig(
        task=SegmentationConfig(spec=segment_toytown_spec(), network=network),
        data=smoke.data,
        optimisation=smoke.optimisation,
        run=dataclasses.replace(smoke.run, out=Path("out/segment-smoke")),
    )
