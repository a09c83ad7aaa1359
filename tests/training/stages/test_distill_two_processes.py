"""Distillation over gloo: two processes are one run.

Batch norm sees the samples of one process, and losses are divided by what a process has found. So the processes are
compared with one of twice the batch on samples that are all alike: then both are the same in exact arithmetic.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lidarloop_training.data.views.concat import ConcatSource  # noqa: E402
from lidarloop_training.data.views.subset import SubsetSource  # noqa: E402
from lidarloop_training.stages.config import TrainConfig  # noqa: E402
from lidarloop_training.stages.distill import distill  # noqa: E402
from lidarloop_training.tasks.augment import NO_AUGMENTATION  # noqa: E402
from lidarloop_training.tasks.distillation.teacher import Teacher  # noqa: E402
from tests.norms import give_statistics  # noqa: E402
from tests.training.conftest import BoxScenes  # noqa: E402
from tests.training.painted import SPECS, PaintedScenes, run_of, student_config, teacher_config  # noqa: E402
from tests.training.stages.torchrun import (  # noqa: E402
    NUM_STEPS,
    assert_close_weights,
    assert_same_bits,
    run_two_processes,
)

NOTHING = ConcatSource([])


def one_scene() -> SubsetSource:
    """Eight times the same."""
    return SubsetSource(PaintedScenes(), [0] * 8)


def different_scenes() -> PaintedScenes:
    return PaintedScenes(BoxScenes(num_samples=8))


def teacher() -> Teacher:
    torch.manual_seed(1)
    config = teacher_config(SPECS["voxels"])
    network = config.task().build()
    give_statistics(network, 0.5, 2.0)
    return Teacher(network, config, "1" * 64)


def distillation_run(out: Path, batch_size: int) -> TrainConfig[Any]:
    config = student_config(SPECS["voxels"], augment=NO_AUGMENTATION)
    return run_of(config, out, num_steps=NUM_STEPS, batch_size=batch_size)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The folder in which two processes have trained."""
    out = tmp_path_factory.mktemp("two-processes")
    run_two_processes(Path(__file__).with_name("distill_two_processes.py"), out, repository)
    return out


def test_two_processes_take_the_steps_of_one_with_twice_the_batch(runs: Path, tmp_path: Path) -> None:
    distill(distillation_run(tmp_path / "one", 2), teacher(), one_scene(), NOTHING)
    # Running variances are unbiased, by n / (n - 1), and n is twice as large.
    assert_close_weights(tmp_path / "one", runs / "alike", 1e-3, 1e-3, without="running_var")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_two_processes_resume_with_the_same_bits(runs: Path, name: str) -> None:
    assert_same_bits(runs / "whole", runs / "parts", name)
