"""Distillation as a task: one scene for both, nothing to learn from oneself, gradients for the student alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lidarloop_core.errors import ConfigError  # noqa: E402
from lidarloop_core.geometry.boxes import points_in_boxes  # noqa: E402
from lidarloop_training.losses.distillation.config import (  # noqa: E402
    LEVELS,
    DistillationLossConfig,
    InstanceConfig,
    Instances,
    Mining,
    ResponseConfig,
    VoxelConfig,
)
from lidarloop_training.models.sparse.rulebook import Rulebook  # noqa: E402
from lidarloop_training.tasks.detection.copy_paste import CopyPasteConfig  # noqa: E402
from lidarloop_training.tasks.detection.task import DetectionConfig, DetectionTask  # noqa: E402
from lidarloop_training.tasks.distillation.dataset import DistillationBatch  # noqa: E402
from lidarloop_training.tasks.distillation.student import DistilledStudent, PillarPointAdapter  # noqa: E402
from lidarloop_training.tasks.distillation.task import DistillationConfig, DistillationTask  # noqa: E402
from lidarloop_training.tasks.distillation.teacher import Teacher  # noqa: E402
from lidarloop_training.tasks.task import ExampleKey  # noqa: E402
from tests.norms import give_statistics  # noqa: E402
from tests.training.conftest import BoxScenes  # noqa: E402
from tests.training.painted import SPECS, PaintedScenes, small_network, student_config, teacher_config  # noqa: E402

GRIDS = list(SPECS)


def teacher_of(config: DetectionConfig, seed: int = 1) -> Teacher:
    torch.manual_seed(seed)
    network = config.task().build()
    give_statistics(network, 0.5, 2.0)
    return Teacher(network, config, f"{seed:064d}")


def taught_task(config: DistillationConfig, teacher: Teacher) -> DistillationTask:
    return DistillationTask(config.with_teacher(teacher), teacher)


def batch_of(task: DistillationTask, source: Any, *samples: int) -> DistillationBatch:
    examples = task.dataset(source, training=True, seed=3)
    return task.collate([examples[ExampleKey(2, sample)] for sample in samples])


@pytest.mark.parametrize("grid", GRIDS)
def test_the_student_is_given_what_a_detector_would_be(grid: str) -> None:
    """Points, voxels and tables of the same seed, as if the student's columns alone had been read."""
    config = student_config(SPECS[grid])
    source = PaintedScenes()
    found = batch_of(taught_task(config, teacher_of(teacher_config(SPECS[grid]))), source, 0, 1).inputs
    alone = DetectionTask(
        DetectionConfig(**{f.name: getattr(config, f.name) for f in dataclasses.fields(DetectionConfig)})
    )
    examples = alone.dataset(BoxScenes(), training=True, seed=3)
    expected = alone.collate([examples[ExampleKey(2, sample)] for sample in (0, 1)]).inputs
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        if isinstance(ours, Rulebook):
            assert torch.equal(ours.source, theirs.source)
            assert torch.equal(ours.target, theirs.target)
        else:
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("grid", GRIDS)
def test_the_teacher_is_given_the_paint_of_the_same_points(grid: str) -> None:
    task = taught_task(student_config(SPECS[grid]), teacher_of(teacher_config(SPECS[grid])))
    batch = batch_of(task, PaintedScenes(), 0, 1)
    theirs, ours = batch.taught_inputs[batch.columned], batch.inputs[batch.columned]
    assert theirs.shape == (len(ours), ours.shape[1] + 3)
    assert torch.equal(theirs[:, : ours.shape[1]], ours)
    assert set(np.unique(theirs[:, -2:])) >= {0.0, 1.0}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("instances", ["all-nms", "crucial-nms", "gt-boxes"])
def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it(grid: str, instances: Instances) -> None:
    levels = DistillationLossConfig(instance=InstanceConfig(instances=instances))
    config = student_config(SPECS[grid], distillation=levels)
    teacher = teacher_of(DetectionConfig(spec=SPECS[grid], network=config.network))
    task = taught_task(config, teacher)
    student = task.build().eval()
    student.load_state_dict(teacher.network.state_dict(), strict=False)
    loss = task.loss(student, batch_of(task, PaintedScenes(), 0, 1, 2))
    for level in LEVELS:
        assert abs(loss.parts[level].item()) < 1e-9, level


