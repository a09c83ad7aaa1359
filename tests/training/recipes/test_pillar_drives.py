from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import tyro  # noqa: E402

from lidarloop_training.commands import self_train, train  # noqa: E402
from lidarloop_training.data.drive_folder import DriveFolder  # noqa: E402
from lidarloop_training.models.detector import center_point  # noqa: E402
from lidarloop_training.recipes.pillar_drives import (  # noqa: E402
    pillar_drives,
    pillar_fine_tune,
    pillar_pretrain,
    pillar_self_train,
)
from lidarloop_training.tasks.detection.copy_paste import NO_COPY_PASTE  # noqa: E402

HERE = Path("drives")


def test_stages_are_of_one_network_so_that_weights_can_be_handed_on() -> None:
    stages = [
        pillar_drives(HERE),
        pillar_pretrain(HERE, HERE),
        pillar_fine_tune(HERE),
        pillar_self_train(HERE).fine_tune,
    ]
    assert len({(stage.task.spec, stage.task.network) for stage in stages}) == 1
    center_point(stages[0].task.spec, stages[0].task.network)


def test_labels_are_multiplied_only_where_they_are_true() -> None:
    pretrain, fine_tune = pillar_pretrain(HERE, HERE), pillar_fine_tune(HERE, None)
    assert pretrain.task.copy_paste == NO_COPY_PASTE
    assert not pretrain.task.balance_classes
    assert fine_tune.task.copy_paste.num_objects
    assert fine_tune.task.balance_classes
    assert fine_tune.labels.percent == 5.0


def test_drives_and_labels_are_named_on_the_command_line() -> None:
    arguments = ["pillar-pretrain", "--data.path", "pool", "--data.source", "bag", "--data.labels", "labels"]
    config = tyro.cli(tyro.conf.AvoidSubcommands[train.Recipe], args=arguments)
    assert config.config.data == DriveFolder(Path("pool"), source="bag", labels=Path("labels"))
    arguments = ["pillar-fine-tune", "--data.path", "pool", "--init-from", "run", "--labels.percent", "10"]
    config = tyro.cli(tyro.conf.AvoidSubcommands[train.Recipe], args=arguments)
    assert config.config.init_from == Path("run")
    assert config.config.labels.percent == 10.0
    arguments = [
        "pillar-self-train",
        "--fine-tune.data.path",
        "pool",
        "--pseudo-labels",
        "labels",
        "--min-score",
        "0.3",
    ]
    stages = tyro.cli(tyro.conf.AvoidSubcommands[self_train.Recipe], args=arguments)
    assert stages.config.fine_tune.data.path == Path("pool")
    assert stages.config.pseudo_labels == Path("labels")
    assert stages.config.min_score == (0.3,)


def test_a_recipe_for_drives_without_drives_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        tyro.cli(tyro.conf.AvoidSubcommands[train.Recipe], args=["pillar-drives"])
    assert stopped.value.code == 2
    assert "--data.path" in capsys.readouterr().err
