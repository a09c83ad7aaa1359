from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")

from rich.console import Console  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from lidarloop_core.errors import ConfigError, DatasetError  # noqa: E402
from lidarloop_training.data.intensity import intensity_deciles  # noqa: E402
from lidarloop_training.data.views.concat import ConcatSource  # noqa: E402
from lidarloop_training.stages.checkpoint import latest_checkpoint, load_task  # noqa: E402
from lidarloop_training.stages.schedule import OneCycleConfig  # noqa: E402
from lidarloop_training.stages.trainer import fit  # noqa: E402
from lidarloop_training.tasks.augment import NO_AUGMENTATION  # noqa: E402
from lidarloop_training.tasks.detection.copy_paste import centerpoint_copy_paste  # noqa: E402
from lidarloop_training.tasks.detection.task import DetectionTask  # noqa: E402
from tests.training.sources import MadeSource  # noqa: E402

if TYPE_CHECKING:
    from lidarloop_training.stages.config import TrainConfig
    from tests.training.conftest import BoxScenes

    Sources = tuple[BoxScenes, BoxScenes]


def with_run(config: TrainConfig, **changes: Any) -> TrainConfig:
    return dataclasses.replace(config, run=dataclasses.replace(config.run, **changes))


def with_optimisation(config: TrainConfig, **changes: Any) -> TrainConfig:
    return dataclasses.replace(config, optimisation=dataclasses.replace(config.optimisation, **changes))


def with_task(config: TrainConfig, **changes: Any) -> TrainConfig:
    return dataclasses.replace(config, task=dataclasses.replace(config.task, **changes))


def standing_still(config: TrainConfig) -> TrainConfig:
    """One step that leaves the weights as they are."""
    schedule = OneCycleConfig(peak_learning_rate=1e-30)
    return with_optimisation(config, num_steps=1, weight_decay=0.0, schedule=schedule)


@pytest.fixture
def sources(box_scenes: Callable[..., BoxScenes]) -> Sources:
    return box_scenes(num_samples=6), box_scenes(num_samples=2, seed=1)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_resuming_gives_the_bits_of_an_uninterrupted_run(
    train_config: TrainConfig, sources: Sources, tmp_path: Path, num_workers: int
) -> None:
    whole = fit(with_run(train_config, out=tmp_path / "whole"), *sources)
    parts = with_run(train_config, out=tmp_path / "parts", num_workers=num_workers)
    halfway = fit(parts, *sources, stop_after=5)
    assert halfway.name == "step-00000005"
    torch.manual_seed(99)  # a new process has other global random state
    resumed = fit(parts, *sources)
    for name in ("model.safetensors", "optimizer.safetensors"):
        expected, found = load_file(whole / name), load_file(resumed / name)
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_the_model_remembers_the_intensities_it_has_learnt_from(
    train_config: TrainConfig, sources: Sources, tmp_path: Path
) -> None:
    config = with_run(with_optimisation(train_config, num_steps=1), out=tmp_path)
    spec = load_task(fit(config, *sources)).task.spec
    assert spec == dataclasses.replace(config.task.spec, training_intensity=intensity_deciles(sources[0]))
    assert len(spec.training_intensity) == 11


def test_training_lowers_the_loss(train_config: TrainConfig, box_scenes: Callable[..., BoxScenes]) -> None:
    config = with_task(with_optimisation(train_config, num_steps=60), augment=NO_AUGMENTATION)
    config = with_run(config, validate_every=10_000, checkpoint_every=10_000, log_every=1)
    text = io.StringIO()
    source = box_scenes(num_samples=2)
    fit(config, source, source, console=Console(file=text, width=200))
    losses = [float(line.split("loss ")[1].split()[0]) for line in text.getvalue().splitlines() if "training" in line]
    assert len(losses) == 60
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_what_lies_in_a_run(train_config: TrainConfig, sources: Sources) -> None:
    folder = fit(train_config, *sources)
    assert folder == train_config.run.out / "checkpoints" / "step-00000008"
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "model.safetensors", "optimizer.safetensors", "state.json",
    ]  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert config["optimisation"]["num_steps"] == 8
    assert config["versions"]["torch"] == torch.__version__.split("+")[0] or config["versions"]["torch"]
    assert "git_commit" in config
    assert [p.name for p in sorted(folder.parent.iterdir())] == ["step-00000004", "step-00000008"]
    assert list((train_config.run.out / "tensorboard").glob("events.*"))


def test_the_loaded_detector_is_the_trained_one(train_config: TrainConfig, sources: Sources) -> None:
    folder = fit(train_config, *sources)
    for path in (train_config.run.out, folder):
        task, network, found = load_task(path)
        assert found == folder
        assert not network.training
        learnt_from = dataclasses.replace(train_config.task.spec, training_intensity=task.spec.training_intensity)
        assert isinstance(task, DetectionTask)
        assert task.config == dataclasses.replace(train_config.task, spec=learnt_from)
        weights = load_file(folder / "model.safetensors")
        assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())


def test_a_run_with_another_config_is_not_taken_up(train_config: TrainConfig, sources: Sources) -> None:
    fit(train_config, *sources, stop_after=4)
    with pytest.raises(ConfigError, match="made with another optimisation than this run's"):
        fit(with_optimisation(train_config, batch_size=3), *sources)
    fit(with_run(train_config, log_every=1), *sources)  # where and how may change


def test_a_finished_run_stays_as_it_is(train_config: TrainConfig, sources: Sources) -> None:
    folder = fit(train_config, *sources)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert fit(train_config, *sources) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


