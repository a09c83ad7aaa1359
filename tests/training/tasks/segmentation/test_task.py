"""The segmentation task from samples to a checkpoint, and what of its network goes onto the vehicle."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lidarloop_core.errors import DatasetError  # noqa: E402
from lidarloop_core.model.outputs import Detection  # noqa: E402
from lidarloop_training.data.point_labels import UNLABELLED  # noqa: E402
from lidarloop_training.data.toytown.training_drives import ToyTownDrives  # noqa: E402
from lidarloop_training.evaluation.metrics.segmentation import evaluate_segmentation  # noqa: E402
from lidarloop_training.models.heads.center import HeadOutput  # noqa: E402
from lidarloop_training.models.unet import UNetConfig  # noqa: E402
from lidarloop_training.stages.checkpoint import load_task  # noqa: E402
from lidarloop_training.stages.config import OptimisationConfig, RunConfig, TrainConfig  # noqa: E402
from lidarloop_training.stages.schedule import OneCycleConfig  # noqa: E402
from lidarloop_training.stages.trainer import fit  # noqa: E402
from lidarloop_training.tasks.augment import NO_AUGMENTATION  # noqa: E402
from lidarloop_training.tasks.segmentation.dataset import SegmentationDataset  # noqa: E402
from lidarloop_training.tasks.segmentation.task import SegmentationConfig, SegmentationTask  # noqa: E402
from lidarloop_training.tasks.task import ExampleKey  # noqa: E402
from tests.norms import give_statistics  # noqa: E402
from tests.training.tasks.segmentation.labelled_scenes import CLASSES, SPEC, LabelledScenes  # noqa: E402

NETWORK = UNetConfig(channels=(8, 8, 8), encoder_blocks=(0, 0, 1), decoder_blocks=(0, 0), head_channels=16)
TASK = SegmentationConfig(spec=SPEC, network=NETWORK)


def run_config(out: Path, num_steps: int) -> TrainConfig[SegmentationConfig]:
    return TrainConfig(
        task=TASK,
        data=ToyTownDrives(),
        optimisation=OptimisationConfig(
            num_steps=num_steps, batch_size=2, precision="float32", schedule=OneCycleConfig(peak_learning_rate=1e-2)
        ),
        run=RunConfig(out=out, num_workers=0, num_threads=1, log_every=50, validate_every=50, checkpoint_every=50),
    )


def test_a_run_learns_and_its_checkpoint_answers_on_scenes_it_has_not_seen(tmp_path: Path) -> None:
    folder = fit(run_config(tmp_path, 120), LabelledScenes(num_samples=6), LabelledScenes(num_samples=2, seed=7))
    task, network, _ = load_task(folder)
    assert isinstance(task, SegmentationTask)
    assert dataclasses.replace(task.config.spec, training_intensity=()) == SPEC
    view = task.export_view(network)
    dataset = SegmentationDataset(LabelledScenes(num_samples=3, seed=9), SPEC, augment=NO_AUGMENTATION, seed=0)
    truths, answers = [], []
    for i in range(3):
        example = dataset[ExampleKey(0, i)]
        inputs = [torch.from_numpy(array) for array in example.cloud.tensors().values()]
        with torch.no_grad():
            scores, labels = view.decode(*view.raw(*inputs))
        assert ((scores > 1 / 3) & (scores <= 1)).all()
        truths.append(example.labels)
        answers.append(labels.numpy())
    metrics = evaluate_segmentation(
        [np.where(truth == UNLABELLED, len(CLASSES), truth) for truth in truths], answers, (*CLASSES, "none"), 3
    )
    assert metrics.mean_iou > 0.9


def test_the_exported_part_computes_what_the_network_does() -> None:
    torch.manual_seed(0)
    task = TASK.task()
    network = task.build().eval()
    give_statistics(network, 0.5, 2.0)
    example = task.dataset(LabelledScenes(), training=False, seed=0)[ExampleKey(0, 0)]
    view = task.export_view(network)
    inputs = [torch.from_numpy(array) for array in example.cloud.tensors().values()]
    with torch.no_grad():
        (logits,) = view.raw(*inputs)
        torch.testing.assert_close(logits, network(*task.collate([example]).inputs), atol=1e-5, rtol=1e-5)
        scores, labels = view.decode(logits)
    torch.testing.assert_close(scores, logits.softmax(1)[torch.arange(len(labels)), labels])
    assert view.raw_names == ("logits",)


def test_differences_between_runtimes_are_seen() -> None:
    view = TASK.task().export_view(TASK.task().build())
    scores, labels = torch.tensor([0.9, 0.4, 0.7]), torch.tensor([0, 1, 2])
    assert view.difference((scores, labels), (scores, labels), 1e-4) == 0
    assert view.difference((scores, labels), (scores + 0.01, labels), 1e-4) == pytest.approx(0.01, abs=1e-6)
    tied, wrong = torch.tensor([0, 2, 2]), torch.tensor([1, 1, 2])
    assert view.difference((scores, labels), (scores, tied), 1e-4) == 0
    assert view.difference((scores, labels), (scores, wrong), 1e-4) == float("inf")
    assert view.difference((scores, labels), (scores * float("nan"), labels), 1e-4) == float("inf")


def test_a_source_without_what_is_learnt_is_refused_before_the_first_step(tmp_path: Path) -> None:
    task = TASK.task()
    assert task.check(LabelledScenes(), training=True) == "3 classes of points to learn in 4 samples"
    more = TASK.for_classes((*CLASSES, "river")).task()
    assert more.check(LabelledScenes(), training=True).endswith("no label for river")
    assert task.check(LabelledScenes(num_samples=0), training=False) == ""
    with pytest.raises(DatasetError, match=r"points of wall, fog, ground, sign; expected some of river: name the"):
        TASK.for_classes(("river",)).task().check(LabelledScenes(), training=True)
    with pytest.raises(DatasetError, match="has no labels of points"):
        fit(run_config(tmp_path, 1), LabelledScenes(labelled=False), LabelledScenes(num_samples=0))


def test_the_raw_maps_of_a_detector_are_named_as_its_head_names_them() -> None:
    assert Detection.raw_names == HeadOutput._fields