@pytest.mark.parametrize("grid", GRIDS)
def test_gradients_reach_the_student_and_its_adapters_alone(grid: str) -> None:
    teacher = teacher_of(teacher_config(SPECS[grid]))
    task = taught_task(student_config(SPECS[grid]), teacher)
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    student = task.build().train()
    loss = task.loss(student, batch_of(task, PaintedScenes(), 0, 1))
    loss.total.backward()
    assert all(parameter.grad is None for parameter in teacher.network.parameters())
    assert not teacher.network.training
    assert all(torch.equal(before[name], value) for name, value in teacher.network.state_dict().items())
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(parameter.grad.any() for name, parameter in student.named_parameters() if name.startswith("adapters"))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("level", LEVELS)
def test_total_is_the_student_s_own_loss_and_half_of_the_level(grid: str, level: Any) -> None:
    task = taught_task(
        student_config(SPECS[grid], distillation=DistillationLossConfig(levels=(level,))),
        teacher_of(teacher_config(SPECS[grid])),
    )
    student = task.build().train()
    loss = task.loss(student, batch_of(task, PaintedScenes(), 0, 1))
    assert list(loss.parts) == ["heatmap", "regression", level]
    assert loss.parts[level] > 0
    expected = loss.parts["heatmap"] + 0.25 * loss.parts["regression"] + 0.5 * loss.parts[level]
    torch.testing.assert_close(loss.total, expected)
    loss.total.backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_without_levels_a_student_is_an_ordinary_detector() -> None:
    config = student_config(SPECS["voxels"], distillation=DistillationLossConfig(levels=()))
    task = taught_task(config, teacher_of(teacher_config(SPECS["voxels"])))
    torch.manual_seed(5)
    student = task.build()
    torch.manual_seed(5)
    detector = DetectionTask(config).build()
    assert student.state_dict().keys() == detector.state_dict().keys()
    batch = batch_of(task, PaintedScenes(), 0)
    torch.testing.assert_close(student(*batch.inputs).detector.output, detector(*batch.inputs))


@pytest.mark.parametrize("mining", ["all", "TP", "TP+FP", "TP+FN", "crucial"])
def test_every_variant_of_mining_gives_a_finite_loss(mining: Mining) -> None:
    levels = DistillationLossConfig(
        levels=("response", "voxel"), response=ResponseConfig(mining=mining), voxel=VoxelConfig(only_crucial=False)
    )
    task = taught_task(
        student_config(SPECS["pillars"], distillation=levels), teacher_of(teacher_config(SPECS["pillars"]))
    )
    assert task.loss(task.build(), batch_of(task, PaintedScenes(), 0, 1)).total.isfinite()


@pytest.mark.parametrize("grid", GRIDS)
def test_adapters_lead_to_the_teacher_s_channels(grid: str) -> None:
    teacher = teacher_of(teacher_config(SPECS[grid], pillar_channels=9, voxel_channels=(4, 6, 9)))
    task = taught_task(student_config(SPECS[grid]), teacher)
    batch = batch_of(task, PaintedScenes(), 0)
    adapted = task.build()(*batch.inputs).adapted
    assert {features.shape[1] for features in adapted.values()} == {9}
    assert {len(features) for features in adapted.values()} == {len(batch.map_cells)}
    assert task.loss(task.build(), batch).total.isfinite()


@pytest.mark.parametrize("grid", GRIDS)
def test_adapters_of_equal_channels_begin_as_the_identity(grid: str) -> None:
    task = taught_task(student_config(SPECS[grid]), teacher_of(teacher_config(SPECS[grid])))
    found = task.build()(*batch_of(task, PaintedScenes(), 0, 1).inputs, batch_size=2)
    for features in found.adapted.values():
        torch.testing.assert_close(features, found.detector.levels[-1])


def test_the_pillars_adapter_is_a_submanifold_convolution() -> None:
    """Against a sum over the neighbours of each pillar."""
    task = taught_task(student_config(SPECS["pillars"]), teacher_of(teacher_config(SPECS["pillars"])))
    adapter = task.build().adapters["point"]
    assert isinstance(adapter, PillarPointAdapter)
    torch.nn.init.normal_(adapter.conv.weight)
    columns, rows = adapter.shape
    cell = torch.tensor([0, 1, columns, columns * rows, columns * rows + columns + 1])  # in two clouds
    features = torch.randn(5, 6)
    found = adapter(features, {"cell": cell}, 2)
    place = {int(c): i for i, c in enumerate(cell)}
    for i, c in enumerate(cell.tolist()):
        cloud, (row, column) = c // (columns * rows), divmod(c % (columns * rows), columns)
        total = adapter.conv.bias.clone()
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                there = place.get((cloud * rows + row + dy) * columns + column + dx)
                if there is not None and 0 <= column + dx < columns and 0 <= row + dy < rows:
                    total = total + adapter.conv.weight[:, :, dy + 1, dx + 1] @ features[there]
        torch.testing.assert_close(found[i], torch.relu(total))


