"""Masked reconstruction: what is taken out of a cloud is what is to be found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lidarloop_core.errors import ConfigError  # noqa: E402
from lidarloop_training.tasks.detection.task import DetectionConfig  # noqa: E402
from lidarloop_training.tasks.pretext.masked.dataset import MaskConfig, mask_cells  # noqa: E402
from lidarloop_training.tasks.pretext.masked.task import MaskedBevConfig  # noqa: E402
from lidarloop_training.tasks.task import ExampleKey  # noqa: E402
from tests.builders import VOXEL_DETECTOR  # noqa: E402
from tests.training.conftest import BoxScenes, small_spec  # noqa: E402
from tests.training.tasks.pretext.scenes import one_sweep, tiny_network  # noqa: E402

MAP = (10, 8)


def test_the_points_of_masked_cells_are_the_ones_that_are_taken_out() -> None:
    spec = small_spec()
    rng = np.random.default_rng(0)
    low, high = np.array(spec.grid.ranges_m).T
    points = np.column_stack([rng.uniform(low, high, (500, 3)), rng.random((500, 2))]).astype(np.float32)
    is_masked, masked = mask_cells(points, spec, MAP, MaskConfig(0.5, 50), rng)
    place = ((points[:, :2] - low[:2]) / 2).astype(int)
    cell = place[:, 1] * 10 + place[:, 0]
    assert len(masked.cell) == round(len(np.unique(cell)) / 2)
    np.testing.assert_array_equal(np.unique(cell[is_masked]), masked.cell)
    assert not set(cell[~is_masked]) & set(masked.cell)
    for number, (row, column) in enumerate(zip(*np.divmod(masked.cell, 10), strict=True)):
        center = np.array([low[0] + 2 * column + 1, low[1] + 2 * row + 1, (low[2] + high[2]) / 2])
        found = masked.points[number][masked.is_point[number]] + center
        expected = points[cell == masked.cell[number], :3]
        assert masked.num_points[number] == len(expected)
        np.testing.assert_allclose(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)], atol=1e-4)


def test_of_a_full_cell_some_points_are_drawn() -> None:
    points = np.zeros((30, 5), np.float32)
    points[:, 2] = np.linspace(-1, 1, 30)
    _, masked = mask_cells(points, small_spec(), MAP, MaskConfig(0.99, 4), np.random.default_rng(0))
    assert masked.points.shape == (1, 4, 3)
    assert masked.is_point.all()
    assert masked.num_points.tolist() == [30]
    assert len(set(masked.points[0, :, 2].tolist())) == 4


def test_filling_is_no_point() -> None:
    points = np.zeros((2, 5), np.float32)
    _, masked = mask_cells(points, small_spec(), MAP, MaskConfig(0.99, 4), np.random.default_rng(0))
    assert masked.is_point.tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("kind", ["pillars", "voxels"])
def test_a_network_learns_what_was_masked_and_all_its_weights_with_it(kind: str) -> None:
    network_config = tiny_network(voxel_channels=(8, 8, 8), voxel_blocks=(0, 1, 1), map_channels=8)
    spec = small_spec()
    if kind == "voxels":
        spec, network_config = one_sweep(VOXEL_DETECTOR), dataclasses.replace(network_config, first_stride=1)
    task = MaskedBevConfig(spec=spec, network=network_config).task()
    examples = task.dataset(BoxScenes(labelled=False), training=True, seed=0)
    batch = task.collate([examples[ExampleKey(0, index)] for index in range(3)])
    torch.manual_seed(0)
    network = task.build().train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        terms = task.loss(network, batch)
        optimizer.zero_grad()
        terms.total.backward()
        assert all(value.grad is not None for value in network.parameters())
        optimizer.step()
        losses.append(float(terms.total.detach()))
    assert losses[-1] < 0.5 * losses[0]
    torch.testing.assert_close(terms.total, terms.parts["chamfer"] + terms.parts["density"])


def test_the_token_stands_in_masked_cells_alone() -> None:
    task = MaskedBevConfig(spec=small_spec(), network=tiny_network()).task()
    network = task.build().eval()
    seen = {}
    network.backbone.register_forward_pre_hook(lambda module, inputs: seen.update(canvas=inputs[0]))
    examples = task.dataset(BoxScenes(labelled=False), training=True, seed=0)
    batch = task.collate([examples[ExampleKey(0, 0)]])
    network(batch.inputs, batch.masked.cell, 1)
    plain = network.encoder(*batch.inputs, batch_size=1)
    row, column = (batch.masked.cell // 10) * 2, (batch.masked.cell % 10) * 2
    difference = seen["canvas"] - plain
    token = network.reconstruction.token
    torch.testing.assert_close(difference[0, :, row + 1, column], token[:, None].expand(-1, len(row)))
    assert int((difference[0, 0] != 0).sum()) == 4 * len(row)  # a cell of the map spans four pillars


def test_its_parts_are_those_that_fine_tuning_starts_from() -> None:
    spec, network = small_spec(), tiny_network()
    pretrained = MaskedBevConfig(spec=spec, network=network).task().build()
    detector = DetectionConfig(spec=spec, network=network).task().build()
    for part in ("encoder", "backbone"):
        detector.get_submodule(part).load_state_dict(pretrained.get_submodule(part).state_dict())


def test_nothing_of_it_is_exported(tmp_path: Path) -> None:
    task = MaskedBevConfig(spec=small_spec(), network=tiny_network()).task()
    with pytest.raises(ConfigError, match="detects nothing yet"):
        task.export_view(task.build())
