"""Bad samples: guarded, or named and stopped before they reach the weights."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rich.console import Console  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from lidarloop_core.errors import DatasetError  # noqa: E402
from lidarloop_core.geometry.boxes import Boxes3D  # noqa: E402
from lidarloop_training.data.views.concat import ConcatSource  # noqa: E402
from lidarloop_training.stages.checkpoint import latest_checkpoint  # noqa: E402
from lidarloop_training.stages.trainer import fit  # noqa: E402
from lidarloop_training.tasks.detection.task import DetectionTask  # noqa: E402
from lidarloop_training.tasks.task import ExampleKey  # noqa: E402
from tests.training.sources import MadeSource  # noqa: E402

if TYPE_CHECKING:
    from lidarloop_training.stages.config import TrainConfig
    from tests.training.conftest import BoxScenes


NOTHING = ConcatSource([])


class Changed(MadeSource):
    """A source whose samples are changed by a function of sample and index."""

    def __init__(self, source: Any, change: Any) -> None:
        self.source, self.change = source, change

    def __len__(self) -> Any:
        return len(self.source)

    def __getitem__(self, index: Any) -> Any:
        return self.change(self.source[index], index)


def with_point(value: Any, column: Any) -> Callable[..., Any]:
    def change(sample: Any, index: Any) -> Any:
        points = sample.keyframe.points.copy()
        points[index, column] = value
        return dataclasses.replace(
            sample, sweeps=(dataclasses.replace(sample.keyframe, points=points), *sample.sweeps[1:])
        )

    return change


def with_classes(names: Any) -> Callable[..., Any]:
    """The objects under other class names."""

    def change(sample: Any, index: Any) -> Any:
        old = sample.annotations.boxes
        boxes = Boxes3D(old.values, old.scores, np.arange(len(old)) % len(names), names)
        return dataclasses.replace(sample, annotations=dataclasses.replace(sample.annotations, boxes=boxes))

    return change


def short(config: TrainConfig, **run: Any) -> TrainConfig:
    return dataclasses.replace(
        config,
        optimisation=dataclasses.replace(config.optimisation, num_steps=2),
        run=dataclasses.replace(config.run, **run),
    )


@pytest.mark.parametrize(("value", "column"), [(np.nan, 3), (np.inf, 0), (3e38, 3)])
def test_one_wild_value_a_cloud_is_guarded(
    train_config: TrainConfig, box_scenes: Callable[..., BoxScenes], value: float, column: int
) -> None:
    folder = fit(short(train_config), Changed(box_scenes(num_samples=4), with_point(value, column)), NOTHING)
    assert all(weights.isfinite().all() for weights in load_file(folder / "model.safetensors").values())


def test_a_loss_that_is_not_finite_names_the_sample_and_keeps_the_checkpoint(
    train_config: TrainConfig, box_scenes: Callable[..., BoxScenes], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(train_config, run=dataclasses.replace(train_config.run, checkpoint_every=1))
    source = box_scenes(num_samples=4)
    good = fit(config, source, NOTHING, stop_after=1)
    before = load_file(good / "model.safetensors")
    really = DetectionTask.dataset

    def poisoned(self: DetectionTask, source: Any, *, training: Any, seed: Any) -> Any:
        examples = really(self, source, training=training, seed=seed)
        make = type(examples).__getitem__

        class Poisoned(type(examples)):  # type: ignore[misc]
            def __getitem__(self, key: ExampleKey) -> Any:
                example = make(self, key)
                if key.sample == 2:
                    example.cloud.tensors()["points"][:, 3] = np.nan
                return example

        examples.__class__ = Poisoned
        return examples

    monkeypatch.setattr(DetectionTask, "dataset", poisoned)
    with pytest.raises(DatasetError, match=r"step \d: loss or gradient is not finite for sample scene-2;"):
        fit(config, source, NOTHING)
    newest = latest_checkpoint(config.run.out)
    assert newest is not None
    after = load_file(newest / "model.safetensors")
    assert all(value.isfinite().all() for value in after.values())
    assert before.keys() == after.keys()


def test_a_mistake_met_in_a_loader_process_is_the_same_line(
    train_config: TrainConfig, box_scenes: Callable[..., BoxScenes]
) -> None:
    def broken(sample: Any, index: Any) -> Any:
        if index == 1:
            raise DatasetError("cloud-1.bin is damaged; expected a cloud: restore the file")
        return sample

    class Broken(Changed):
        @property
        def keys(self) -> Any:
            return self.source.keys

        def annotations(self, index: Any) -> Any:
            return self.source.annotations(index)

    complaints = []
    for num_workers in (0, 1):
        examples = Broken(box_scenes(num_samples=2), broken)
        config = dataclasses.replace(train_config, task=train_config.task)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lidarloop_training.stages.trainer.intensity_deciles", lambda *_: ())
            with pytest.raises(DatasetError) as error:
                fit(short(config, num_workers=num_workers, out=config.run.out / str(num_workers)), examples, NOTHING)
        complaints.append(str(error.value))
    assert complaints == ["cloud-1.bin is damaged; expected a cloud: restore the file"] * 2


def test_unknown_classes_are_counted_and_nothing_to_learn_is_refused(
    train_config: TrainConfig, box_scenes: Callable[..., BoxScenes]
) -> None:
    some = Changed(box_scenes(num_samples=4), with_classes(("car", "fork lift")))
    text = io.StringIO()
    fit(short(train_config), some, NOTHING, console=Console(file=text, width=500))
    assert "of classes that the model does not have, left out: fork lift 8" in text.getvalue()
    none = Changed(box_scenes(num_samples=4), with_classes(("fork lift", "pallet")))
    complaint = r"hold no object to learn from: received fork lift 8, pallet 8 .* name the classes .* by --classes"
    with pytest.raises(DatasetError, match=complaint):
        fit(short(train_config), none, NOTHING)


@pytest.mark.parametrize("number", [1, 2, 37])
def test_any_list_of_classes_trains(
    train_config: TrainConfig, box_scenes: Callable[..., BoxScenes], number: int
) -> None:
    names = tuple(f"kind of {i}" for i in range(number))
    source = Changed(box_scenes(num_samples=4), with_classes(names))
    config = dataclasses.replace(train_config, task=train_config.task.for_classes(names))
    assert sorted(name for group in config.task.network.class_groups for name in group) == sorted(names)
    folder = fit(short(config), source, NOTHING)
    heads = [value for name, value in load_file(folder / "model.safetensors").items() if "heatmaps" in name]
    assert sum(len(value) for value in heads if value.ndim == 1) == number


def test_samples_without_labels_are_refused_before_the_first_step(
    train_config: TrainConfig, box_scenes: Callable[..., BoxScenes]
) -> None:
    unlabelled, labelled = box_scenes(num_samples=4, labelled=False), box_scenes(num_samples=4)
    for training, validation in ((unlabelled, NOTHING), (labelled, unlabelled)):
        with pytest.raises(DatasetError, match="scene-0 of boxes has no annotations"):
            fit(short(train_config), training, validation)
    assert not train_config.run.out.exists()
