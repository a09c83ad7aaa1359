"""A detector on points and pictures, or on pictures alone: two maps that are concatenated, then CenterPoint.

Source: BEVFusion (Liu et al., ICRA 2023, section 3.2; Liang et al., NeurIPS 2022, section 3.3): both sensors' features
in one bird's-eye view, concatenated and convolved. Two differences. The convolution that joins them begins as the
identity on the points' map, so that a network started from a LiDAR run answers as that run did until it learns to look.
And nothing adds a constant on the cameras' way to it: without pictures their map is zero, which the network meets in
training by leaving the cameras of some examples out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.spec import ModelSpec
from lidarloop_training.models.backbones.bev import BevBackbone
from lidarloop_training.models.detector import NetworkConfig, center_point
from lidarloop_training.models.encoders.pillar import PillarEncoder
from lidarloop_training.models.encoders.voxel_bev import VoxelBevEncoder
from lidarloop_training.models.fusion.camera_bev import CameraBevEncoder, CameraConfig
from lidarloop_training.models.heads.center import CenterHead, HeadOutput


class MapFusion(nn.Module):
    """The cameras' map, brought to the size of the points' map, and one convolution over both.

    Args:
        point_channels: channels of the points' map; 0 without points.
        camera_channels: channels of the cameras' map.
        out_channels: channels of the joint map.
        scale: cells of the joint map that one cell of the cameras' map spans, each way.
    """

    def __init__(self, point_channels: int, camera_channels: int, out_channels: int, scale: int) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(camera_channels, camera_channels, scale, stride=scale, bias=False)
        self.join = nn.Conv2d(point_channels + camera_channels, out_channels, 3, padding=1)
        with torch.no_grad():
            nn.init.zeros_(self.join.bias)  # type: ignore[arg-type]
            if point_channels:
                nn.init.dirac_(self.join.weight[:, :point_channels])

    def forward(self, of_points: Tensor | None, of_cameras: Tensor) -> Tensor:
        """The joint map.

        Args:
            of_points: (B, point_channels, H, W) ≥ 0; None without points.
            of_cameras: (B, camera_channels, H / scale, W / scale).

        Returns:
            (B, out_channels, H, W) ≥ 0.
        """
        enlarged = self.enlarge(of_cameras)
        both = enlarged if of_points is None else torch.cat([of_points, enlarged], dim=1)
        return torch.relu(self.join(both))


class FusionDetector(nn.Module):
    """CenterPoint on points and pictures; encoder, backbone and head are those of a detector, under the same names.

    Args:
        encoder: takes the spec's inputs of the points; None for a detector on cameras alone.
        camera: takes the spec's inputs of the cameras.
        fusion: joins the two maps.
        backbone: joint map → features.
        head: features → raw maps.
        num_point_inputs: how many of the inputs are the encoder's.
    """

    def __init__(
        self,
        encoder: PillarEncoder | VoxelBevEncoder | None,
        camera: CameraBevEncoder,
        fusion: MapFusion,
        backbone: BevBackbone,
        head: CenterHead,
        *,
        num_point_inputs: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.camera = camera
        self.fusion = fusion
        self.backbone = backbone
        self.head = head
        self.num_point_inputs = num_point_inputs

    def forward(self, *inputs: Any, batch_size: int = 1) -> HeadOutput:
        """Raw maps of a batch.

        Args:
            inputs: input tensors of the spec, in its order.
            batch_size: number of clouds B in them.
        """
        of_points = None
        if self.encoder is not None:
            of_points = self.encoder(*inputs[: self.num_point_inputs], batch_size=batch_size)
        of_cameras = self.camera(*inputs[self.num_point_inputs :], batch_size=batch_size)
        output: HeadOutput = self.head(self.backbone(self.fusion(of_points, of_cameras)))
        return output


def fusion_detector(spec: ModelSpec, config: NetworkConfig, camera: CameraConfig) -> FusionDetector:
    """A network with random weights; backbone and head are as large as those of the LiDAR's detector.

    Args:
        spec: contract of a model with cameras.
        config: widths and depths of the LiDAR's detector.
        camera: those of the cameras' part.

    Raises:
        ConfigError: the spec has no cameras, their map does not divide the points', or ``center_point`` refuses it.
    """
    rig = spec.cameras
    if rig is None:
        raise ConfigError(
            f"{spec.name} has no cameras; expected a spec with cameras: take a recipe with them, e.g. fusion-toytown"
        )
    of_points = center_point(spec, config)
    encoder = of_points.encoder
    stride = spec.grid.shape[0] // encoder.num_columns
    if rig.map_stride % stride:
        raise ConfigError(
            f"the cameras' map received cells of {rig.map_stride} × those of the grid; expected a multiple of "
            f"{stride}, the cells of the points' map: change --task.spec.cameras.map-stride"
        )
    cameras = CameraBevEncoder(rig, spec.grid, camera)
    fusion = MapFusion(
        encoder.channels if rig.takes_points else 0, cameras.channels, encoder.channels, rig.map_stride // stride
    )
    return FusionDetector(
        encoder if rig.takes_points else None,
        cameras,
        fusion,
        of_points.backbone,
        of_points.head,
        num_point_inputs=len(spec.point_inputs) if rig.takes_points else 0,
    )
