from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lidarloop_core.model.spec import ModelSpec

torch = pytest.importorskip("torch")

from lidarloop_core.errors import BackendError  # noqa: E402
from lidarloop_core.pointcloud.grouping import group_pillars  # noqa: E402
from lidarloop_core.pointcloud.sweeps import merge_sweeps  # noqa: E402
from lidarloop_training.stages.infer import SampleDetector, TorchBackend  # noqa: E402
from lidarloop_training.stages.trainer import fit  # noqa: E402

if TYPE_CHECKING:
    from lidarloop_core.model.spec import ModelSpec
    from lidarloop_core.sample import Sample
    from lidarloop_training.stages.config import TrainConfig
    from lidarloop_training.tasks.detection.export_view import DetectionView
    from lidarloop_training.tasks.detection.task import DetectionConfig
    from tests.training.conftest import BoxScenes


@pytest.fixture
def view(detection_config: DetectionConfig) -> DetectionView:
    torch.manual_seed(0)
    task = detection_config.task()
    return task.export_view(task.build().eval())


def inputs_of(sample: Sample, spec: ModelSpec) -> dict[str, Any]:
    return group_pillars(merge_sweeps(sample.sweeps, spec.point_columns), spec.pillars).tensors()


def test_backend_gives_what_the_network_decodes(
    view: DetectionView, spec: ModelSpec, box_scenes: Callable[..., BoxScenes]
) -> None:
    inputs = inputs_of(box_scenes()[0], spec)
    found = TorchBackend(view).infer(inputs)
    with torch.no_grad():
        wanted = view.network.head.decode(view.network(*map(torch.from_numpy, inputs.values())))
    assert tuple(found) == ("boxes", "scores", "labels")
    for name, value in wanted._asdict().items():
        np.testing.assert_array_equal(found[name], value.numpy())


def test_the_backend_of_a_checkpoint_runs_the_trained_network(
    train_config: TrainConfig, spec: ModelSpec, box_scenes: Callable[..., BoxScenes]
) -> None:
    source = box_scenes(num_samples=2)
    short = dataclasses.replace(train_config.optimisation, num_steps=1)
    folder = fit(dataclasses.replace(train_config, optimisation=short), source, source)
    task = train_config.task.task()
    network = task.build().eval()
    from safetensors.torch import load_file

    network.load_state_dict(load_file(folder / "model.safetensors"))
    inputs = inputs_of(source[0], spec)
    wanted, found = (
        backend.infer(inputs)
        for backend in (TorchBackend(task.export_view(network)), TorchBackend.of_checkpoint(train_config.run.out))
    )
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


def test_torch_does_not_quietly_run_on_the_cpu(monkeypatch: pytest.MonkeyPatch, view: DetectionView) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="sees no CUDA device"):
        TorchBackend(view, "cuda")


def test_detections_are_above_the_threshold_best_first_and_annotations_do_not_matter(
    view: DetectionView, box_scenes: Callable[..., BoxScenes]
) -> None:
    sample = box_scenes()[0]
    find = SampleDetector(TorchBackend(view), score_threshold=0.05)
    boxes = find(sample)
    assert len(boxes) > 0
    assert (np.diff(boxes.scores) <= 0).all()
    assert boxes.scores.min() >= 0.05
    unlabelled = find(dataclasses.replace(sample, annotations=None))
    np.testing.assert_array_equal(unlabelled.values, boxes.values)


def test_only_the_sweeps_the_network_was_made_for_are_used(
    view: DetectionView, box_scenes: Callable[..., BoxScenes]
) -> None:
    sample = box_scenes()[0]
    older = dataclasses.replace(sample.sweeps[1], stamp_ns=sample.sweeps[1].stamp_ns - 10**8)
    more = dataclasses.replace(sample, sweeps=(*sample.sweeps, older))
    find = SampleDetector(TorchBackend(view), score_threshold=0.05)
    np.testing.assert_array_equal(find(more).values, find(sample).values)
