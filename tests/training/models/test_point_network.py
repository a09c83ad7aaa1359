"""Features of points: read from the map where they lie, or from their voxel."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from lidarloop_training.models.point_network import BevPointNetwork, PointsOfInterest, UNetPointNetwork  # noqa: E402
from lidarloop_training.models.unet import UNetConfig  # noqa: E402
from tests.builders import VOXEL_SEGMENTER  # noqa: E402
from tests.training.conftest import small_spec  # noqa: E402
from tests.training.tasks.pretext.scenes import tiny_network  # noqa: E402


class Ramp(nn.Module):
    """A backbone whose map holds the row, the column and the sample of each cell."""

    def forward(self, canvas: Tensor) -> Tensor:
        size, rows, columns = canvas.shape[0], canvas.shape[2] // 2, canvas.shape[3] // 2
        grids = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in (size, rows, columns)), indexing="ij")
        return torch.stack([grids[1], grids[2], grids[0]], dim=1)


def test_a_point_reads_the_map_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    network = BevPointNetwork(small_spec(), tiny_network())  # 20 × 16 pillars of 1 m, a map of 10 × 8 cells of 2 m
    monkeypatch.setattr(network, "backbone", Ramp())
    network.out_channels = 3
    inputs = (
        torch.zeros(2, len(small_spec().point_columns)),
        torch.tensor([0, small_spec().pillars.max_points_per_pillar]),
        torch.tensor([0, 20 * 16]),
        torch.ones(2, dtype=torch.int64),
    )
    xyz = torch.tensor([[-9.0, -7.0, 0.0], [0.0, 0.0, 1.0], [9.0, 7.0, 0.0], [-2.0, -5.0, 2.0]])
    points = PointsOfInterest(torch.tensor([0, 1, 0, 1]), xyz, torch.arange(4))
    found = network(inputs, points, 2)
    # The first cell's centre is at (-9, -7); two metres a cell.
    torch.testing.assert_close(found[:, 0], (xyz[:, 1] + 7) / 2)
    torch.testing.assert_close(found[:, 1], (xyz[:, 0] + 9) / 2)
    assert found[:, 2].tolist() == [0, 1, 0, 1]


def test_a_point_of_a_segmenter_has_the_features_of_its_voxel(monkeypatch: pytest.MonkeyPatch) -> None:
    config = UNetConfig(channels=(8, 8, 8), encoder_blocks=(0, 0, 1), decoder_blocks=(0, 0), head_channels=8)
    network = UNetPointNetwork(VOXEL_SEGMENTER, config)
    voxels = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    monkeypatch.setattr(network.encoder, "forward", lambda features, levels: voxels)
    monkeypatch.setattr(network.decoder, "forward", lambda features, levels: features)
    names = network._input_names
    inputs = tuple(
        torch.tensor([2, 1, 0], dtype=torch.int32) if name == "voxel_of_point" else torch.zeros(3, 5) for name in names
    )
    points = PointsOfInterest(torch.zeros(3, dtype=torch.int64), torch.zeros(3, 3), torch.tensor([2, 0, 1]))
    assert network(inputs, points, 1).tolist() == [[0, 0], [3, 4], [1, 2]]


@pytest.mark.parametrize("parts", [("encoder", "backbone")])
def test_parts_are_named_as_in_the_complete_network(parts: tuple[str, ...]) -> None:
    assert tuple(name for name, _ in BevPointNetwork(small_spec(), tiny_network()).named_children()) == parts
