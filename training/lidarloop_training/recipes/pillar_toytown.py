"""CenterPoint-Pillar on the toy town: the model that the repository carries, and a tiny one for tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.model.outputs import Detection
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.pointcloud.grid import PillarGrid
from lidarloop_training.data.toytown.training_drives import ToyTownDrives
from lidarloop_training.data.views.label_share import LabelShare
from lidarloop_training.models.detector import NetworkConfig
from lidarloop_training.stages.config import OptimisationConfig, RunConfig, SelfTrainConfig, TrainConfig
from lidarloop_training.stages.schedule import OneCycleConfig
from lidarloop_training.tasks.augment import AugmentConfig
from lidarloop_training.tasks.detection.task import DetectionConfig

CENTERPOINT_GROUPS = (
    ("car",),
    ("truck", "construction_vehicle"),
    ("bus", "trailer"),
    ("barrier",),
    ("motorcycle", "bicycle"),
    ("pedestrian", "traffic_cone"),
)
"""CenterPoint's class groups for nuScenes."""


def toytown_spec() -> ModelSpec:
    """Three sweeps at 10 Hz of a 32-beam LiDAR, 51.2 m to each side in pillars of 0.4 m."""
    return ModelSpec(
        name="pillar-toytown",
        class_names=NUSCENES_CLASSES,
        point_columns=("x", "y", "z", "intensity", "dt"),
        intensity_scale=1 / 255,
        grid=PillarGrid(
            x_range_m=(-51.2, 51.2),
            y_range_m=(-51.2, 51.2),
            z_range_m=(-5.0, 3.0),
            cell_size_m=(0.4, 0.4),
            max_points_per_pillar=20,
            max_pillars=16000,
        ),
        outputs=Detection(max_detections=200),
        num_sweeps=3,
        sweep_interval_s=0.1,
        lidar_height_m=1.84,
    )


def pillar_toytown() -> TrainConfig[DetectionConfig]:
    """The repository's model.

    One group holds all classes: the toy town does not need CenterPoint's six. Scenes are not flipped: a car's heading
    follows from its side of the street, and mirrored scenes would teach the opposite.
    """
    return TrainConfig(
        task=DetectionConfig(
            spec=toytown_spec(),
            network=NetworkConfig(class_groups=(NUSCENES_CLASSES,)),
            augment=AugmentConfig(flip_left_right=0.0, flip_front_back=0.0),
        ),
        data=ToyTownDrives(),
        optimisation=OptimisationConfig(num_steps=9000),
        run=RunConfig(out=Path("out/pillar-toytown")),
    )


def pillar_smoke() -> TrainConfig[DetectionConfig]:
    """A tiny network, two short drives, a few steps: the way through, not a model."""
    network = NetworkConfig(
        class_groups=(NUSCENES_CLASSES,),
        pillar_channels=8,
        stage_channels=(8, 16),
        stage_depths=(1, 1),
        neck_channels=16,
        shared_channels=16,
        group_channels=16,
    )
    return TrainConfig(
        task=DetectionConfig(spec=toytown_spec(), network=network),
        data=ToyTownDrives(num_train_drives=1, num_validation_drives=1, duration_s=2.0, keyframe_every=5),
        optimisation=OptimisationConfig(
            num_steps=10, batch_size=2, schedule=OneCycleConfig(peak_learning_rate=5e-3), precision="float32"
        ),
        run=RunConfig(out=Path("out/pillar-smoke"), num_workers=0, log_every=5, validate_every=10, checkpoint_every=5),
    )


def self_train_smoke() -> SelfTrainConfig:
    """``pillar_smoke`` on half the samples of its drive, and one round of self-training on the other half."""
    smoke = pillar_smoke()
    return SelfTrainConfig(
        fine_tune=dataclasses.replace(smoke, labels=LabelShare(percent=50.0, unit="sample")),
        pretrain=smoke.optimisation,
        retrain=smoke.optimisation,
        out=Path("out/self-train-smoke"),
    )
