"""The command on made scenes, from labels that are the truth to the file that export would write."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tyro  # noqa: E402

from lidarloop_core.errors import ConfigError  # noqa: E402
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels  # noqa: E402
from lidarloop_training.commands.adapt import command  # noqa: E402
from lidarloop_training.data.drive_spec import KittiTracking  # noqa: E402
from lidarloop_training.data.views.concat import ConcatSource  # noqa: E402
from lidarloop_training.data.writing.pseudo_labels import LabelledFrame, write_drive  # noqa: E402
from lidarloop_training.recipes.adapt import task_of_source  # noqa: E402
from lidarloop_training.stages.checkpoint import load_task  # noqa: E402
from lidarloop_training.stages.trainer import fit  # noqa: E402
from tests.training.conftest import BoxScenes  # noqa: E402
from tests.training.sources import MadeSource  # noqa: E402

if TYPE_CHECKING:
    from lidarloop_core.sample import Sample
    from lidarloop_training.stages.config import TrainConfig
    from lidarloop_training.tasks.detection.task import DetectionConfig


class Drive(MadeSource):
    """Scenes of boxes, a tenth of a second after one another."""

    def __init__(self) -> None:
        self.scenes = BoxScenes(num_samples=3, seed=4)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Sample:
        sample = self.scenes[index]
        later = tuple(dataclasses.replace(s, stamp_ns=s.stamp_ns + index * 100_000_000) for s in sample.sweeps)
        return dataclasses.replace(sample, token=str(index), stamp_ns=later[0].stamp_ns, sweeps=later)


WORDS = ("--optimisation.num-steps", "1", "--optimisation.batch-size", "2", "--num-workers", "0", "--norm-batches", "1")


@pytest.fixture
def source(train_config: TrainConfig[DetectionConfig], tmp_path: Path) -> Path:
    """A run of one step on scenes of boxes."""
    short = dataclasses.replace(train_config.optimisation, num_steps=1, batch_size=2)
    run = dataclasses.replace(train_config.run, out=tmp_path / "source")
    fit(dataclasses.replace(train_config, optimisation=short, run=run), BoxScenes(num_samples=2), ConcatSource([]))
    return run.out


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """The truth of the drive, all of it sure."""
    drive = Drive()
    frames = [LabelledFrame.of(i, drive[i], sure(drive[i]), LeftOut()) for i in range(len(drive))]
    write_drive(tmp_path / "labels" / "0", frames, {})
    return tmp_path / "labels"


def sure(sample: Sample) -> PseudoLabels:
    assert sample.annotations is not None
    boxes, number = sample.annotations.boxes, len(sample.annotations.boxes)
    return PseudoLabels(boxes, np.ones(number), np.full(number, 60), ((),) * number, ("none",) * number)


@pytest.fixture
def adapt(
    source: Path, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[list[str]]]:
    """Runs the command without toy town; export is noted down and writes an empty file."""
    exported: list[list[str]] = []

    def export(words: list[str]) -> int:
        exported.append(words)
        Path(words[2]).write_bytes(b"")
        return 0

    monkeypatch.setattr(KittiTracking, "open", lambda *_, **__: Drive())
    monkeypatch.setattr(command, "main_command", export)
    monkeypatch.setattr(command, "commands", lambda: {"export": None})

    def run(*words: str) -> list[list[str]]:
        drive = ("kitti-tracking", "kitti", "--sequence", "0003", "--labels", str(labels))
        given = (str(source), *drive, "--out", str(tmp_path / "out"), "--real-share", "1", *WORDS, *words)
        tyro.cli(command.adapt, args=given)
        return exported

    return run


def test_the_chain_ends_with_an_exported_model_goes_on_and_takes_more_rounds(adapt: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = adapt()
    assert len(first) == 1
    adapted = load_task(Path(first[0][1]))
    assert Path(first[0][1]).is_relative_to(out / "round-1" / "adapted")
    assert first[0][2] == str(out / "round-1" / "model.onnx")
    spec, before = adapted.task.spec, task_of_source(tmp_path / "source").spec
    assert spec.name == f"{before.name}-adapted"
    assert spec.sweep_interval_s == 0.1
    assert adapt() == first  # nothing is done again
    assert [words[2] for words in adapt("--rounds", "2")] == [str(out / f"round-{n}" / "model.onnx") for n in (1, 2)]
    steps = json.loads((out / "steps.json").read_text())["steps"]
    assert [step["name"].split(":")[0] for step in steps] == ["round 1"] * 3 + ["round 2"] * 4
    assert all(step["finished"] for step in steps)
    with pytest.raises(ConfigError, match=r"holds an adaptation with another settings, doubts; expected the same"):
        adapt("--doubts.no-weigh")


def test_a_source_that_is_no_detector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        task_of_source(tmp_path)


def test_processes_of_torchrun_are_refused(adapt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="received WORLD_SIZE 2; expected one process"):
        adapt()
