"""Starting from another run: all of its weights, or chosen parts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lidarloop_core.model.spec import ModelSpec

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from lidarloop_core.errors import ConfigError  # noqa: E402
from lidarloop_training.stages.checkpoint import saved_parts  # noqa: E402
from lidarloop_training.stages.start import start_from  # noqa: E402
from lidarloop_training.stages.trainer import fit  # noqa: E402
from tests.training.conftest import BoxScenes  # noqa: E402
from tests.training.stages.counting import CountingConfig  # noqa: E402

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lidarloop_training.stages.config import TrainConfig
    from lidarloop_training.tasks.detection.task import DetectionConfig


@pytest.fixture(scope="module")
def source() -> BoxScenes:
    return BoxScenes(num_samples=4)


@pytest.fixture
def counting(train_config: TrainConfig, spec: ModelSpec, source: BoxScenes) -> Path:
    """A trained run of another task: its encoder is that of the detector, its counter is its own."""
    config = dataclasses.replace(train_config, task=CountingConfig(spec=spec))
    return fit(short(config, "counting"), source, source)


def short(config: TrainConfig, name: str) -> TrainConfig:
    run = dataclasses.replace(config.run, out=config.run.out / name)
    return dataclasses.replace(config, run=run, optimisation=dataclasses.replace(config.optimisation, num_steps=2))


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def test_the_trainer_trains_any_task(counting: Path) -> None:
    assert saved_parts(counting) == ("encoder", "counter")
    state = json.loads((counting / "state.json").read_text())
    assert (state["format"], state["task"], state["step"]) == (2, "counting", 2)


def test_the_encoder_alone_is_started_from(counting: Path, detection_config: DetectionConfig) -> None:
    torch.manual_seed(3)
    network = detection_config.task().build()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    start_from(counting, ("encoder",), network, detection_config)
    trained = weights(counting)
    for name, value in network.state_dict().items():
        assert torch.equal(value, trained[name] if name.startswith("encoder.") else before[name]), name
    assert not torch.equal(before["encoder.linear.weight"], trained["encoder.linear.weight"])


def test_a_run_from_an_encoder_remembers_whose_it_was_and_resumes(
    counting: Path, train_config: TrainConfig, source: BoxScenes
) -> None:
    config = dataclasses.replace(train_config, init_from=counting, init_parts=("encoder",))
    first = fit(short(config, "first"), source, source, stop_after=1)
    saved = json.loads((first / "config.json").read_text())
    assert saved["init_parts"] == ["encoder"]
    assert len(saved["init_sha256"]) == 64
    resumed = fit(short(config, "first"), source, source)
    whole = fit(short(config, "second"), source, source)
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())
    with pytest.raises(ConfigError, match="made with another init_parts"):
        fit(short(dataclasses.replace(config, init_parts=("encoder", "encoder")), "first"), source, source)


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        (("all",), "whose task is counting; expected detection: name the parts to start from, out of encoder, counter"),
        (("backbone",), "received backbone, which .* does not have; expected parts of encoder, counter"),
        (("counter",), "received counter, which this run's network does not have; expected .* encoder, backbone, head"),
    ],
)
def test_parts_of_one_side_only_are_refused(
    counting: Path, detection_config: DetectionConfig, parts: tuple[str], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        start_from(counting, parts, detection_config.task().build(), detection_config)


def test_a_part_of_another_shape_is_refused_by_name_and_shapes(
    counting: Path, detection_config: DetectionConfig
) -> None:
    wide = dataclasses.replace(
        detection_config, network=dataclasses.replace(detection_config.network, pillar_channels=16)
    )
    network = wide.task().build()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(
        ConfigError, match=r"part encoder does not fit: encoder\.linear\.weight is \(8, 10\) there and \(16, 10\) here"
    ):
        start_from(counting, ("encoder",), network, wide)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_an_encoder_of_other_columns_is_refused_though_it_fits(
    counting: Path, detection_config: DetectionConfig
) -> None:
    columns = ("x", "y", "z", "dt", "intensity")
    other = dataclasses.replace(
        detection_config, spec=dataclasses.replace(detection_config.spec, point_columns=columns)
    )
    with pytest.raises(ConfigError, match=r"whose encoder was trained with point_columns .*expected this run's"):
        start_from(counting, ("encoder",), other.task().build(), other)


def test_checkpoints_of_the_format_before_are_refused_everywhere(
    train_config: TrainConfig, source: BoxScenes, tmp_path: Path
) -> None:
    from lidarloop_training.stages.checkpoint import load_task

    config = short(train_config, "old")
    folder = fit(config, source, source)
    state = json.loads((folder / "state.json").read_text())
    before = {key: state[key] for key in ("step", "config_hash")}  # what a checkpoint held then
    (folder / "state.json").write_text(json.dumps(before))
    complaint = r"is a checkpoint of format 1; expected format 2: train again"
    with pytest.raises(ConfigError, match=complaint):
        load_task(folder)
    with pytest.raises(ConfigError, match=complaint):
        fit(config, source, source)
    for parts in (("all",), ("encoder",)):
        with pytest.raises(ConfigError, match=complaint):
            fit(dataclasses.replace(short(train_config, "new"), init_from=folder, init_parts=parts), source, source)


@pytest.mark.parametrize(
    ("file", "changes", "complaint"),
    [
        ("state.json", {"parts": None}, "no valid parts"),
        ("state.json", {"parts": [1.5, "encoder"]}, "no valid parts"),
        ("state.json", {"step": "2", "task": None}, "no valid step, task"),
        ("config.json", {"task": ["counting"]}, "no settings of a task"),
        ("config.json", {"task": {"spec": {}}}, "trained with point_columns None"),
    ],
)
def test_a_checkpoint_with_fields_of_another_type_is_refused(
    counting: Path, detection_config: DetectionConfig, file: str, changes: dict[str, object], complaint: str
) -> None:
    path = counting / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ConfigError, match=complaint):
        start_from(counting, ("encoder",), detection_config.task().build(), detection_config)


def test_an_optimiser_of_other_weights_is_refused(train_config: TrainConfig, source: BoxScenes, tmp_path: Path) -> None:
    config = short(train_config, "damaged")
    folder = fit(config, source, source, stop_after=1)
    save_file({"exp_avg/another.weight": torch.zeros(1)}, folder / "optimizer.safetensors")
    with pytest.raises(ConfigError, match=r"does not fit the run that it is of .*another\.weight"):
        fit(config, source, source)
