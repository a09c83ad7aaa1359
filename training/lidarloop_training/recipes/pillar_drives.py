"""CenterPoint-Pillar on a user's drives: with labels, with pseudo-labels, with both.

The paper's schedule (CM3D, Khurana et al., CoRL 2024) as three recipes: pre-training on pseudo-labels without
copy-paste, fine-tuning on few labels with class-balanced sampling and copy-paste, rounds of self-training after them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from lidarloop_training.data.drive_folder import DriveFolder
from lidarloop_training.data.views.label_share import LabelShare
from lidarloop_training.models.detector import NetworkConfig
from lidarloop_training.recipes.pillar_toytown import CENTERPOINT_GROUPS, toytown_spec
from lidarloop_training.stages.config import OptimisationConfig, RunConfig, SelfTrainConfig, TrainConfig
from lidarloop_training.stages.schedule import OneCycleConfig
from lidarloop_training.tasks.detection.copy_paste import centerpoint_copy_paste
from lidarloop_training.tasks.detection.task import DetectionConfig


def pillar_drives(path: Path = tyro.MISSING) -> TrainConfig[DetectionConfig]:
    """A detector of nuScenes' ten classes from labelled drives; the sensor is that of ``toytown_spec``, an HDL-32E.

    Args:
        path: folder of the drives.
    """
    return TrainConfig(
        task=DetectionConfig(
            spec=dataclasses.replace(toytown_spec(), name="pillar-drives"),
            network=NetworkConfig(class_groups=CENTERPOINT_GROUPS),
        ),
        data=DriveFolder(path),
        optimisation=OptimisationConfig(num_steps=9000),
        run=RunConfig(out=Path("out/pillar-drives")),
    )


def pillar_pretrain(path: Path = tyro.MISSING, labels: Path = tyro.MISSING) -> TrainConfig[DetectionConfig]:
    """Pre-training on pseudo-labels: neither copy-paste nor balance, which would multiply the labels' mistakes.

    Args:
        path: folder of the drives.
        labels: folder of their pseudo-labels.
    """
    return dataclasses.replace(
        pillar_drives(path), data=DriveFolder(path, labels=labels), run=RunConfig(out=Path("out/pillar-pretrain"))
    )


def pillar_fine_tune(path: Path = tyro.MISSING, init_from: Path | None = tyro.MISSING) -> TrainConfig[DetectionConfig]:
    """Fine-tuning on 5 % of the labels, with class-balanced sampling and copy-paste, at half the learning rate.

    Args:
        path: folder of the drives.
        init_from: the run before; None is training from scratch.
    """
    drives = pillar_drives(path)
    return dataclasses.replace(
        drives,
        task=dataclasses.replace(drives.task, balance_classes=True, copy_paste=centerpoint_copy_paste()),
        optimisation=OptimisationConfig(num_steps=3000, schedule=OneCycleConfig(peak_learning_rate=1e-3)),
        run=RunConfig(out=Path("out/pillar-fine-tune")),
        labels=LabelShare(percent=5.0),
        init_from=init_from,
    )


def pillar_self_train(path: Path = tyro.MISSING) -> SelfTrainConfig:
    """All stages: pseudo-labels for all drives, 5 % of the labels, one round of self-training.

    Args:
        path: folder of the drives.
    """
    return SelfTrainConfig(
        fine_tune=pillar_fine_tune(path, init_from=None),
        pretrain=OptimisationConfig(num_steps=9000),
        retrain=OptimisationConfig(num_steps=6000),
        out=Path("out/pillar-self-train"),
    )
