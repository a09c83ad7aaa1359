"""CenterPoint-Voxel in nuScenes' size: the student of S2M2 (0.1 m), and CenterPoint's own (0.075 m).

Sources: CenterPoint (Yin et al., CVPR 2021), section 5 and its published configuration: ten sweeps, class-balanced
sampling, copy-paste, twenty epochs at 32 samples a step with a peak learning rate of 1e-3. S2M2's student has the same
network on coarser voxels. What differs is said in ``models/encoders/voxel.py`` and ``models/backbones/bev.py``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.model.outputs import Detection
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import VoxelGrid, VoxelLevel
from lidarloop_training.data.drive_folder import DriveFolder
from lidarloop_training.models.detector import NetworkConfig
from lidarloop_training.recipes.pillar_toytown import CENTERPOINT_GROUPS
from lidarloop_training.stages.config import OptimisationConfig, RunConfig, TrainConfig
from lidarloop_training.stages.schedule import OneCycleConfig
from lidarloop_training.tasks.detection.copy_paste import centerpoint_copy_paste
from lidarloop_training.tasks.detection.task import DetectionConfig

# Twenty epochs of the 28,130 samples of the training split, 32 a step: eight GPUs with four samples each.
NUM_STEPS = 20 * 28_130 // 32


def voxel_nuscenes_spec() -> ModelSpec:
    """Ten sweeps at 20 Hz of nuScenes' LiDAR, 51.2 m to each side in voxels of 0.1 × 0.1 × 0.2 m; cells of 0.8 m."""
    return ModelSpec(
        name="voxel-nuscenes",
        class_names=NUSCENES_CLASSES,
        point_columns=("x", "y", "z", "intensity", "dt"),
        intensity_scale=1 / 255,
        grid=VoxelGrid(
            x_range_m=(-51.2, 51.2),
            y_range_m=(-51.2, 51.2),
            z_range_m=(-5.0, 3.0),
            cell_size_m=(0.1, 0.1, 0.2),
            capacity=120_000,
            levels=(
                VoxelLevel(capacity=100_000),
                VoxelLevel(capacity=60_000),
                VoxelLevel(capacity=30_000),
                VoxelLevel(capacity=16_384, stride=(1, 1, 1), kernel=(1, 1, 5), padding=(0, 0, 0)),
            ),
        ),
        outputs=Detection(max_detections=500),
        num_sweeps=10,
        sweep_interval_s=0.05,
        lidar_height_m=1.84,
    )


def voxel_nuscenes(path: Path = tyro.MISSING) -> TrainConfig[DetectionConfig]:
    """S2M2's student: ±51.2 m, −5 … 3 m, voxels of 0.1 × 0.1 × 0.2 m.

    Args:
        path: folder of the drives.
    """
    return TrainConfig(
        task=DetectionConfig(
            spec=voxel_nuscenes_spec(),
            network=NetworkConfig(
                class_groups=CENTERPOINT_GROUPS,
                voxel_channels=(16, 32, 64, 128),
                voxel_blocks=(2, 2, 2, 2),
                map_channels=256,
                first_stride=1,
                stage_channels=(128, 256),
                stage_depths=(5, 5),
                neck_channels=256,
            ),
            balance_classes=True,
            copy_paste=centerpoint_copy_paste(),
        ),
        data=DriveFolder(path),
        optimisation=OptimisationConfig(num_steps=NUM_STEPS, schedule=OneCycleConfig(peak_learning_rate=1e-3)),
        run=RunConfig(out=Path("out/voxel-nuscenes"), num_workers=4),
    )


def voxel_nuscenes_0075(path: Path = tyro.MISSING) -> TrainConfig[DetectionConfig]:
    """CenterPoint's best single model: ±54 m in voxels of 0.075 × 0.075 × 0.2 m; cells of 0.6 m.

    Args:
        path: folder of the drives.
    """
    coarser = voxel_nuscenes(path)
    spec = coarser.task.spec
    assert isinstance(spec.grid, VoxelGrid)
    capacities = (140_000, 80_000, 40_000, 32_400)
    grid = dataclasses.replace(
        spec.grid,
        x_range_m=(-54.0, 54.0),
        y_range_m=(-54.0, 54.0),
        cell_size_m=(0.075, 0.075, 0.2),
        capacity=160_000,
        levels=tuple(
            dataclasses.replace(level, capacity=most) for level, most in zip(spec.grid.levels, capacities, strict=True)
        ),
    )
    return dataclasses.replace(
        coarser,
        task=dataclasses.replace(coarser.task, spec=dataclasses.replace(spec, name="voxel-nuscenes-0075", grid=grid)),
        run=dataclasses.replace(coarser.run, out=Path("out/voxel-nuscenes-0075")),
    )
