from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from rich.console import Console  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from lidarloop_core.errors import ConfigError, DatasetError  # noqa: E402
from lidarloop_training.data.pillar_dataset import NO_AUGMENTATION  # noqa: E402
from lidarloop_training.stages.checkpoint import latest_checkpoint, load_detector  # noqa: E402
from lidarloop_training.stages.train import fit  # noqa: E402


def with_run(config, **changes):
    return dataclasses.replace(config, run=dataclasses.replace(config.run, **changes))


def with_optimisation(config, **changes):
    return dataclasses.replace(config, optimisation=dataclasses.replace(config.optimisation, **changes))


@pytest.fixture
def sources(box_scenes):
    return box_scenes(num_samples=6), box_scenes(num_samples=2, seed=1)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_resuming_gives_the_bits_of_an_uninterrupted_run(train_config, sources, tmp_path, num_workers):
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


def test_training_lowers_the_loss(train_config, box_scenes):
    config = dataclasses.replace(with_optimisation(train_config, num_steps=60), augment=NO_AUGMENTATION)
    config = with_run(config, validate_every=10_000, checkpoint_every=10_000, log_every=1)
    text = io.StringIO()
    source = box_scenes(num_samples=2)
    fit(config, source, source, console=Console(file=text, width=200))
    losses = [float(line.split("loss ")[1].split()[0]) for line in text.getvalue().splitlines() if "training" in line]
    assert len(losses) == 60
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_what_lies_in_a_run(train_config, sources):
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


def test_the_loaded_detector_is_the_trained_one(train_config, sources):
    folder = fit(train_config, *sources)
    for path in (train_config.run.out, folder):
        detector, found = load_detector(path)
        assert found == folder
        assert not detector.training
        assert detector.spec == train_config.spec
        weights = load_file(folder / "model.safetensors")
        assert all(torch.equal(value, weights[key]) for key, value in detector.state_dict().items())


def test_a_run_with_another_config_is_not_taken_up(train_config, sources):
    fit(train_config, *sources, stop_after=4)
    with pytest.raises(ConfigError, match="made with another optimisation than this run's"):
        fit(with_optimisation(train_config, batch_size=3), *sources)
    fit(with_run(train_config, log_every=1), *sources)  # where and how may change


def test_a_finished_run_stays_as_it_is(train_config, sources):
    folder = fit(train_config, *sources)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert fit(train_config, *sources) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


def test_a_checkpoint_that_was_being_written_does_not_count(train_config, sources):
    fit(train_config, *sources, stop_after=4)
    unfinished = train_config.run.out / "checkpoints" / ".step-00000008.tmp"
    unfinished.mkdir()
    (unfinished / "model.safetensors").write_bytes(b"half")
    newest = latest_checkpoint(train_config.run.out)
    assert newest is not None
    assert newest.name == "step-00000004"
    assert fit(train_config, *sources).name == "step-00000008"
    assert not unfinished.exists()


def test_no_checkpoint_is_one_clear_line(tmp_path):
    with pytest.raises(ConfigError, match="holds no checkpoint; expected the folder of a run"):
        load_detector(tmp_path)


def test_a_damaged_checkpoint_is_one_clear_line(train_config, sources):
    folder = fit(train_config, *sources)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"model\.safetensors"):
        load_detector(folder)


def test_no_samples_are_refused(train_config, box_scenes):
    with pytest.raises(DatasetError, match="1 samples; expected at least one batch"):
        fit(train_config, box_scenes(num_samples=1), box_scenes(num_samples=1))


def test_bfloat16_autocast_trains(train_config, sources):
    folder = fit(with_optimisation(train_config, precision="bfloat16", num_steps=2), *sources)
    weights = load_file(folder / "model.safetensors")
    assert all(value.dtype != torch.bfloat16 and torch.isfinite(value).all() for value in weights.values())


def test_an_unknown_recipe_names_those_there_are():
    command = [sys.executable, "-m", "lidarloop_core.cli", "train", "pillar-moon"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})
    assert run.returncode == 2
    assert "pillar-moon" in run.stderr
    assert "pillar-toytown, pillar-smoke" in run.stderr
    assert "Traceback" not in run.stderr
