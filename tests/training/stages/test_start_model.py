"""Starting from a model file: what it computes is kept exactly, and training goes on from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from lidarloop_core.errors import ConfigError  # noqa: E402
from lidarloop_core.model.model_file import read_model  # noqa: E402
from lidarloop_export.clouds import graph_inputs, random_cloud  # noqa: E402
from lidarloop_training.recipes.pillar_toytown import pillar_toytown  # noqa: E402
from lidarloop_training.recipes.voxel_toytown import voxel_toytown  # noqa: E402
from lidarloop_training.stages.start import start_from  # noqa: E402
from lidarloop_training.stages.start_model import measure_norms, read_weights  # noqa: E402


@pytest.fixture(params=["pillar-toytown", "voxel-toytown"])
def shipped(repository: Path, request: pytest.FixtureRequest) -> Path:
    return repository / "models" / f"{request.param}.onnx"


@pytest.fixture
def task(shipped: Path) -> Any:
    """The recipe of the shipped model, for the sweeps that it takes."""
    torch.manual_seed(5)
    recipe = {"pillar-toytown": pillar_toytown, "voxel-toytown": voxel_toytown}[shipped.stem]().task
    num_sweeps = read_model(shipped).spec.num_sweeps
    return dataclasses.replace(recipe, spec=dataclasses.replace(recipe.spec, num_sweeps=num_sweeps))


def outputs(network: Any, task: Any, points: Any) -> tuple[Any, ...]:
    """Scores and boxes of a network in evaluation, best first."""
    inputs = graph_inputs(points, task.spec)
    view = task.task().export_view(network.eval())
    with torch.no_grad():
        boxes, scores, _ = view.decode(
            *view.raw(*(torch.from_numpy(inputs[tensor.name]) for tensor in task.spec.inputs))
        )
    return boxes.numpy(), scores.numpy()


def test_the_stored_weights_are_taken_bit_by_bit(shipped: Path, task: Any) -> None:
    network = task.task().build()
    start_from(shipped, ("all",), network, task)
    _, stored = read_weights(shipped)
    for name, value in network.state_dict().items():
        if name in stored:
            assert torch.equal(value.flatten(), stored[name].flatten()), name
    assert {name for name in stored if name.endswith(".weight")} <= set(network.state_dict())


def test_a_network_from_a_model_file_computes_what_the_file_does(shipped: Path, task: Any) -> None:
    network = task.task().build()
    points = random_cloud(task.spec, 20_000, seed=1)
    start_from(shipped, ("all",), network, task)
    session = ort.InferenceSession(read_model(shipped).onnx_bytes)
    expected_boxes, expected_scores, _ = session.run(None, graph_inputs(points, task.spec))
    boxes, scores = outputs(network, task, points)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-5)
    clear = np.r_[True, np.diff(scores) < -1e-4] & np.r_[np.diff(scores) < -1e-4, False]  # no tie on either side
    np.testing.assert_allclose(boxes[clear], expected_boxes[clear], rtol=1e-3, atol=1e-3)

    def run_batch(cloud: Any) -> None:
        inputs = graph_inputs(cloud, task.spec)
        network(*(torch.from_numpy(inputs[tensor.name]) for tensor in task.spec.inputs))

    measure_norms(network, run_batch, [points])
    np.testing.assert_allclose(outputs(network, task, points)[1], expected_scores, atol=1e-5)
    heatmap = [raw_heatmap(network, task, points, training) for training in (False, True)]
    np.testing.assert_allclose(heatmap[1], heatmap[0], atol=1e-2)  # the statistics are those of this very cloud


def raw_heatmap(network: Any, task: Any, points: Any, training: Any) -> Any:
    inputs = graph_inputs(points, task.spec)
    network.train(training)
    with torch.no_grad():
        return network(*(torch.from_numpy(inputs[tensor.name]) for tensor in task.spec.inputs)).heatmap.numpy()


def test_a_model_of_another_spec_is_refused(shipped: Path, task: Any) -> None:
    other = dataclasses.replace(task, spec=dataclasses.replace(task.spec, num_sweeps=1))
    with pytest.raises(ConfigError, match="whose spec has another num_sweeps than this run's"):
        start_from(shipped, ("all",), other.task().build(), other)
    classes = task.for_classes(("car", "fork lift"))
    with pytest.raises(ConfigError, match="whose head was trained with class_names"):
        start_from(shipped, ("head",), classes.task().build(), classes)
    start_from(shipped, ("encoder", "backbone"), classes.task().build(), classes)
