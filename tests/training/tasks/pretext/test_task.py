"""Contrastive pre-training from samples to a start for fine-tuning."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from lidarloop_core.errors import ConfigError  # noqa: E402
from lidarloop_training.data.toytown.training_drives import ToyTownDrives  # noqa: E402
from lidarloop_training.data.views.concat import ConcatSource  # noqa: E402
from lidarloop_training.losses.contrastive import ContrastiveConfig  # noqa: E402
from lidarloop_training.models.image.encoder import TorchImageEncoder  # noqa: E402
from lidarloop_training.stages.checkpoint import load_task, load_weights, saved_parts  # noqa: E402
from lidarloop_training.stages.config import OptimisationConfig, RunConfig, TrainConfig  # noqa: E402
from lidarloop_training.stages.schedule import OneCycleConfig  # noqa: E402
from lidarloop_training.stages.start import start_from  # noqa: E402
from lidarloop_training.stages.trainer import fit  # noqa: E402
from lidarloop_training.tasks.detection.task import DetectionConfig  # noqa: E402
from lidarloop_training.tasks.pretext.config import ContrastConfig  # noqa: E402
from lidarloop_training.tasks.pretext.task import ContrastTask, DetectorContrastConfig, SegmenterContrastConfig  # noqa: E402
from lidarloop_training.tasks.segmentation.task import SegmentationConfig  # noqa: E402
from lidarloop_training.tasks.task import ExampleKey  # noqa: E402
from tests.training.tasks.pretext.scenes import (  # noqa: E402
    PictureScenes,
    contrast_config,
    segmenter_config,
    voxel_config,
)

KINDS: dict[str, Callable[[Path], DetectorContrastConfig | SegmenterContrastConfig]] = {
    "pillars": contrast_config,
    "voxels": voxel_config,
    "U-Net": segmenter_config,
}


def run_config(task: ContrastConfig, out: Path, num_steps: int = 4) -> TrainConfig[Any]:
    return TrainConfig(
        task=task,
        data=ToyTownDrives(),
        optimisation=OptimisationConfig(
            num_steps=num_steps, batch_size=2, precision="float32", schedule=OneCycleConfig(peak_learning_rate=1e-2)
        ),
        run=RunConfig(out=out, num_workers=0, num_threads=1, log_every=10, validate_every=10**6, checkpoint_every=2),
    )


def batch_of(task: Any, indices: tuple[int, ...]) -> Any:
    examples = task.dataset(PictureScenes(), training=True, seed=0)
    return task.collate([examples[ExampleKey(0, index)] for index in indices])


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_random_weights_is_near_the_logarithm_of_the_negatives_and_one(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    # At τ = 1 a random cosine moves the loss by little; at 0.1 by ten times as much.
    task = dataclasses.replace(KINDS[kind](tmp_path), loss=ContrastiveConfig(temperature=1.0)).task()
    batch = batch_of(task, (0, 1, 2, 3))
    terms = task.loss(task.build().train(), batch)
    expected = sum(math.log(number) for number in batch.units_of_cloud) / 4
    assert float(terms.total.detach()) == pytest.approx(expected, rel=0.1)
    assert set(terms.parts) == {"cross_loss", "cross_accuracy", "cross_alignment"}


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_point_network_and_the_projections_and_nothing_else(kind: str, tmp_path: Path) -> None:
    task = KINDS[kind](tmp_path).task()
    network = task.build().train()
    batch = batch_of(task, (0, 1))
    targets = batch.targets.requires_grad_()
    task.loss(network, batch).total.backward()
    without = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    # A bias in front of a norm, or of a head whose output is compared by differences, may have none.
    assert [name for name in without if not name.endswith("bias")] == []
    assert targets.grad is None
    assert task.features is not None
    encoder = task.features.encoder
    assert isinstance(encoder, TorchImageEncoder)
    assert all(not value.requires_grad for value in encoder.network.parameters())


@pytest.mark.parametrize(
    ("modality", "parts"),
    [
        ("single", {"single_loss", "single_accuracy", "single_alignment"}),
        ("single+", {"single_loss", "single_accuracy", "single_alignment"}),
        (
            "multi",
            {"cross_loss", "cross_accuracy", "cross_alignment", "single_loss", "single_accuracy", "single_alignment"},
        ),
    ],
)
def test_one_switch_gives_each_modality(modality: str, parts: set[str], tmp_path: Path) -> None:
    task = contrast_config(tmp_path, modality=modality).task()
    network = task.build().train()
    terms = task.loss(network, batch_of(task, (0, 1)))
    assert set(terms.parts) == parts
    losses = [value for name, value in terms.parts.items() if name.endswith("_loss")]
    torch.testing.assert_close(terms.total, torch.stack(losses).sum())
    assert hasattr(network, "target_projection") == (modality == "multi")


def test_fewer_negatives_cost_less(tmp_path: Path) -> None:
    losses = {}
    for number in (0, 4):
        torch.manual_seed(0)
        task = contrast_config(tmp_path, loss=ContrastiveConfig(num_negatives=number)).task()
        losses[number] = float(task.loss(task.build().train(), batch_of(task, (0, 1))).total.detach())
    assert losses[4] < losses[0]
    assert losses[4] == pytest.approx(math.log(4), rel=0.2)  # three negatives, strictly below the fourth


def test_a_cloud_with_fewer_than_two_units_counts_as_nothing(tmp_path: Path) -> None:
    task = contrast_config(tmp_path).task()
    network = task.build().eval()
    examples = [task.dataset(PictureScenes(), training=True, seed=0)[ExampleKey(0, index)] for index in (0, 1)]
    view = examples[1].views[0]
    one = view.unit == 0
    alone = dataclasses.replace(view, row=view.row[one], xyz=view.xyz[one], unit=view.unit[one])
    lonely = dataclasses.replace(examples[1], views=(alone,), num_units=1, targets=examples[1].targets[:1])
    both = float(task.loss(network, task.collate([examples[0], lonely])).total.detach())
    first = float(task.loss(network, task.collate(examples[:1])).total.detach())
    assert both == pytest.approx(first / 2, rel=1e-5)


def test_training_lowers_the_loss_and_raises_the_accuracy(tmp_path: Path) -> None:
    config = contrast_config(tmp_path)
    task, batch = config.task(), batch_of(config.task(), (0, 1, 2, 3))
    torch.manual_seed(0)
    network = task.build().train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    history = []
    for _ in range(60):
        terms = task.loss(network, batch)
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        history.append((float(terms.total.detach()), float(terms.parts["cross_accuracy"])))
    assert history[-1][0] < 0.7 * history[0][0]
    assert history[-1][1] > history[0][1] + 0.2


def test_an_interrupted_run_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    config = contrast_config(tmp_path, modality="multi")
    whole = fit(run_config(config, tmp_path / "whole"), PictureScenes(), ConcatSource([]))
    fit(run_config(config, tmp_path / "parts"), PictureScenes(), ConcatSource([]), stop_after=2)
    torch.manual_seed(99)  # a new process has other global random state
    resumed = fit(run_config(config, tmp_path / "parts"), PictureScenes(), ConcatSource([]))
    for name in ("model.safetensors", "optimizer.safetensors"):
        expected, found = load_file(whole / name), load_file(resumed / name)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_fine_tuning_starts_from_the_parts_of_a_run(kind: str, tmp_path: Path) -> None:
    config = KINDS[kind](tmp_path)
    folder = fit(run_config(config, tmp_path / "run", num_steps=2), PictureScenes(), ConcatSource([]))
    is_detector = isinstance(config, DetectorContrastConfig)
    parts = ("encoder", "backbone" if is_detector else "decoder")
    assert saved_parts(folder) == (*parts, "projection", "target_projection")
    network = config.network_config
    kind_of_task = DetectionConfig if is_detector else SegmentationConfig
    downstream = kind_of_task(spec=config.spec, network=network)
    detector = downstream.task().build()
    start_from(folder, parts, detector, downstream)
    stored = load_weights(folder)
    for name, value in detector.state_dict().items():
        if name.startswith(parts):
            assert torch.equal(value, stored[name])


def test_a_checkpoint_knows_its_task(tmp_path: Path) -> None:
    config = contrast_config(tmp_path, targets="shuffled-images", loss=ContrastiveConfig(num_negatives=5))
    folder = fit(run_config(config, tmp_path / "run", num_steps=1), PictureScenes(), ConcatSource([]))
    task = load_task(folder).task
    assert isinstance(task, ContrastTask)
    assert dataclasses.replace(task.config, spec=config.spec) == config


def test_nothing_of_it_is_exported(tmp_path: Path) -> None:
    task = contrast_config(tmp_path).task()
    with pytest.raises(ConfigError, match="--init-from RUN --init-parts encoder backbone"):
        task.export_view(task.build())


def test_two_halves_of_a_batch_have_the_gradient_of_all(tmp_path: Path) -> None:
    """What makes several processes one run: each cloud counts alike, and its negatives are its own."""
    task = contrast_config(tmp_path, loss=ContrastiveConfig(num_negatives=6)).task()
    torch.manual_seed(0)
    network = task.build().eval()  # norms have fixed statistics

    def gradients(indices: tuple[int, ...]) -> list[Any]:
        network.zero_grad()
        task.loss(network, batch_of(task, indices)).total.backward()
        return [value.grad.clone() for value in network.parameters() if value.grad is not None]

    whole = gradients((0, 1, 2, 3))
    halves = [gradients((0, 1)), gradients((2, 3))]
    for expected, *found in zip(whole, *halves, strict=True):
        torch.testing.assert_close((found[0] + found[1]) / 2, expected, atol=1e-6, rtol=1e-4)
