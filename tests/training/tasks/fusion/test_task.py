from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lidarloop_core.camera_bev.lift_table import lift_table
from lidarloop_core.camera_bev.pictures import placed_cameras
from lidarloop_core.errors import ConfigError, DatasetError
from tests.training.conftest import BoxScenes
from tests.training.tasks.fusion.scenes import ALONE, RIG, SPEC, PicturedScenes, fusion_config

torch = pytest.importorskip("torch")

from lidarloop_training.stages.saved_task import as_json, from_json, task_type  # noqa: E402
from lidarloop_training.tasks.augment import NO_AUGMENTATION, AugmentConfig  # noqa: E402
from lidarloop_training.tasks.task import ExampleKey  # noqa: E402

if TYPE_CHECKING:
    from lidarloop_training.models.detector import NetworkConfig

SCENES = PicturedScenes(BoxScenes(num_samples=3))
MIRRORED = dataclasses.replace(NO_AUGMENTATION, flip_left_right=1.0)


def test_the_table_of_an_example_follows_its_scene(network_config: NetworkConfig) -> None:
    config = dataclasses.replace(fusion_config(network_config), augment=MIRRORED)
    example = config.task().dataset(SCENES, training=True, seed=0)[ExampleKey(0, 1)]
    sample = SCENES[1]
    expected = lift_table(
        placed_cameras(sample.cameras, sample.keyframe, RIG), RIG, SPEC.grid, np.diag([1.0, -1.0, 1.0])
    )
    np.testing.assert_array_equal(example.table.cells, expected.cells)
    np.testing.assert_array_equal(example.table.places, expected.places)
    assert example.images.shape == (2, 24, 48, 3)
    assert example.images.min() == example.images.max() == 30


def test_cameras_are_left_out_in_training_alone_and_by_example(network_config: NetworkConfig) -> None:
    task = fusion_config(network_config, camera_dropout=0.5).task()
    training = task.dataset(SCENES, training=True, seed=0)
    dark = [training[ExampleKey(epoch, 0)].table.cells.max() == 0 for epoch in range(20)]
    assert 4 < sum(dark) < 16
    assert [training[ExampleKey(epoch, 0)].table.cells.max() == 0 for epoch in range(3)] == dark[:3]
    validating = task.dataset(SCENES, training=False, seed=0)
    assert all(validating[ExampleKey(epoch, 0)].table.cells.max() > 0 for epoch in range(5))


@pytest.mark.parametrize("spec", [SPEC, ALONE], ids=["fused", "cameras alone"])
def test_the_loss_trains_every_part(network_config: NetworkConfig, spec: object) -> None:
    assert spec in (SPEC, ALONE)
    config = fusion_config(network_config, SPEC if spec is SPEC else ALONE)
    task = config.task()
    examples = task.dataset(SCENES, training=True, seed=0)
    batch = task.collate([examples[ExampleKey(0, index)] for index in range(3)])
    assert batch.batch_size == 3
    torch.manual_seed(0)
    network = task.build()
    task.loss(network, batch.to(torch.device("cpu"))).total.backward()
    still = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    of_absent_classes = ("head.hidden", "head.regressions")
    assert {name for name in still if not name.startswith(of_absent_classes)} == set()


def test_settings_come_back_equal(network_config: NetworkConfig) -> None:
    for config in (fusion_config(network_config, camera_dropout=0.2), fusion_config(network_config, ALONE)):
        assert from_json(task_type("fusion"), as_json(config)) == config


def test_a_drive_without_the_cameras_is_refused(network_config: NetworkConfig) -> None:
    task = fusion_config(network_config).task()
    with pytest.raises(DatasetError, match=r"of no camera; expected also FRONT, BACK: set --data\.cameras"):
        task.check(BoxScenes(num_samples=1), training=True)
    with pytest.raises(DatasetError, match="has pictures of BACK; expected also FRONT"):
        task.check(PicturedScenes(BoxScenes(num_samples=1), ("BACK",)), training=True)
    assert "car" in task.check(SCENES, training=True)


def test_a_network_on_cameras_alone_needs_them_in_every_example(network_config: NetworkConfig) -> None:
    with pytest.raises(ConfigError, match=r"expected 0, .* set --task\.camera-dropout 0"):
        fusion_config(network_config, ALONE, camera_dropout=0.1)


def test_a_spec_without_cameras_is_refused(network_config: NetworkConfig) -> None:
    with pytest.raises(ConfigError, match="expected a spec with cameras"):
        fusion_config(network_config, dataclasses.replace(SPEC, cameras=None)).task()


def test_a_camera_that_a_sample_lacks_gives_nothing(network_config: NetworkConfig) -> None:
    """Its picture is black, and the table has no place of it."""
    config = dataclasses.replace(fusion_config(network_config), augment=AugmentConfig(max_drop=0.0))
    source = PicturedScenes(BoxScenes(num_samples=1), ("BACK",))
    example = config.task().dataset(source, training=True, seed=0)[ExampleKey(0, 0)]
    assert example.images[0].max() == 0
    assert example.images[1].min() > 0
    per_camera = RIG.num_places // 2
    places = example.table.places[example.table.places > 0]
    assert len(places) > 0
    assert places.min() > per_camera
