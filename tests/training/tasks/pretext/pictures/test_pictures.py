"""An image encoder's training: the same place in both crops."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lidarloop_core.errors import ConfigError, DatasetError  # noqa: E402
from lidarloop_training.models.image.pictures import IMAGENET_MEAN, IMAGENET_STD  # noqa: E402
from lidarloop_training.models.projection import ProjectionConfig  # noqa: E402
from lidarloop_training.tasks.pretext.pictures.dataset import (  # noqa: E402
    Crop,
    CropConfig,
    CropDataset,
    crop_pair,
    draw_crop,
    place_in_crop,
)
from lidarloop_training.tasks.pretext.pictures.task import PictureConfig  # noqa: E402
from lidarloop_training.tasks.task import ExampleKey  # noqa: E402
from tests.training.conftest import small_spec  # noqa: E402
from tests.training.tasks.pretext.scenes import PictureScenes  # noqa: E402

PLAIN = CropConfig(size=64, num_places=20, brightness=0, contrast=0, saturation=0, grey=0)


def test_a_place_in_a_crop_counts_from_edge_to_edge() -> None:
    places = np.array([[10.0, 20.0], [30.0, 40.0], [20.0, 25.0]])
    expected = [[-1, -1], [1, 1], [0, -0.5]]
    np.testing.assert_allclose(place_in_crop(places, Crop(10, 20, 20, False)), expected)
    mirrored = [[1, -1], [-1, 1], [0, -0.5]]
    np.testing.assert_allclose(place_in_crop(places, Crop(10, 20, 20, True)), mirrored)


def test_crops_lie_in_the_picture_and_show_the_place_asked_for() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        middle = rng.uniform((0, 0), (80, 45))
        crop = draw_crop((80, 45), middle, PLAIN, rng)
        assert 0.4 * 45 - 1 <= crop.side <= 45
        assert crop.left >= 0
        assert crop.top >= 0
        assert crop.left + crop.side <= 80
        assert crop.top + crop.side <= 45
        assert crop.left - 1 <= middle[0] <= crop.left + crop.side + 1
        assert crop.top - 1 <= middle[1] <= crop.top + crop.side + 1


def test_both_crops_show_the_same_at_the_same_place() -> None:
    ramp = np.zeros((90, 160, 3), np.uint8)
    ramp[..., 0] = np.arange(160)
    ramp[..., 1] = 2 * np.arange(90)[:, None]
    for seed in range(5):
        pair = crop_pair(ramp, PLAIN, np.random.default_rng(seed))
        crops = torch.from_numpy((pair.crops * IMAGENET_STD[:, None, None] + IMAGENET_MEAN[:, None, None]) * 255)
        where = torch.from_numpy(pair.places)[:, None]
        read = torch.nn.functional.grid_sample(crops, where, padding_mode="border", align_corners=False)[:, :2, 0]
        inner = (where[:, 0].abs() < 0.9).all(dim=2).all(dim=0)
        assert int(inner.sum()) >= 3
        torch.testing.assert_close(read[0][:, inner], read[1][:, inner], atol=2.0, rtol=0.0)


def test_an_example_depends_on_its_key_and_seed_alone() -> None:
    dataset = CropDataset(PictureScenes(), CropConfig(size=32), 0)
    first, again, later = dataset[ExampleKey(0, 1)], dataset[ExampleKey(0, 1)], dataset[ExampleKey(1, 1)]
    np.testing.assert_array_equal(first.crops, again.crops)
    assert (first.crops != later.crops).any()


def test_training_lowers_the_loss_with_every_weight() -> None:
    config = PictureConfig(
        spec=small_spec(), blocks=(1, 1, 1), width=4, crops=CropConfig(size=48), projection=ProjectionConfig(32, 8)
    )
    task = config.task()
    torch.manual_seed(0)
    network = task.build().train()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    examples = task.dataset(PictureScenes(), training=True, seed=0)
    batch = task.collate([examples[ExampleKey(0, index)] for index in range(6)])
    losses = []
    for _ in range(30):
        terms = task.loss(network, batch)
        optimizer.zero_grad()
        terms.total.backward()
        assert all(value.grad is not None for value in network.parameters())
        optimizer.step()
        losses.append(float(terms.total.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_what_is_not_there_is_refused() -> None:
    task = PictureConfig(spec=small_spec()).task()
    with pytest.raises(DatasetError, match="has no pictures"):
        task.check(PictureScenes(has_cameras=False), training=True)
    assert task.check(PictureScenes(), training=True) == "6 samples with 2 pictures each"
    with pytest.raises(ConfigError, match="which no vehicle runs"):
        task.export_view(task.build())
    with pytest.raises(ConfigError, match="width"):
        dataclasses.replace(task.config, width=0)


def test_a_trained_encoder_is_a_file_that_pre_training_takes(tmp_path: Path) -> None:
    from lidarloop_training.models.image.encoder import ImageEncoderConfig, open_encoder, write_encoder

    network = PictureConfig(spec=small_spec(), blocks=(1, 1, 1), width=4).task().build()
    write_encoder(network.encoder, tmp_path / "encoder.safetensors")
    encoder = open_encoder(ImageEncoderConfig(path=tmp_path / "encoder.safetensors"))
    assert encoder.num_channels == sum(network.encoder.channels)
