"""Data-parallel training over gloo: two processes are one run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lidarloop_training.data.toytown.training_drives import ToyTownDrives  # noqa: E402
from lidarloop_training.losses.contrastive import ContrastiveConfig  # noqa: E402
from lidarloop_training.models.detector import NetworkConfig  # noqa: E402
from lidarloop_training.recipes.pillar_toytown import CENTERPOINT_GROUPS  # noqa: E402
from lidarloop_training.stages.config import OptimisationConfig, RunConfig, TrainConfig  # noqa: E402
from lidarloop_training.stages.schedule import OneCycleConfig  # noqa: E402
from lidarloop_training.stages.trainer import fit  # noqa: E402
from lidarloop_training.tasks.detection.task import DetectionConfig  # noqa: E402
from tests.training.conftest import BoxScenes, small_spec  # noqa: E402
from tests.training.stages.counting import CountingConfig  # noqa: E402
from tests.training.stages.torchrun import (  # noqa: E402
    NUM_STEPS,
    assert_close_weights,
    assert_same_bits,
    newest,
    run_two_processes,
)
from tests.training.tasks.pretext.normless import NormlessContrastConfig  # noqa: E402
from tests.training.tasks.pretext.scenes import PictureScenes, contrast_config  # noqa: E402


def sources() -> tuple[Any, ...]:
    """One sample to validate on: the second process has none of its own."""
    return BoxScenes(num_samples=8), BoxScenes(num_samples=1, seed=1)


def _run(task: Any, out: Path, batch_size: int) -> TrainConfig:
    return TrainConfig(
        task=task,
        data=ToyTownDrives(),
        optimisation=OptimisationConfig(
            num_steps=NUM_STEPS,
            batch_size=batch_size,
            precision="float32",
            schedule=OneCycleConfig(peak_learning_rate=1e-2),
        ),
        run=RunConfig(out=out, num_workers=0, num_threads=1, log_every=1, validate_every=2, checkpoint_every=2),
    )


def counting_run(out: Path, batch_size: int) -> TrainConfig:
    """Without batch norm, whose statistics are of one process, so that the processes' gradients alone decide."""
    return _run(CountingConfig(spec=small_spec(), on_pillars=False), out, batch_size)


def contrast_run(out: Path, batch_size: int) -> TrainConfig:
    """Pre-training with both kinds of pairs and balanced negatives, without batch norm."""
    settings = contrast_config(out.parent, modality="multi", loss=ContrastiveConfig(num_negatives=6))
    task = NormlessContrastConfig(**{f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)})
    return _run(task, out, batch_size)


def contrast_sources() -> tuple[Any, ...]:
    return PictureScenes(num_samples=8), PictureScenes(num_samples=1, seed=1)


def detection_run(out: Path) -> TrainConfig:
    network = NetworkConfig(
        CENTERPOINT_GROUPS,
        pillar_channels=4,
        stage_channels=(4, 8),
        stage_depths=(1, 1),
        neck_channels=8,
        shared_channels=8,
        group_channels=8,
    )
    return _run(DetectionConfig(spec=small_spec(), network=network), out, 1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The folder in which two processes have trained."""
    out = tmp_path_factory.mktemp("two-processes")
    run_two_processes(Path(__file__).with_name("two_processes.py"), out, repository)
    return out


def test_two_processes_take_the_steps_of_one_with_twice_the_batch(runs: Path, tmp_path: Path) -> None:
    fit(counting_run(tmp_path / "one", batch_size=4), *sources())
    assert_close_weights(tmp_path / "one", runs / "counting", 1e-5, 1e-6)


def test_two_processes_pre_train_as_one_with_twice_the_batch(runs: Path, tmp_path: Path) -> None:
    fit(contrast_run(tmp_path / "one", batch_size=4), *contrast_sources())
    assert_close_weights(tmp_path / "one", runs / "contrast", 1e-4, 1e-4)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_two_processes_resume_with_the_same_bits(runs: Path, name: str) -> None:
    assert_same_bits(runs / "whole", runs / "parts", name)


def test_one_process_does_not_take_up_the_run_of_two(runs: Path, tmp_path: Path) -> None:
    import shutil

    from lidarloop_core.errors import ConfigError

    shutil.copytree(runs / "whole", tmp_path / "whole")
    with pytest.raises(ConfigError, match="made with another number of processes"):
        fit(detection_run(tmp_path / "whole"), *sources())
    state = json.loads((newest(runs / "whole") / "state.json").read_text())
    assert state["parts"] == ["encoder", "backbone", "head"]
