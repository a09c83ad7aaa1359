"""A sparse U-Net on a user's drives with labelled points: nuScenes-lidarseg, SemanticKITTI."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_training.data.drive_folder import DriveFolder
from lidarloop_training.recipes.segment_toytown import segment_toytown
from lidarloop_training.stages.config import RunConfig, TrainConfig
from lidarloop_training.tasks.segmentation.task import SegmentationConfig

LIDARSEG_CLASSES = (
    *NUSCENES_CLASSES, "driveable_surface", "other_flat", "sidewalk", "terrain", "manmade", "vegetation",
)  # fmt: skip
"""The sixteen classes that nuScenes-lidarseg scores."""


def segment_drives(path: Path = tyro.MISSING) -> TrainConfig[SegmentationConfig]:
    """A class for each point, from drives of nuScenes-lidarseg; of another kind the classes are given by --classes.

    Args:
        path: folder of the drives.
    """
    toytown = segment_toytown()
    spec = dataclasses.replace(toytown.task.spec, name="segment-drives", class_names=LIDARSEG_CLASSES)
    return TrainConfig(
        task=dataclasses.replace(toytown.task, spec=spec),
        data=DriveFolder(path, source="nuscenes-lidarseg"),
        optimisation=dataclasses.replace(toytown.optimisation, num_steps=9000),
        run=RunConfig(out=Path("out/segment-drives")),
    )
