from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from lidarloop_core.errors import DatasetError  # noqa: E402
from lidarloop_core.geometry.boxes import points_in_boxes  # noqa: E402
from lidarloop_training.tasks.detection.dataset import (  # noqa: E402
    NO_AUGMENTATION,
    AugmentConfig,
    ExampleKey,
    PillarDataset,
    StepSampler,
    augment,
    collate,
    visible_boxes,
)

STRONG = AugmentConfig(max_rotation_rad=np.pi, max_scaling=0.2, max_drop=0.0)


def scene(box_scenes, index: int = 0):
    sample = box_scenes()[index]
    points = np.column_stack([sample.keyframe.points, np.arange(len(sample.keyframe.points))]).astype(np.float32)
    return points, sample.annotations.boxes.values


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_points_stay_in_their_boxes(box_scenes, seed):
    points, values = scene(box_scenes)
    moved, new_values = augment(points, values, STRONG, np.random.default_rng(seed))
    np.testing.assert_array_equal(points_in_boxes(moved, new_values), points_in_boxes(points, values))
    np.testing.assert_array_equal(moved[:, 3:], points[:, 3:])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_velocity_leads_where_the_object_will_be(box_scenes, seed):
    """Moving a box by v Δt and then changing the scene is changing the scene and then moving it by the new v Δt."""
    points, values = scene(box_scenes)
    later = values.copy()
    later[:, :2] += 0.5 * values[:, 7:9]
    _, now = augment(points, values, STRONG, np.random.default_rng(seed))
    _, then = augment(points, later, STRONG, np.random.default_rng(seed))
    np.testing.assert_allclose(now[:, :2] + 0.5 * now[:, 7:9], then[:, :2], atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_distances_change_by_the_scale_alone(box_scenes, seed):
    points, values = scene(box_scenes)
    moved, new_values = augment(points, values, STRONG, np.random.default_rng(seed))
    scale = new_values[0, 3] / values[0, 3]
    assert 0.8 <= scale <= 1.2
    np.testing.assert_allclose(
        np.linalg.norm(moved[:, :3], axis=1), scale * np.linalg.norm(points[:, :3], axis=1), rtol=1e-4
    )


def test_arguments_stay_as_they_are(box_scenes):
    points, values = scene(box_scenes)
    before = points.copy(), values.copy()
    augment(points, values, STRONG, np.random.default_rng(0))
    np.testing.assert_array_equal(points, before[0])
    np.testing.assert_array_equal(values, before[1])


def test_no_augmentation_changes_nothing(box_scenes):
    points, values = scene(box_scenes)
    same, same_values = augment(points, values, NO_AUGMENTATION, np.random.default_rng(0))
    np.testing.assert_array_equal(same, points)
    np.testing.assert_allclose(same_values, values, atol=1e-6)


def test_drop_leaves_out_about_its_share(box_scenes):
    points, values = scene(box_scenes)
    config = dataclasses.replace(NO_AUGMENTATION, max_drop=0.5)
    kept = [len(augment(points, values, config, np.random.default_rng(i))[0]) / len(points) for i in range(200)]
    assert min(kept) > 0.4
    assert np.mean(kept) == pytest.approx(0.75, abs=0.03)


def test_examples_depend_on_seed_epoch_and_index_alone(spec, box_scenes):
    def example(seed, epoch, index):
        dataset = PillarDataset(box_scenes(), spec, 2, augment=AugmentConfig(), seed=seed)
        return dataset[ExampleKey(epoch, index)].pillars.points

    np.testing.assert_array_equal(example(0, 3, 1), example(0, 3, 1))
    for other in ((1, 3, 1), (0, 4, 1), (0, 3, 2)):
        assert not np.array_equal(example(0, 3, 1), example(*other))


def test_boxes_without_a_point_are_no_ground_truth(spec, box_scenes):
    sample = box_scenes()[0]
    sample.annotations.num_lidar_pts[:] = (0, 5, 0, 1)
    np.testing.assert_array_equal(
        visible_boxes(sample, spec.class_names).values, sample.annotations.boxes.values[[1, 3]]
    )


def test_unknown_numbers_of_points_are_counted(spec, box_scenes):
    sample = box_scenes()[0]
    sample.annotations.num_lidar_pts[:] = -1
    assert len(visible_boxes(sample, spec.class_names)) == 4


def test_unlabelled_samples_are_refused(spec, box_scenes):
    dataset = PillarDataset(box_scenes(labelled=False), spec, 2, augment=NO_AUGMENTATION, seed=0)
    with pytest.raises(DatasetError, match="scene-1 has no annotations"):
        dataset[ExampleKey(0, 1)]


def test_collated_batch_holds_its_examples(spec, box_scenes):
    dataset = PillarDataset(box_scenes(), spec, 2, augment=NO_AUGMENTATION, seed=0)
    examples = [dataset[ExampleKey(0, i)] for i in range(3)]
    batch = collate(examples, spec)
    cells, places = spec.pillars.num_cells, spec.pillars.max_points_per_pillar
    points, slot, cell, count = batch.inputs
    assert batch.batch_size == 3
    assert len(slot.unique()) == len(slot) == len(points)
    assert len(cell.unique()) == len(cell) == len(count)
    for i, example in enumerate(examples):
        pillars = torch.nonzero(cell // cells == i).flatten()
        np.testing.assert_array_equal(cell[pillars] % cells, example.pillars.cell)
        np.testing.assert_array_equal(count[pillars], example.pillars.count)
        mine = (slot // places >= pillars[0]) & (slot // places <= pillars[-1])
        np.testing.assert_array_equal(points[mine], example.pillars.points)
        np.testing.assert_array_equal(slot[mine] - pillars[0] * places, example.pillars.slot)
        np.testing.assert_array_equal(batch.targets.heatmap[i], example.targets.heatmap)
        np.testing.assert_array_equal(batch.targets.cell[batch.targets.sample == i], example.targets.cell)


def sampler(**changes) -> StepSampler:
    values = {"first_step": 0, "num_steps": 7, "seed": 0, "rank": 0, "world_size": 1, **changes}
    return StepSampler(11, 3, **values)


def test_an_epoch_shows_each_sample_at_most_once_and_epochs_differ():
    keys = list(itertools.chain.from_iterable(sampler()))
    epochs = [[k.sample for k in keys if k.epoch == e] for e in range(3)]
    assert [len(set(e)) for e in epochs] == [9, 9, 3]
    assert epochs[0] != epochs[1]


def test_resuming_goes_on_with_the_same_batches():
    assert list(sampler(first_step=4)) == list(sampler())[4:]


def test_processes_share_a_batch():
    one = StepSampler(16, 4, first_step=0, num_steps=6, seed=1, rank=0, world_size=1)
    two = [StepSampler(16, 2, first_step=0, num_steps=6, seed=1, rank=r, world_size=2) for r in (0, 1)]
    assert list(one) == [a + b for a, b in zip(*two, strict=True)]


def test_too_few_samples_are_refused():
    with pytest.raises(DatasetError, match=r"2 samples; expected at least one batch of 3 × 1"):
        StepSampler(2, 3, first_step=0, num_steps=1, seed=0, rank=0, world_size=1)
