from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch")

from rich.console import Console  # noqa: E402
from torch import nn  # noqa: E402

from lidarloop_training.data.views.concat import ConcatSource  # noqa: E402
from lidarloop_training.stages.adapt.norms import with_norms_of  # noqa: E402
from lidarloop_training.stages.checkpoint import load_task  # noqa: E402
from lidarloop_training.stages.loading import load_batch  # noqa: E402
from lidarloop_training.stages.sampler import StepSampler  # noqa: E402
from lidarloop_training.stages.trainer import fit  # noqa: E402
from tests.training.conftest import BoxScenes  # noqa: E402

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lidarloop_training.stages.config import TrainConfig
    from lidarloop_training.tasks.detection.task import DetectionConfig

SILENT = Console(file=io.StringIO())
OTHERS = BoxScenes(num_samples=6, num_objects=7, seed=9)


@pytest.fixture
def run(train_config: TrainConfig[DetectionConfig], tmp_path: Path) -> TrainConfig[DetectionConfig]:
    """One step on scenes; the adapted checkpoint goes beside them."""
    short = dataclasses.replace(train_config.optimisation, num_steps=1, batch_size=2)
    return dataclasses.replace(
        train_config, optimisation=short, run=dataclasses.replace(train_config.run, out=tmp_path / "train")
    )


def adapted(run: TrainConfig[DetectionConfig], num_batches: int) -> tuple[Path, Path]:
    trained = fit(run, BoxScenes(num_samples=4), ConcatSource([]))
    other = dataclasses.replace(run, run=dataclasses.replace(run.run, out=run.run.out.with_name("adapted")))
    return trained, with_norms_of(trained, OTHERS, other, num_batches, SILENT)


def first_norm(network: nn.Module) -> nn.modules.batchnorm._BatchNorm:
    return next(m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))


def test_norms_take_the_mean_statistics_of_the_batches_and_weights_stay(run: TrainConfig[DetectionConfig]) -> None:
    trained, made = adapted(run, 3)
    task, network, _ = load_task(trained)
    examples = task.dataset(OTHERS, training=True, seed=run.seed)
    sampler = StepSampler(examples.parts, 2, first_step=0, num_steps=3, seed=run.seed, rank=0, world_size=1)
    seen: list[Tensor] = []
    first_norm(network).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    network.train()
    for step in range(3):
        task.loss(network, load_batch(task, examples, sampler.batch(step)))
    norm = first_norm(load_task(made).network)
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean(dim=0) for x in seen]).mean(dim=0))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var(dim=0) for x in seen]).mean(dim=0))
    assert_all_but_statistics_and_intensities_stay(trained, made)


def assert_all_but_statistics_and_intensities_stay(trained: Path, made: Path) -> None:
    before, after = load_task(trained), load_task(made)
    old, new = before.network.state_dict(), after.network.state_dict()
    changed = {name.rpartition(".")[2] for name in old if not torch.equal(old[name], new[name])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}
    assert dataclasses.replace(after.task.spec, training_intensity=()) == dataclasses.replace(
        before.task.spec, training_intensity=()
    )
    assert len(after.task.spec.training_intensity) == 11
    assert after.task.spec.training_intensity != before.task.spec.training_intensity


def test_no_batches_leave_the_statistics_and_a_second_call_makes_nothing(run: TrainConfig[DetectionConfig]) -> None:
    trained, made = adapted(run, 0)
    old, new = load_task(trained).network.state_dict(), load_task(made).network.state_dict()
    assert all(torch.equal(old[name], new[name]) for name in old)
    written = (made / "model.safetensors").stat().st_mtime_ns
    assert adapted(run, 0)[1] == made
    assert (made / "model.safetensors").stat().st_mtime_ns == written
