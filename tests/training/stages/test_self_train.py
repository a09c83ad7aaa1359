from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rich.console import Console  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from lidarloop_core.errors import LidarloopError  # noqa: E402
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels  # noqa: E402
from lidarloop_core.sample import Sample, SampleSource  # noqa: E402
from lidarloop_training.data.views.concat import ConcatSource  # noqa: E402
from lidarloop_training.data.writing.pseudo_labels import LabelledFrame, read_drive, write_drive  # noqa: E402
from lidarloop_training.stages.checkpoint import latest_checkpoint, load_task  # noqa: E402
from lidarloop_training.stages.config import SelfTrainConfig, TrainConfig  # noqa: E402
from lidarloop_training.stages.self_train import learn, relabel  # noqa: E402
from lidarloop_training.tasks.detection.copy_paste import centerpoint_copy_paste  # noqa: E402
from tests.training.sources import MadeSource  # noqa: E402

Drives = tuple[SampleSource, ConcatSource]

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tests.training.conftest import BoxScenes


STAGES = ("pretrain", "fine-tune", "round-1/train", "round-1/fine-tune")


class Named(MadeSource):
    """A source as a drive of its own."""

    def __init__(self, source: SampleSource, scene: str) -> None:
        self.source = source
        self.scene = scene

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        stamp_ns = sample.stamp_ns + 1_000_000_000 * ord(self.scene[-1]) + index
        return dataclasses.replace(sample, scene=self.scene, token=f"{self.scene}-{index}", stamp_ns=stamp_ns)


@pytest.fixture
def drives(box_scenes: Callable[..., BoxScenes]) -> Drives:
    labelled = Named(box_scenes(num_samples=4), "drive-a")
    unlabelled = ConcatSource([Named(box_scenes(num_samples=3, seed=s), f"drive-{s}") for s in (1, 2)])
    return labelled, unlabelled


@pytest.fixture
def config(train_config: TrainConfig, drives: Drives, tmp_path: Path) -> SelfTrainConfig:
    """All stages of two steps; the pseudo-labels are the truth with half the weight."""
    labels = tmp_path / "pseudo"
    for number, source in enumerate((drives[0], *drives[1].sources)):
        frames = [LabelledFrame.of(i, source[i], half_sure(source[i]), LeftOut()) for i in range(len(source))]
        write_drive(labels / str(number), frames, {})
    short = dataclasses.replace(train_config.optimisation, num_steps=2)
    return SelfTrainConfig(
        fine_tune=dataclasses.replace(
            train_config,
            optimisation=short,
            task=dataclasses.replace(train_config.task, balance_classes=True, copy_paste=centerpoint_copy_paste()),
        ),
        pretrain=short,
        retrain=short,
        pseudo_labels=labels,
        min_score=(0.0,),
        out=tmp_path / "stages",
    )


def half_sure(sample: Sample) -> PseudoLabels:
    boxes = sample.annotations.boxes
    number = len(boxes)
    return PseudoLabels(boxes, np.full(number, 0.5), np.full(number, 60), ((),) * number, ("none",) * number)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def test_every_stage_starts_from_the_one_before_and_none_runs_twice(config: SelfTrainConfig, drives: Drives) -> None:
    text = io.StringIO()
    last = learn(config, *drives, ConcatSource([]), console=Console(file=text, width=200))
    said = dict(part.split("\n", 1) for part in text.getvalue().split("== ")[1:])
    assert list(said) == list(STAGES)
    for stage, lines in said.items():  # the paper's schedule: doubtful labels are not multiplied
        assert ("copy-paste" in lines) == stage.endswith("fine-tune")
        assert ("all classes equally often" in lines) == stage.endswith("fine-tune")
    assert last == latest_checkpoint(config.out / "round-1/fine-tune")
    found = [latest_checkpoint(config.out / stage) for stage in STAGES]
    began_with = [json.loads((folder / "config.json").read_text()).get("init_sha256") for folder in found]
    ended_with = [hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() for folder in found]
    assert began_with == [None, *ended_with[:-1]]
    written = [(folder / "model.safetensors").stat().st_mtime_ns for folder in found]
    text = io.StringIO()
    assert learn(config, *drives, ConcatSource([]), console=Console(file=text, width=200)) == last
    assert [(folder / "model.safetensors").stat().st_mtime_ns for folder in found] == written
    assert "step" not in text.getvalue().replace("step-0", "")