@pytest.mark.parametrize("grid", GRIDS)
def test_the_student_is_exported_as_any_detector(grid: str) -> None:
    task = taught_task(student_config(SPECS[grid]), teacher_of(teacher_config(SPECS[grid])))
    student = task.build().eval()
    assert isinstance(student, DistilledStudent)
    view = task.export_view(student)
    assert view.spec == SPECS[grid]
    assert not any("adapters" in name for name, _ in view.named_parameters())
    batch = batch_of(task, PaintedScenes(), 0)
    found, expected = view.network(*batch.inputs), student(*batch.inputs).detector.output
    torch.testing.assert_close(found.heatmap, expected.heatmap, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grid", GRIDS)
def test_points_drawn_for_relations_are_the_same_whenever_an_example_is_made(grid: str) -> None:
    config = student_config(SPECS[grid])
    few = dataclasses.replace(config.distillation.point, max_relations=5)
    config = dataclasses.replace(config, distillation=dataclasses.replace(config.distillation, point=few))
    task = taught_task(config, teacher_of(teacher_config(SPECS[grid])))
    first, second = (batch_of(task, PaintedScenes(), 0).points for _ in range(2))
    assert int(first.related.sum()) == 5
    assert torch.equal(first.related, second.related)
    torch.testing.assert_close(first.weights.sum(dim=1), torch.ones(len(first.weights)))


@pytest.mark.parametrize("grid", GRIDS)
def test_points_of_an_object_out_of_range_are_not_compared(grid: str) -> None:
    """Their nearest voxels would be those of other things, metres away."""
    task = taught_task(student_config(SPECS[grid]), teacher_of(teacher_config(SPECS[grid])))
    examples = task.dataset(PaintedScenes(), training=False, seed=0)
    low, high = np.array(SPECS[grid].grid.ranges_m).T
    num_found, num_in_range, num_in_boxes = 0, 0, 0
    for sample in range(8):
        points, boxes, *_ = examples.scenes.scene(ExampleKey(0, sample))
        inside = points_in_boxes(points, boxes.values).any(axis=0)
        num_in_boxes += int(inside.sum())
        num_in_range += int((inside & ((points[:, :3] >= low) & (points[:, :3] < high)).all(axis=1)).sum())
        num_found += len(examples[ExampleKey(0, sample)].related)
    assert num_found == num_in_range < num_in_boxes


def test_a_scene_without_points_costs_nothing_at_its_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    task = taught_task(student_config(SPECS["voxels"]), teacher_of(teacher_config(SPECS["voxels"])))
    examples = task.dataset(PaintedScenes(), training=False, seed=0)
    full = examples[ExampleKey(0, 0)]
    scene = examples.scenes.scene(ExampleKey(0, 1))
    monkeypatch.setattr(examples.scenes, "scene", lambda _: scene._replace(points=scene.points[:0]))
    empty = examples[ExampleKey(0, 1)]
    batch = task.collate([full, empty, full])
    assert int((batch.map_cells < 0).sum()) == 1
    loss = task.loss(task.build(), batch)
    loss.total.backward()
    assert loss.total.isfinite()


def test_copy_paste_and_augmentation_keep_each_point_s_paint() -> None:
    """A point inside a car, pasted and turned or not, is painted car; one inside no box is not painted."""
    config = student_config(SPECS["pillars"], copy_paste=CopyPasteConfig((("car", 4), ("pedestrian", 6))))
    task = taught_task(config, teacher_of(teacher_config(SPECS["pillars"])))
    scenes = task.dataset(PaintedScenes(BoxScenes(num_samples=6)), training=True, seed=0).scenes
    num_pasted = 0
    for sample in range(6):
        points, boxes, *_ = scenes.scene(ExampleKey(0, sample))
        num_pasted += len(boxes) - 4
        smaller, larger = boxes.values.copy(), boxes.values.copy()
        smaller[:, 3:6] *= 0.98
        larger[:, 3:6] *= 1.02
        names = np.array(boxes.names)
        for name, column in (("car", -2), ("pedestrian", -1)):
            of_class, other = names == name, names != name
            alone = points_in_boxes(points, smaller[of_class]).any(axis=0)
            alone &= ~points_in_boxes(points, larger[other]).any(axis=0)
            assert (points[alone, column] == 1).all()
        outside = ~points_in_boxes(points, larger).any(axis=0)
        assert not points[outside, -2:].any()
    assert num_pasted > 0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"network": small_network(shared_channels=6)}, "whose shared_channels is 6; expected the student's, 8"),
        ({"spec": dataclasses.replace(SPECS["pillars"], num_sweeps=1)}, "whose num_sweeps is 1"),
        ({"spec": SPECS["voxels"]}, "whose grid is"),
        (
            {"spec": dataclasses.replace(SPECS["pillars"], point_columns=("x", "y", "z", "dt"))},
            "whose points lack intensity",
        ),
    ],
)
def test_a_teacher_that_cannot_be_compared_is_refused(changes: dict[str, Any], complaint: str) -> None:
    config = dataclasses.replace(teacher_config(SPECS["pillars"]), **changes)
    if changes.get("spec") is not None and changes["spec"].grid.kind == "voxels":
        config = dataclasses.replace(config, network=small_network())
    with pytest.raises(ConfigError, match=complaint):
        student_config(SPECS["pillars"]).with_teacher(teacher_of(config))


def test_a_loss_without_a_teacher_is_refused() -> None:
    task = taught_task(student_config(SPECS["pillars"]), teacher_of(teacher_config(SPECS["pillars"])))
    batch = batch_of(task, PaintedScenes(), 0)
    with pytest.raises(ConfigError, match="received no teacher"):
        task.config.task().loss(task.build(), batch)


@pytest.mark.parametrize("levels", [("response", "response"), ("colour",)])
def test_levels_that_are_none_are_refused(levels: Any) -> None:
    with pytest.raises(ConfigError, match="expected each of response, voxel, point, instance once at most"):
        DistillationLossConfig(levels=levels)