def test_a_checkpoint_that_was_being_written_does_not_count(train_config: TrainConfig, sources: Sources) -> None:
    fit(train_config, *sources, stop_after=4)
    unfinished = train_config.run.out / "checkpoints" / ".step-00000008.tmp"
    unfinished.mkdir()
    (unfinished / "model.safetensors").write_bytes(b"half")
    newest = latest_checkpoint(train_config.run.out)
    assert newest is not None
    assert newest.name == "step-00000004"
    assert fit(train_config, *sources).name == "step-00000008"
    assert not unfinished.exists()


def test_no_checkpoint_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no checkpoint; expected the folder of a run"):
        load_task(tmp_path)


def test_a_damaged_checkpoint_is_one_clear_line(train_config: TrainConfig, sources: Sources) -> None:
    folder = fit(train_config, *sources)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"model\.safetensors"):
        load_task(folder)


def test_no_samples_are_refused(train_config: TrainConfig, box_scenes: Callable[..., BoxScenes]) -> None:
    with pytest.raises(DatasetError, match="1 samples; expected at least one batch"):
        fit(train_config, box_scenes(num_samples=1), box_scenes(num_samples=1))


def test_bfloat16_autocast_trains(train_config: TrainConfig, sources: Sources) -> None:
    folder = fit(with_optimisation(train_config, precision="bfloat16", num_steps=2), *sources)
    weights = load_file(folder / "model.safetensors")
    assert all(value.dtype != torch.bfloat16 and torch.isfinite(value).all() for value in weights.values())


def test_an_unknown_recipe_names_those_there_are() -> None:
    command = [sys.executable, "-m", "lidarloop_core.cli", "train", "pillar-moon"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})
    assert run.returncode == 2
    assert "pillar-moon" in run.stderr
    assert "pillar-toytown, pillar-smoke" in run.stderr
    assert "Traceback" not in run.stderr


def test_weights_can_come_from_another_run_and_nothing_else(
    train_config: TrainConfig, sources: Sources, tmp_path: Path
) -> None:
    first = fit(train_config, *sources)
    config = with_run(dataclasses.replace(train_config, init_from=train_config.run.out), out=tmp_path / "second")
    still = standing_still(config)
    second = fit(still, *sources)
    assert second.name == "step-00000001"
    before, after = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    learnt = [key for key in before if "running" not in key and "num_batches" not in key]
    assert all(torch.equal(before[key], after[key]) for key in learnt)
    assert load_file(second / "optimizer.safetensors").keys() == load_file(first / "optimizer.safetensors").keys()
    assert json.loads((second / "config.json").read_text())["init_sha256"]


def test_resuming_checks_the_weights_it_began_with_not_their_place(
    train_config: TrainConfig, sources: Sources, tmp_path: Path
) -> None:
    fit(train_config, *sources)
    moved = tmp_path / "moved"
    shutil.copytree(train_config.run.out, moved)
    config = with_run(train_config, out=tmp_path / "second")
    fit(dataclasses.replace(config, init_from=train_config.run.out), *sources, stop_after=4)
    assert fit(dataclasses.replace(config, init_from=moved), *sources).name == "step-00000008"
    with pytest.raises(ConfigError, match="made with another"):
        fit(config, *sources)


def test_weights_of_another_network_are_refused(train_config: TrainConfig, sources: Sources, tmp_path: Path) -> None:
    fit(train_config, *sources)
    wider = dataclasses.replace(train_config.task.network, neck_channels=16)
    config = dataclasses.replace(with_task(train_config, network=wider), init_from=train_config.run.out)
    with pytest.raises(ConfigError, match="network has another neck_channels than this run's"):
        fit(with_run(config, out=tmp_path / "second"), *sources)
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        fit(dataclasses.replace(config, init_from=tmp_path / "nothing"), *sources)


def test_resuming_with_balance_and_copy_paste_gives_the_same_bits(
    train_config: TrainConfig, sources: Sources, tmp_path: Path
) -> None:
    config = with_task(train_config, balance_classes=True, copy_paste=centerpoint_copy_paste())
    whole = fit(with_run(config, out=tmp_path / "whole"), *sources)
    parts = with_run(config, out=tmp_path / "parts")
    fit(parts, *sources, stop_after=4)
    resumed = fit(parts, *sources)
    expected, found = load_file(whole / "model.safetensors"), load_file(resumed / "model.safetensors")
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    plain = load_file(fit(train_config, *sources) / "model.safetensors")
    assert not all(torch.equal(expected[key], plain[key]) for key in expected)


def test_a_run_may_do_without_validation(train_config: TrainConfig, sources: Sources) -> None:
    text = io.StringIO()
    fit(train_config, sources[0], ConcatSource([]), console=Console(file=text, width=200))
    assert "training" in text.getvalue()
    assert "validation" not in text.getvalue()


def test_labels_of_little_weight_teach_little(
    train_config: TrainConfig, box_scenes: Callable[..., BoxScenes], tmp_path: Path
) -> None:
    """Of next to no weight: the heatmap is pushed down all but at the objects' own cells, and no box is learnt."""

    class Doubted(MadeSource):
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> Any:
            sample = box_scenes(num_samples=6)[index]
            assert sample.annotations is not None
            boxes = dataclasses.replace(sample.annotations.boxes, scores=sample.annotations.boxes.scores * 1e-9)
            return dataclasses.replace(sample, annotations=dataclasses.replace(sample.annotations, boxes=boxes))

    text = io.StringIO()
    config = with_run(train_config, log_every=1)
    fit(config, Doubted(), ConcatSource([]), console=Console(file=text, width=200))
    lines = [line for line in text.getvalue().splitlines() if "training" in line]
    assert all("regression 0.0000" in line for line in lines)
