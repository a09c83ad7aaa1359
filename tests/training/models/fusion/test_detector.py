"""Points and pictures in one network, and what it has in common with the LiDAR's detector."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lidarloop_core.camera_bev.pictures import dark, trial_pictures
from lidarloop_core.camera_bev.rig import CameraRig
from lidarloop_core.errors import ConfigError
from lidarloop_core.inference.cloud_model import graph_inputs
from lidarloop_core.model.group import group_cloud
from lidarloop_core.model.spec import ModelSpec
from tests.builders import VOXEL_DETECTOR, make_spec

torch = pytest.importorskip("torch")

from lidarloop_training.models.detector import center_point  # noqa: E402
from lidarloop_training.models.fusion.camera_bev import CameraConfig  # noqa: E402
from lidarloop_training.models.fusion.detector import FusionDetector, fusion_detector  # noqa: E402
from tests.norms import give_statistics  # noqa: E402

if TYPE_CHECKING:
    from torch import Tensor

    from lidarloop_training.models.detector import NetworkConfig

RIG = CameraRig(
    names=("FRONT", "BACK"), width=48, height=24, stride=8, depth_range_m=(1.0, 9.0), num_depths=8, map_stride=4
)
SMALL = CameraConfig(width=2, hidden_channels=6, channels=5)
PILLARS = dataclasses.replace(make_spec(), cameras=RIG)
VOXELS = dataclasses.replace(VOXEL_DETECTOR, cameras=RIG)


@pytest.fixture(params=[PILLARS, VOXELS], ids=["pillars", "voxels"])
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    found: ModelSpec = request.param
    return found


@pytest.fixture
def config(network_config: NetworkConfig, spec: ModelSpec) -> NetworkConfig:
    if spec is PILLARS:
        return network_config
    return dataclasses.replace(
        network_config, voxel_channels=(6, 8, 10), voxel_blocks=(0, 1, 1), map_channels=12, first_stride=1
    )


def made(spec: ModelSpec, config: NetworkConfig) -> FusionDetector:
    torch.manual_seed(0)
    network = fusion_detector(spec, config, SMALL).eval()
    give_statistics(network)
    return network


def inputs(spec: ModelSpec, *, with_pictures: bool = True) -> list[Tensor]:
    rng = np.random.default_rng(0)
    low, high = np.array(spec.grid.ranges_m).T
    points = np.column_stack([rng.uniform(low, high, (300, 3)), rng.uniform(0, 255, 300), np.zeros(300)])
    rig = spec.cameras
    assert rig is not None
    pictures = trial_pictures(rig, spec.grid, seed=0) if with_pictures else dark(rig, spec.grid)
    index = group_cloud(points.astype(np.float32), spec)
    return [torch.from_numpy(array) for array in graph_inputs(index, spec, pictures).values()]


@torch.no_grad()
def test_started_from_a_lidar_run_it_answers_as_that_run_where_cameras_are_dark(
    spec: ModelSpec, config: NetworkConfig
) -> None:
    network = made(spec, config)
    lidar = center_point(dataclasses.replace(spec, cameras=None), config).eval()
    for part in ("encoder", "backbone", "head"):
        network.get_submodule(part).load_state_dict(lidar.get_submodule(part).state_dict())
    of_points = len(spec.point_inputs)
    found, expected = network(*inputs(spec, with_pictures=False)), lidar(*inputs(spec)[:of_points])
    torch.testing.assert_close(found.heatmap, expected.heatmap, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found.regression, expected.regression, atol=1e-6, rtol=1e-6)
    assert (network(*inputs(spec)).heatmap - expected.heatmap).abs().max() > 1e-4


@torch.no_grad()
def test_on_cameras_alone_it_has_the_same_backbone_and_head(spec: ModelSpec, config: NetworkConfig) -> None:
    both = made(spec, config)
    assert spec.cameras is not None
    alone_spec = dataclasses.replace(spec, cameras=dataclasses.replace(spec.cameras, takes_points=False))
    alone = made(alone_spec, config)
    assert [name for name, _ in alone.named_children()] == ["camera", "fusion", "backbone", "head"]
    for part in ("camera", "backbone", "head"):
        alone.get_submodule(part).load_state_dict(both.get_submodule(part).state_dict())
    output = alone(*inputs(alone_spec))
    assert output.heatmap.shape == both(*inputs(spec)).heatmap.shape
    assert torch.isfinite(output.heatmap).all()


def test_a_spec_without_cameras_is_refused(network_config: NetworkConfig) -> None:
    with pytest.raises(ConfigError, match="expected a spec with cameras"):
        fusion_detector(make_spec(), network_config, SMALL)


def test_a_cameras_map_finer_than_the_points_map_is_refused(network_config: NetworkConfig) -> None:
    """The voxels' map has cells of four times the grid's."""
    config = dataclasses.replace(network_config, voxel_channels=(6, 8, 10), voxel_blocks=(0, 1, 1), first_stride=1)
    spec = dataclasses.replace(VOXELS, cameras=dataclasses.replace(RIG, map_stride=2))
    with pytest.raises(ConfigError, match="expected a multiple of 4"):
        fusion_detector(spec, config, SMALL)
