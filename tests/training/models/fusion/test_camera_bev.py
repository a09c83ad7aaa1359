from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lidarloop_core.camera_bev.lift_table import LiftTable, PlacedCamera, lift_table, place_of_cell
from lidarloop_core.camera_bev.pictures import dark, ring_of_cameras, trial_pictures
from lidarloop_core.camera_bev.rig import CameraRig
from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.se3 import SE3
from tests.builders import make_spec

torch = pytest.importorskip("torch")

from lidarloop_training.models.fusion.camera_bev import CameraBevEncoder, CameraConfig, splat  # noqa: E402
from lidarloop_training.tasks.fusion.dataset import collate_tables  # noqa: E402
from tests.norms import give_statistics  # noqa: E402

if TYPE_CHECKING:
    from torch import Tensor

GRID = make_spec().grid
"""16 × 8 m in cells of half a metre."""
RIG = CameraRig(
    names=("FRONT", "LEFT", "BACK"), width=48, height=24, stride=8, depth_range_m=(1.0, 9.0), num_depths=8, map_stride=2
)
SMALL = CameraConfig(width=2, hidden_channels=6, channels=5)
FORWARD = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))


def tensors(table: LiftTable) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in table.tensors().values())


def encoder(config: CameraConfig = SMALL) -> CameraBevEncoder:
    torch.manual_seed(0)
    made = CameraBevEncoder(RIG, GRID, config).eval()
    give_statistics(made)
    return made


def test_one_pixel_of_certain_depth_gives_its_feature_to_one_cell() -> None:
    """From (1, -2) along +x, at 4.5 m with certainty: (5.5, -2), column 13 and row 2 of cells of a metre."""
    rig = CameraRig(("FRONT",), 1, 1, 1, (4.0, 6.0), 2, map_stride=2)
    camera = PlacedCamera(np.eye(3), 1, 1, SE3.from_yaw(0.0, (1.0, -2.0, 0.0)) @ FORWARD)
    feature = torch.tensor([[3.0, -7.0]])
    found = splat(torch.tensor([[1.0, 0.0]]), feature, *tensors(lift_table([camera], rig, GRID))).view(8, 16, 2)
    expected = torch.zeros(8, 16, 2)
    expected[2, 13] = feature[0]
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_the_map_is_the_sum_of_products_by_brute_force() -> None:
    generator = torch.Generator().manual_seed(1)
    depths = torch.rand(RIG.num_rays, RIG.num_depths, generator=generator, dtype=torch.float64)
    features = torch.randn(RIG.num_rays, 4, generator=generator, dtype=torch.float64)
    cameras = ring_of_cameras(RIG, view_rad=1.8)
    expected = torch.zeros(8, 16, 4, dtype=torch.float64)
    places = np.concatenate([place_of_cell(camera, RIG) for camera in cameras])
    for index, (x, y, z) in enumerate(places):
        ray, depth = divmod(index, RIG.num_depths)
        if -8 <= x < 8 and -4 <= y < 4 and -5 <= z < 3:
            expected[int(np.floor(y + 4)), int(np.floor(x + 8))] += depths[ray, depth] * features[ray]
    found = splat(depths, features, *tensors(lift_table(cameras, RIG, GRID)))
    torch.testing.assert_close(found, expected.flatten(0, 1))


def test_gradients_reach_depths_and_features_of_places_in_range() -> None:
    depths = torch.full((RIG.num_rays, RIG.num_depths), 0.1, dtype=torch.float64, requires_grad=True)
    features = torch.randn(RIG.num_rays, 3, dtype=torch.float64, requires_grad=True)
    cameras = ring_of_cameras(RIG, view_rad=1.8)
    table = lift_table(cameras, RIG, GRID)
    splat(depths, features, *tensors(table)).sum().backward()
    assert depths.grad is not None
    assert features.grad is not None
    counted = np.bincount(table.places.ravel(), minlength=RIG.num_places + 1)[1:].reshape(-1, RIG.num_depths)
    torch.testing.assert_close(depths.grad, torch.from_numpy(counted) * features.detach().sum(dim=1, keepdim=True))
    torch.testing.assert_close(features.grad, torch.from_numpy(0.1 * counted.sum(axis=1))[:, None].expand(-1, 3))


@torch.no_grad()
def test_a_batch_gives_the_maps_of_each_sample() -> None:
    made = encoder()
    seen = [trial_pictures(RIG, GRID, seed) for seed in range(2)]
    seen[1] = dataclasses.replace(seen[1], table=lift_table(ring_of_cameras(RIG, 1.8), RIG, GRID))
    seen.insert(1, dataclasses.replace(seen[0], table=dark(RIG, GRID).table))
    alone = [made(torch.from_numpy(each.images), *tensors(each.table)) for each in seen]
    images = torch.from_numpy(np.concatenate([each.images for each in seen]))
    together = made(images, *collate_tables([each.table for each in seen], RIG), batch_size=3)
    assert together.shape == (3, 5, 8, 16)
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=1e-5)
    assert together[1].abs().max() == 0
    assert together[0].abs().max() > 0


@torch.no_grad()
def test_a_picture_changes_the_map_where_its_camera_looks() -> None:
    """The first of three cameras looks along +x: its picture changes nothing behind."""
    made = encoder()
    seen = trial_pictures(RIG, GRID, seed=0)
    before = made(torch.from_numpy(seen.images), *tensors(seen.table))[0]
    changed = seen.images.copy()
    changed[0] = 255 - changed[0]
    after = made(torch.from_numpy(changed), *tensors(seen.table))[0]
    columns = (after - before).abs().sum(dim=(0, 1))
    assert columns[8:].max() > 0
    assert columns[:8].max() == 0


def test_an_image_encoder_of_another_stride_is_refused() -> None:
    with pytest.raises(ConfigError, match="a stride of 16, for cameras of stride 8"):
        encoder(CameraConfig(blocks=(1, 1, 1)))
