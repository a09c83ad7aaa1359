"""Teachers: CenterPoint on points that are painted with the class scores of a 2D network (PointPainting)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.labelling.painting.paint import paint_columns
from lidarloop_training.data.drive_folder import DriveFolder
from lidarloop_training.data.toytown.training_drives import ToyTownDrives
from lidarloop_training.recipes.pillar_toytown import CENTERPOINT_GROUPS, pillar_smoke, pillar_toytown
from lidarloop_training.recipes.voxel_toytown import voxel_smoke, voxel_toytown
from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.tasks.detection.task import DetectionConfig

DetectionRun = TrainConfig[DetectionConfig]


def painted_toytown() -> DetectionRun:
    """``voxel_toytown`` on points painted with the toy town's degraded masks."""
    return on_paints(voxel_toytown())


def painted_pillar_toytown() -> DetectionRun:
    """``pillar_toytown`` on the same points."""
    return on_paints(pillar_toytown())


def painted_smoke() -> DetectionRun:
    """``voxel_smoke`` on painted points."""
    return on_paints(voxel_smoke())


def painted_pillar_smoke() -> DetectionRun:
    """``pillar_smoke`` on painted points."""
    return on_paints(pillar_smoke())


def painted_drives(path: Path = tyro.MISSING, paints: Path = tyro.MISSING) -> DetectionRun:
    """A teacher on a user's labelled drives, in the voxels of ``voxel_toytown``; its columns are those of the paints.

    Args:
        path: folder of the drives.
        paints: the folder that ``lidarloop paint`` printed.
    """
    run = voxel_toytown()
    network = dataclasses.replace(run.task.network, class_groups=CENTERPOINT_GROUPS)
    spec = dataclasses.replace(run.task.spec, name="painted-drives")
    return dataclasses.replace(
        run,
        task=DetectionConfig(spec=spec, network=network),
        data=DriveFolder(path, paints=paints),
        run=dataclasses.replace(run.run, out=Path("out/painted-drives")),
    )


def on_paints(run: DetectionRun) -> DetectionRun:
    """A toy-town run on painted points: the same network with more columns."""
    assert isinstance(run.data, ToyTownDrives)
    spec = run.task.spec
    painted = dataclasses.replace(
        spec,
        name=f"painted-{spec.name}",
        point_columns=(*spec.point_columns, *paint_columns(NUSCENES_CLASSES)),
    )
    return dataclasses.replace(
        run,
        task=dataclasses.replace(run.task, spec=painted),
        data=dataclasses.replace(run.data, painted=True),
        run=dataclasses.replace(run.run, out=run.run.out.with_name(f"painted-{run.run.out.name}")),
    )
