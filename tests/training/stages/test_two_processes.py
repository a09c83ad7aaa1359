"""Data-parallel training over gloo: two processes are one run."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

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
from tests.training.tasks.pretext.normless import NormlessContrastConfig  # noqa: E402
from tests.training.tasks.pretext.scenes import PictureScenes, contrast_config  # noqa: E402

NUM_STEPS = 4


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
    script = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    path = os.pathsep.join([str(repository), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [*command, str(script), str(out)],
        capture_output=True,
        text=True,
        check=False,
        cwd=repository,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return out


def newest(run: Path) -> Path:
    return run / "checkpoints" / f"step-{NUM_STEPS:08d}"


def test_two_processes_take_the_steps_of_one_with_twice_the_batch(runs: Path, tmp_path: Path) -> None:
    fit(counting_run(tmp_path / "one", batch_size=4), *sources())
    one, two = (load_file(newest(run) / "model.safetensors") for run in (tmp_path / "one", runs / "counting"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6)


def test_two_processes_pre_train_as_one_with_twice_the_batch(runs: Path, tmp_path: Path) -> None:
    fit(contrast_run(tmp_path / "one", batch_size=4), *contrast_sources())
    one, two = (load_file(newest(run) / "model.safetensors") for run in (tmp_path / "one", runs / "contrast"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_two_processes_resume_with_the_same_bits(runs: Path, name: str) -> None:
    whole, parts = (load_file(newest(runs / run) / name) for run in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_one_process_does_not_take_up_the_run_of_two(runs: Path, tmp_path: Path) -> None:
    import shutil

    from lidarloop_core.errors import ConfigError

    shutil.copytree(runs / "whole", tmp_path / "whole")
    with pytest.raises(ConfigError, match="made with another number of processes"):
        fit(detection_run(tmp_path / "whole"), *sources())
    state = json.loads((newest(runs / "whole") / "state.json").read_text())
    assert state["parts"] == ["encoder", "backbone", "head"]