def test_a_run_that_breaks_off_ends_with_the_same_bits(
    config: SelfTrainConfig, drives: Drives, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lidarloop_training.stages import self_train

    whole = learn(dataclasses.replace(config, out=config.out.with_name("whole")), *drives, ConcatSource([]))
    really, calls = write_drive, []

    def killed_after_one(*args: Any) -> Any:
        if calls:
            raise KeyboardInterrupt
        calls.append(args)
        return really(*args)

    monkeypatch.setattr(self_train, "write_drive", killed_after_one)
    with pytest.raises(KeyboardInterrupt):
        learn(config, *drives, ConcatSource([]))
    kept = config.out / "round-1" / "labels" / "drive-1" / "labels.json"
    stamp = kept.stat().st_mtime_ns
    monkeypatch.undo()
    assert equal(weights(learn(config, *drives, ConcatSource([]))), weights(whole))
    assert kept.stat().st_mtime_ns == stamp


def test_without_pseudo_labels_or_rounds_only_fine_tuning_is_left(config: SelfTrainConfig, drives: Drives) -> None:
    learn(dataclasses.replace(config, pseudo_labels=None, num_rounds=0), *drives, ConcatSource([]))
    assert [folder.name for folder in config.out.iterdir()] == ["fine-tune"]


def test_own_labels_are_above_the_scores_asked_for_and_count_by_them(
    config: SelfTrainConfig, drives: Drives, tmp_path: Path
) -> None:
    learn(dataclasses.replace(config, num_rounds=0), *drives, ConcatSource([]))
    run, unlabelled = config.out / "fine-tune", drives[1]
    every, sure = tmp_path / "every", tmp_path / "sure"
    relabel(run, unlabelled, every, (0.0,), Console(quiet=True))
    number = {}
    for scene in ("drive-1", "drive-2"):
        labels = read_drive(every / scene / "labels.json").labels
        assert list(labels) == [f"{scene}-{i}" for i in range(3)]
        for found in labels.values():
            np.testing.assert_allclose(found.quality, found.boxes.scores, rtol=1e-5)
        number[scene] = np.concatenate([found.quality for found in labels.values()])
    threshold = float(np.median(np.concatenate(list(number.values()))))
    relabel(run, unlabelled, sure, (threshold,), Console(quiet=True))
    for scene, scores in number.items():
        kept = [label.quality for label in read_drive(sure / scene / "labels.json").labels.values()]
        np.testing.assert_allclose(np.concatenate(kept), scores[scores >= threshold], rtol=1e-5)


def test_labels_of_other_weights_are_made_anew(config: SelfTrainConfig, drives: Drives, tmp_path: Path) -> None:
    """A drive that an earlier model has labelled is not taken for one that this model has."""
    from lidarloop_training.stages.trainer import fit

    first, second = (
        fit(
            with_out(dataclasses.replace(config.fine_tune, seed=seed), tmp_path / str(seed)),
            drives[0],
            ConcatSource([]),
        )
        for seed in (0, 1)
    )
    out = tmp_path / "labels"
    file = out / "drive-1" / "labels.json"
    relabel(first, drives[1], out, (0.0,), Console(quiet=True))
    of_first = file.read_bytes()
    relabel(second, drives[1], out, (0.0,), Console(quiet=True))
    of_second, written = file.read_bytes(), file.stat().st_mtime_ns
    assert of_first != of_second
    relabel(second, drives[1], out, (0.0,), Console(quiet=True))
    assert file.stat().st_mtime_ns == written


def with_out(config: TrainConfig, out: Path) -> TrainConfig:
    return dataclasses.replace(config, run=dataclasses.replace(config.run, out=out))


def test_annotations_of_the_unlabelled_part_are_not_looked_at(config: SelfTrainConfig, drives: Drives) -> None:
    class Unlabelled(MadeSource):
        def __init__(self, source: SampleSource) -> None:
            self.source = source

        def __len__(self) -> int:
            return len(self.source)

        def __getitem__(self, index: int) -> Sample:
            return dataclasses.replace(self.source[index], annotations=None)

    labelled, unlabelled = drives
    last = learn(dataclasses.replace(config, pseudo_labels=None), labelled, Unlabelled(unlabelled), ConcatSource([]))
    assert dataclasses.replace(load_task(last).task.spec, training_intensity=()) == config.fine_tune.task.spec


def test_without_human_labels_the_own_labels_follow_on_the_pseudo_labels(
    config: SelfTrainConfig, drives: Drives
) -> None:
    everything = ConcatSource([drives[0], drives[1]])
    unlabelled = Unlabelled(everything)
    config = dataclasses.replace(config, human_labels=False)
    last = learn(config, ConcatSource([]), unlabelled, ConcatSource([]))
    assert last == latest_checkpoint(config.out / "round-1/train")
    assert sorted(path.name for path in config.out.iterdir()) == ["pretrain", "round-1"]
    assert sorted(path.name for path in (config.out / "round-1").iterdir()) == ["labels", "train"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, "has no annotations; expected labelled samples: .* `lidarloop self-train --no-human-labels`"),
        ({"min_score": (0.1, 0.2)}, "received 2 --min-score; expected one value, or one for each of the 10 classes"),
        ({"human_labels": False, "pseudo_labels": None}, "--no-human-labels without --pseudo-labels"),
    ],
)
def test_what_a_stage_lacks_shows_before_the_first_step(
    config: SelfTrainConfig, drives: Drives, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(LidarloopError, match=complaint):
        learn(dataclasses.replace(config, **changes), Unlabelled(drives[0]), drives[1], ConcatSource([]))
    assert not config.out.exists()


def test_rounds_without_unlabelled_samples_are_refused_before_the_first_step(
    config: SelfTrainConfig, drives: Drives
) -> None:
    with pytest.raises(LidarloopError, match="1 rounds of self-training received no unlabelled sample"):
        learn(config, drives[0], ConcatSource([]), ConcatSource([]))
    assert not config.out.exists()


class Unlabelled(MadeSource):
    """A source without its annotations."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        return dataclasses.replace(self.source[index], annotations=None)
