from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from lidarloop_core.model.spec import ModelSpec

torch = pytest.importorskip("torch")

from lidarloop_core.errors import DatasetError  # noqa: E402
from lidarloop_training.tasks.augment import NO_AUGMENTATION, AugmentConfig  # noqa: E402
from lidarloop_training.tasks.detection.dataset import DetectionDataset, collate, visible_boxes  # noqa: E402
from lidarloop_training.tasks.task import ExampleKey  # noqa: E402

if TYPE_CHECKING:
    from tests.training.conftest import BoxScenes


def test_examples_depend_on_seed_epoch_and_index_alone(spec: ModelSpec, box_scenes: Callable[..., BoxScenes]) -> None:
    def example(seed: int, epoch: int, index: int) -> npt.NDArray[np.float32]:
        dataset = DetectionDataset(box_scenes(), spec, 2, augment=AugmentConfig(), seed=seed)
        return dataset[ExampleKey(epoch, index)].cloud.tensors()["points"]

    np.testing.assert_array_equal(example(0, 3, 1), example(0, 3, 1))
    for other in ((1, 3, 1), (0, 4, 1), (0, 3, 2)):
        assert not np.array_equal(example(0, 3, 1), example(*other))


def test_boxes_without_a_point_are_no_ground_truth(spec: ModelSpec, box_scenes: Callable[..., BoxScenes]) -> None:
    sample = box_scenes()[0]
    sample.annotations.num_lidar_pts[:] = (0, 5, 0, 1)
    np.testing.assert_array_equal(
        visible_boxes(sample, spec.class_names).values, sample.annotations.boxes.values[[1, 3]]
    )


def test_unknown_numbers_of_points_are_counted(spec: ModelSpec, box_scenes: Callable[..., BoxScenes]) -> None:
    sample = box_scenes()[0]
    sample.annotations.num_lidar_pts[:] = -1
    assert len(visible_boxes(sample, spec.class_names)) == 4


def test_unlabelled_samples_are_refused(spec: ModelSpec, box_scenes: Callable[..., BoxScenes]) -> None:
    dataset = DetectionDataset(box_scenes(labelled=False), spec, 2, augment=NO_AUGMENTATION, seed=0)
    with pytest.raises(DatasetError, match="scene-1 has no annotations"):
        dataset[ExampleKey(0, 1)]


def test_collated_batch_holds_its_examples(spec: ModelSpec, box_scenes: Callable[..., BoxScenes]) -> None:
    dataset = DetectionDataset(box_scenes(), spec, 2, augment=NO_AUGMENTATION, seed=0)
    examples = [dataset[ExampleKey(0, i)] for i in range(3)]
    batch = collate(examples, spec)
    cells, places = spec.pillars.num_cells, spec.pillars.max_points_per_pillar
    points, slot, cell, count = batch.inputs
    assert batch.batch_size == 3
    assert len(slot.unique()) == len(slot) == len(points)
    assert len(cell.unique()) == len(cell) == len(count)
    for i, example in enumerate(examples):
        pillars = torch.nonzero(cell // cells == i).flatten()
        np.testing.assert_array_equal(cell[pillars] % cells, example.cloud.tensors()["cell"])
        np.testing.assert_array_equal(count[pillars], example.cloud.tensors()["count"])
        mine = (slot // places >= pillars[0]) & (slot // places <= pillars[-1])
        np.testing.assert_array_equal(points[mine], example.cloud.tensors()["points"])
        np.testing.assert_array_equal(slot[mine] - pillars[0] * places, example.cloud.tensors()["slot"])
        np.testing.assert_array_equal(batch.targets.heatmap[i], example.targets.heatmap)
        np.testing.assert_array_equal(batch.targets.cell[batch.targets.sample == i], example.targets.cell)
