from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from lidarloop_training.tasks.pretext.units.pooling import pool, pool_images  # noqa: E402
from lidarloop_training.tasks.pretext.units.sightings import Sightings  # noqa: E402


def test_a_unit_is_the_mean_of_its_points() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0], [7.0, 7.0]], requires_grad=True)
    pooled = pool(features, torch.tensor([0, 0, -1, 2], dtype=torch.int32), 3)
    torch.testing.assert_close(pooled, torch.tensor([[2.0, 3.0], [0.0, 0.0], [7.0, 7.0]]))
    pooled.sum().backward()
    torch.testing.assert_close(features.grad, torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.0, 0.0], [1.0, 1.0]]))


def test_a_batch_equals_its_clouds() -> None:
    generator = torch.Generator().manual_seed(0)
    clouds = [torch.randn(30, 4, generator=generator) for _ in range(2)]
    units = [torch.randint(-1, 5, (30,), generator=generator) for _ in range(2)]
    apart = torch.cat([pool(*cloud, 5) for cloud in zip(clouds, units, strict=True)])
    together = pool(torch.cat(clouds), torch.cat([units[0], torch.where(units[1] >= 0, units[1] + 5, -1)]), 10)
    torch.testing.assert_close(together, apart)


def ramp(width: int, height: int, size: tuple[int, int]) -> Tensor:
    """A map whose two channels are the pixel coordinates of the middles of its cells."""
    u = (torch.arange(width) + 0.5) * size[0] / width - 0.5
    v = (torch.arange(height) + 0.5) * size[1] / height - 0.5
    return torch.stack([u.expand(height, width), v[:, None].expand(height, width)])


SIZES = ((160, 80), (64, 64))


def test_features_are_read_where_the_points_appear() -> None:
    """A linear map is read exactly between the middles of its cells."""
    pixels = np.array([[20.0, 30.0], [100.25, 61.5], [31.0, 17.0]], np.float32)
    seen = Sightings(np.array([0, 1, 2]), np.array([0, 0, 1]), pixels, SIZES, 3)
    maps = [ramp(20, 10, SIZES[0]), ramp(16, 8, SIZES[1])]
    torch.testing.assert_close(pool_images(maps, seen, torch.tensor([0, 1, 2]), 3), torch.from_numpy(pixels))


def test_the_nearest_cell_can_be_read_alone() -> None:
    seen = Sightings(np.array([0, 0]), np.array([0, 1]), np.array([[15.0, 0.0], [0.0, 40.0]], np.float32), SIZES, 1)
    maps = [torch.arange(20.0).expand(1, 10, 20), torch.arange(8.0)[:, None].expand(1, 8, 16)]
    pooled = pool_images(maps, seen, torch.tensor([0]), 1, mode="nearest")
    torch.testing.assert_close(pooled, torch.tensor([[(1.0 + 5.0) / 2]]))


def test_cameras_are_averaged_before_points() -> None:
    """Point 0 is seen twice, with 2 and 4, point 1 once, with 9: (3 + 9) / 2, and not 15 / 3."""
    maps = [torch.full((1, 4, 4), 2.0), torch.full((1, 4, 4), 4.0), torch.full((1, 4, 4), 9.0)]
    seen = Sightings(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2]), np.zeros((4, 2), np.float32), ((8, 8),) * 3, 3)
    pooled = pool_images(maps, seen, torch.tensor([0, 0, 1]), 2)
    torch.testing.assert_close(pooled, torch.tensor([[6.0], [0.0]]))


def test_points_without_a_unit_are_not_read() -> None:
    maps = [torch.full((2, 4, 4), torch.nan)]
    seen = Sightings(np.array([0]), np.array([0]), np.zeros((1, 2), np.float32), ((8, 8),), 1)
    assert (pool_images(maps, seen, torch.tensor([-1]), 1) == 0).all()


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_is_kept(name: str) -> None:
    dtype = getattr(torch, name)
    features = torch.ones(3, 2, dtype=dtype)
    pooled = pool(features, torch.tensor([0, 0, 0]), 2)
    assert pooled.dtype == dtype
    assert pooled.tolist() == [[1.0, 1.0], [0.0, 0.0]]
