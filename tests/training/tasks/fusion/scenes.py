"""Labelled scenes with pictures of two cameras, for the tests of detection with cameras."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from lidarloop_core.camera_bev.pictures import ring_of_cameras
from lidarloop_core.camera_bev.rig import CameraRig
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import CameraImage, Sample
from tests.builders import make_spec
from tests.training.conftest import BoxScenes
from tests.training.sources import MadeSource

if TYPE_CHECKING:
    from lidarloop_training.models.detector import NetworkConfig
    from lidarloop_training.tasks.fusion.task import FusionConfig

RIG = CameraRig(
    names=("FRONT", "BACK"), width=48, height=24, stride=8, depth_range_m=(1.0, 9.0), num_depths=8, map_stride=4
)
SPEC = dataclasses.replace(
    make_spec(x_range_m=(-10.0, 10.0), y_range_m=(-8.0, 8.0), max_pillars=400, num_sweeps=1), cameras=RIG
)
ALONE = dataclasses.replace(SPEC, cameras=dataclasses.replace(RIG, takes_points=False))


class PicturedScenes(MadeSource):
    """``BoxScenes`` with a picture of each camera, all of one colour that the sample's number decides."""

    def __init__(self, scenes: BoxScenes, names: tuple[str, ...] = RIG.names) -> None:
        self.scenes = scenes
        self.names = names

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Sample:
        sample = self.scenes[index]
        placed = dict(zip(RIG.names, ring_of_cameras(dataclasses.replace(RIG, width=96, height=48)), strict=True))
        cameras = tuple(
            CameraImage(
                name,
                lambda: np.full((48, 96, 3), 10 + 20 * index, np.uint8),
                placed[name].intrinsics,
                96,
                48,
                sample.stamp_ns,
                placed[name].lidar_SE3_camera,
                None,
            )
            for name in self.names
        )
        return dataclasses.replace(sample, cameras=cameras)


def fusion_config(network: NetworkConfig, spec: ModelSpec = SPEC, camera_dropout: float = 0.0) -> FusionConfig:
    """A tiny network with cameras."""
    from lidarloop_training.models.fusion.camera_bev import CameraConfig
    from lidarloop_training.tasks.fusion.task import FusionConfig

    return FusionConfig(
        spec=spec,
        network=network,
        camera=CameraConfig(width=2, hidden_channels=6, channels=5),
        camera_dropout=camera_dropout,
    )
