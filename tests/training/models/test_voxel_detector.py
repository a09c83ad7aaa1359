"""A detector on voxels: the form that trains and the form that is exported give the same maps."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.errors import ConfigError
from lidarloop_core.model.group import group_cloud
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.model.tensors import names
from tests.builders import VOXEL_DETECTOR

torch = pytest.importorskip("torch")

from lidarloop_training.models.detector import CenterPoint, center_point, map_stride  # noqa: E402
from lidarloop_training.models.encoders.voxel_features import VoxelFeatures  # noqa: E402
from lidarloop_training.models.heads.center import HeadOutput  # noqa: E402
from lidarloop_training.tasks.grouped import collate_grouped  # noqa: E402
from tests.norms import give_statistics  # noqa: E402

if TYPE_CHECKING:
    from lidarloop_training.models.detector import NetworkConfig


@pytest.fixture
def config(network_config: NetworkConfig) -> NetworkConfig:
    return dataclasses.replace(
        network_config, voxel_channels=(6, 8, 10), voxel_blocks=(0, 1, 1), map_channels=12, first_stride=1
    )


def network(config: NetworkConfig) -> CenterPoint:
    torch.manual_seed(0)
    made = center_point(VOXEL_DETECTOR, config).double().eval()
    give_statistics(made, 0.5, 2.0)
    return made


def points(seed: int, num: int = 600, spec: ModelSpec = VOXEL_DETECTOR) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    low, high = np.array(spec.grid.ranges_m).T
    xyz = rng.uniform(low, high, (num, 3))
    return np.column_stack([xyz, rng.uniform(0, 255, num), rng.choice([0, 0.1, 0.2], num)]).astype(np.float32)


def by_tables(made: CenterPoint, cloud: npt.NDArray[np.float32]) -> HeadOutput:
    """The maps of one cloud, from the tensors that an exported graph takes."""
    tensors = group_cloud(cloud, VOXEL_DETECTOR).tensors()
    assert list(tensors) == list(names(VOXEL_DETECTOR.inputs))
    for tensor in VOXEL_DETECTOR.inputs:
        assert tensor.fits(tensors[tensor.name]), tensor
    inputs = [torch.from_numpy(array) for array in tensors.values()]
    return made(*(t.double() if t.is_floating_point() else t for t in inputs))


@torch.no_grad()
def test_a_batch_with_rulebooks_gives_the_maps_of_each_cloud_with_tables(config: NetworkConfig) -> None:
    made = network(config)
    clouds = [points(1), points(2, num=5), np.full((3, 5), 1e6, np.float32), points(3, num=4000)]
    collated = collate_grouped([group_cloud(cloud, VOXEL_DETECTOR) for cloud in clouds], VOXEL_DETECTOR)
    inputs = [i.double() if isinstance(i, torch.Tensor) and i.is_floating_point() else i for i in collated]
    together = made(*inputs, batch_size=len(clouds))
    for number, cloud in enumerate(clouds):
        for batched, alone in zip(together, by_tables(made, cloud), strict=True):
            torch.testing.assert_close(batched[number], alone[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_lies_somewhere_is_seen_there(config: NetworkConfig) -> None:
    """Rows run along y and columns along x, as in the targets."""
    made = network(config)
    bevs = []
    for extra in ([], [[5.0, -4.0, 0.3, 100.0, 0.0]] * 4):
        cloud = np.concatenate([points(1, num=50), np.array(extra, np.float32).reshape(-1, 5)])
        tensors = group_cloud(cloud, VOXEL_DETECTOR).tensors().values()
        inputs = [torch.from_numpy(array) for array in tensors]
        bevs.append(made.encoder(*(t.double() if t.is_floating_point() else t for t in inputs)))
    change = (bevs[1] - bevs[0]).abs().sum(dim=(0, 1))
    assert change.shape == (8, 12)
    row, column = divmod(int(change.argmax()), 12)
    low, cell = np.array([-6.4, -9.6]), 1.6
    assert np.abs(np.array([row, column]) - ([-4.0, 5.0] - low) / cell).max() < 1.5


def test_the_place_within_a_voxel_is_from_its_centre() -> None:
    features = VoxelFeatures(VOXEL_DETECTOR)
    cloud = torch.tensor([[-9.6 + 0.4 * 3 + 0.1, -6.4 + 0.2, 2.9, 255.0, 0.1]])
    found = features(cloud)
    assert found.shape == (1, features.num_features) == (1, 8)
    torch.testing.assert_close(found[0, 5:], torch.tensor([-0.25, 0.0, 0.3]), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[0, 3:5], torch.tensor([1.0, 0.1]))
    assert found[0, :3].abs().max() <= 1


def test_the_stride_of_the_maps_is_that_of_levels_and_backbone(config: NetworkConfig) -> None:
    assert map_stride(VOXEL_DETECTOR, config) == 4
    assert map_stride(VOXEL_DETECTOR, dataclasses.replace(config, first_stride=2)) == 8
    output = by_tables(network(config), points(1))
    assert output[0].shape == (1, 10, 8, 12)


def test_other_channels_than_levels_are_refused(config: NetworkConfig) -> None:
    with pytest.raises(ConfigError, match=r"at least one at each level below the first"):
        center_point(VOXEL_DETECTOR, dataclasses.replace(config, voxel_blocks=(0, 1, 0)))
    with pytest.raises(ConfigError, match=r"2 voxel_channels and 3 voxel_blocks; expected 3 of each"):
        center_point(VOXEL_DETECTOR, dataclasses.replace(config, voxel_channels=(8, 8)))
