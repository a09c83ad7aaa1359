"""Detectors with cameras (BEVFusion's way), and on cameras alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from lidarloop_core.camera_bev.rig import CameraRig
from lidarloop_training.data.drive_folder import DriveFolder
from lidarloop_training.data.toytown.training_drives import ToyTownDrives
from lidarloop_training.models.fusion.camera_bev import CameraConfig
from lidarloop_training.recipes.pillar_toytown import CENTERPOINT_GROUPS, pillar_smoke
from lidarloop_training.recipes.voxel_toytown import voxel_toytown
from lidarloop_training.stages.config import TrainConfig
from lidarloop_training.tasks.detection.task import DetectionConfig
from lidarloop_training.tasks.fusion.task import FusionConfig

FusionRun = TrainConfig[FusionConfig]

NUSCENES_CAMERAS = (
    "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT",
)  # fmt: skip
"""The cameras of nuScenes, and of the toy town."""

TOYTOWN_RIG = CameraRig(
    names=NUSCENES_CAMERAS,
    width=200,
    height=112,
    stride=8,
    depth_range_m=(1.0, 53.0),
    num_depths=52,
    map_stride=4,
)
"""The toy town's pictures at half their size, depths a metre apart; in voxels of 0.2 m a map of 0.8 m."""


def fusion_toytown() -> FusionRun:
    """``voxel_toytown`` with the six cameras."""
    return with_cameras(voxel_toytown(), TOYTOWN_RIG)


def camera_toytown() -> FusionRun:
    """The same without the points."""
    return on_cameras_alone(fusion_toytown())


def fusion_smoke() -> FusionRun:
    """``pillar_smoke`` with small pictures of two cameras: the way through, not a model."""
    rig = dataclasses.replace(TOYTOWN_RIG, names=NUSCENES_CAMERAS[:2], width=96, height=56, num_depths=13, map_stride=4)
    run = with_cameras(pillar_smoke(), rig)
    camera = CameraConfig(width=4, hidden_channels=8, channels=8)
    return dataclasses.replace(run, task=dataclasses.replace(run.task, camera=camera))


def fusion_drives(path: Path = tyro.MISSING) -> FusionRun:
    """``voxel_toytown`` with cameras on a user's labelled drives, whose cameras are named as in nuScenes.

    Args:
        path: folder of the drives.
    """
    run = fusion_toytown()
    network = dataclasses.replace(run.task.network, class_groups=CENTERPOINT_GROUPS)
    rig = dataclasses.replace(TOYTOWN_RIG, width=352, height=200)
    spec = dataclasses.replace(run.task.spec, name="fusion-drives", cameras=rig)
    return dataclasses.replace(
        run,
        task=dataclasses.replace(run.task, spec=spec, network=network),
        data=DriveFolder(path, cameras=True),
        run=dataclasses.replace(run.run, out=Path("out/fusion-drives")),
    )


def with_cameras(run: TrainConfig[DetectionConfig], rig: CameraRig) -> FusionRun:
    """A toy-town run of a detector with cameras beside the points: the same network, data and steps."""
    assert isinstance(run.data, ToyTownDrives)
    values = {each.name: getattr(run.task, each.name) for each in dataclasses.fields(run.task)}
    values["spec"] = dataclasses.replace(run.task.spec, name=_named(run.task.spec.name), cameras=rig)
    return TrainConfig(
        task=FusionConfig(**values),
        data=dataclasses.replace(run.data, cameras=True),
        optimisation=run.optimisation,
        run=dataclasses.replace(run.run, out=run.run.out.with_name(_named(run.run.out.name))),
        seed=run.seed,
    )


def on_cameras_alone(run: FusionRun) -> FusionRun:
    """A run with cameras without the points."""
    rig = run.task.spec.cameras
    assert rig is not None

    def named(name: str) -> str:
        return name.replace("fusion", "camera", 1)

    spec = dataclasses.replace(
        run.task.spec, name=named(run.task.spec.name), cameras=dataclasses.replace(rig, takes_points=False)
    )
    return dataclasses.replace(
        run,
        task=dataclasses.replace(run.task, spec=spec, camera_dropout=0.0),
        run=dataclasses.replace(run.run, out=run.run.out.with_name(named(run.run.out.name))),
    )


def _named(name: str) -> str:
    return "-".join(["fusion", *name.split("-")[1:]])
