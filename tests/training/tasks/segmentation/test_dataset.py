from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch")

from lidarloop_core.errors import DatasetError  # noqa: E402
from lidarloop_core.model.tensors import names  # noqa: E402
from lidarloop_training.data.point_labels import UNLABELLED, labelled_points  # noqa: E402
from lidarloop_training.tasks.augment import NO_AUGMENTATION, AugmentConfig  # noqa: E402
from lidarloop_training.tasks.segmentation.dataset import (  # noqa: E402
    SegmentationDataset,
    SegmentationExample,
    collate,
)
from lidarloop_training.tasks.task import ExampleKey  # noqa: E402
from tests.builders import make_spec  # noqa: E402
from tests.training.sources import MemorySource  # noqa: E402
from tests.training.tasks.segmentation.labelled_scenes import CLASSES, SPEC, LabelledScenes  # noqa: E402

PLAIN = SegmentationDataset(LabelledScenes(), SPEC, augment=NO_AUGMENTATION, seed=0)


def expected_labels(points: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Class of each point by what it looks like; -1 for fog, which looks like a wall, is not told apart here."""
    is_sign = points[:, 3] > 200
    return np.where(is_sign, CLASSES.index("sign"), np.where(points[:, 2] < -1.5, 0, 1))


def assert_labels_are_the_points_own(example: SegmentationExample) -> None:
    cloud, labels = example.cloud, example.labels
    newest = cloud.points[:, 4] == 0
    labelled = labels != UNLABELLED
    assert not labelled[~newest].any(), "points of older sweeps have no labels"
    assert 0.8 < labelled[newest].mean() < 0.95  # without the fog
    np.testing.assert_array_equal(labels[labelled], expected_labels(cloud.points)[labelled])


def test_labels_are_those_of_the_keyframe_by_the_models_classes() -> None:
    points, labels = labelled_points(LabelledScenes()[0], SPEC)
    assert points.shape == (1600, 5)
    assert labels.shape == (1600,)
    assert (labels[800:] == UNLABELLED).all()
    assert set(labels[:800].tolist()) == {UNLABELLED, 0, 1, 2}
    np.testing.assert_allclose(np.unique(points[:, 4]), [0, 0.1])


def test_points_out_of_range_are_left_out() -> None:
    example = PLAIN[ExampleKey(0, 0)]
    assert 1300 < len(example.cloud.points) < 1600
    assert len(example.labels) == len(example.cloud.points)
    assert example.cloud.num_out_of_range == 0
    assert (example.cloud.index.voxel_of_point > 0).all()
    assert_labels_are_the_points_own(example)


def test_labels_stay_with_their_points_whatever_is_augmented() -> None:
    config = AugmentConfig(max_rotation_rad=3.0, max_scaling=0.02, max_drop=0.5)
    dataset = SegmentationDataset(LabelledScenes(), SPEC, augment=config, seed=1)
    for epoch in range(3):
        assert_labels_are_the_points_own(dataset[ExampleKey(epoch, 1)])


def test_points_that_the_guard_leaves_out_take_their_labels_with_them() -> None:
    sample = LabelledScenes()[0]
    keyframe = sample.keyframe
    keyframe.points[::7, :3] = 0
    keyframe.points[3::7, 3] = np.nan
    dataset = SegmentationDataset(MemorySource([sample]), SPEC, augment=NO_AUGMENTATION, seed=0)
    assert_labels_are_the_points_own(dataset[ExampleKey(0, 0)])


def test_points_of_voxels_without_room_are_not_learnt_from() -> None:
    spec = make_spec(SPEC, capacity=100)
    example = SegmentationDataset(LabelledScenes(), spec, augment=NO_AUGMENTATION, seed=0)[ExampleKey(0, 0)]
    thinned = example.cloud.index.voxel_of_point == 0
    assert thinned.sum() == example.cloud.num_thinned > 0
    assert (example.labels[thinned] == UNLABELLED).all()
    assert (example.labels[~thinned] != UNLABELLED).any()


def test_examples_depend_on_seed_epoch_and_index_alone() -> None:
    def example(seed: int, epoch: int, index: int) -> npt.NDArray[np.float32]:
        dataset = SegmentationDataset(LabelledScenes(), SPEC, augment=AugmentConfig(), seed=seed)
        return dataset[ExampleKey(epoch, index)].cloud.points

    np.testing.assert_array_equal(example(0, 3, 1), example(0, 3, 1))
    for other in ((1, 3, 1), (0, 4, 1), (0, 3, 2)):
        assert not np.array_equal(example(0, 3, 1), example(*other))


def test_a_batch_holds_its_examples_in_order() -> None:
    examples = [PLAIN[ExampleKey(0, i)] for i in range(3)]
    batch = collate(examples, SPEC)
    named = dict(zip(names(SPEC.inputs), batch.inputs, strict=True))
    np.testing.assert_array_equal(named["points"], np.concatenate([e.cloud.points for e in examples]))
    np.testing.assert_array_equal(batch.labels, np.concatenate([e.labels for e in examples]))
    first = np.cumsum([0, *(len(e.cloud.index.features) for e in examples)])
    rows = np.concatenate([e.cloud.index.voxel_of_point + b for e, b in zip(examples, first, strict=False)])
    np.testing.assert_array_equal(named["voxel_of_point"], rows)
    assert len(batch.to(torch.device("cpu")).labels) == len(batch.labels)


def test_a_sample_without_a_point_in_range_is_an_example() -> None:
    sample = LabelledScenes()[0]
    for sweep in sample.sweeps:
        sweep.points[:, 0] += 100
    dataset = SegmentationDataset(MemorySource([sample, LabelledScenes()[1]]), SPEC, augment=NO_AUGMENTATION, seed=0)
    batch = collate([dataset[ExampleKey(0, i)] for i in range(2)], SPEC)
    assert len(batch.labels) == len(PLAIN[ExampleKey(0, 1)].labels)


def test_samples_without_labels_of_points_are_refused_by_name() -> None:
    dataset = SegmentationDataset(LabelledScenes(labelled=False), SPEC, augment=NO_AUGMENTATION, seed=0)
    with pytest.raises(DatasetError, match="scene-2 has no labels of points; expected them to segment by"):
        dataset[ExampleKey(0, 2)]


def test_labels_of_older_sweeps_are_left_to_the_samples_whose_keyframes_they_are() -> None:
    sample = LabelledScenes()[0]
    older = dataclasses.replace(sample.sweeps[1], points=LabelledScenes(seed=5)[0].keyframe.points)
    _, labels = labelled_points(dataclasses.replace(sample, sweeps=(sample.keyframe, older)), SPEC)
    assert (labels[:800] != UNLABELLED).any()
    assert (labels[800:] == UNLABELLED).all()
    assert older.points[:, 4].any(), "the sample itself stays as it is"
