"""Examples of pre-training: units, their points and their targets stay together through the random changes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lidarloop_core.errors import ConfigError, DatasetError  # noqa: E402
from lidarloop_core.sample import SampleSource  # noqa: E402
from lidarloop_training.losses.contrastive import ContrastiveConfig  # noqa: E402
from lidarloop_training.tasks.augment import NO_AUGMENTATION  # noqa: E402
from lidarloop_training.tasks.pretext.dataset import ContrastExample, collate, sightings_of  # noqa: E402
from lidarloop_training.tasks.pretext.task import DetectorContrastConfig, SegmenterContrastConfig  # noqa: E402
from lidarloop_training.tasks.pretext.unit_choice import group_points  # noqa: E402
from lidarloop_training.tasks.pretext.units.units import UnitConfig, Units, find_units  # noqa: E402
from lidarloop_training.tasks.task import ExampleKey  # noqa: E402
from tests.training.tasks.pretext.scenes import (  # noqa: E402
    HEIGHT,
    WIDTH,
    PictureScenes,
    contrast_config,
    segmenter_config,
)


def example(
    config: DetectorContrastConfig | SegmenterContrastConfig,
    key: ExampleKey = ExampleKey(0, 0),
    source: SampleSource = PictureScenes(),
) -> ContrastExample:
    return config.task().dataset(source, training=True, seed=3)[key]


def test_an_example_depends_on_its_key_and_seed_alone(tmp_path: Path) -> None:
    config = contrast_config(tmp_path)
    first, again, later = (example(config, ExampleKey(epoch, 1)) for epoch in (0, 0, 1))
    np.testing.assert_array_equal(first.targets, again.targets)
    np.testing.assert_array_equal(first.views[0].xyz, again.views[0].xyz)
    assert first.views[0].xyz.shape != later.views[0].xyz.shape or (first.views[0].xyz != later.views[0].xyz).any()


def test_every_unit_has_a_point_in_every_view(tmp_path: Path) -> None:
    found = example(contrast_config(tmp_path, modality="multi"))
    assert len(found.views) == 2
    assert found.num_units >= 8
    for view in found.views:
        assert set(view.unit.tolist()) == set(range(found.num_units))
    assert found.targets is not None
    assert found.targets.shape == (found.num_units, 16 + 32 + 64)


def test_two_views_are_random_changes_of_the_same_units(tmp_path: Path) -> None:
    found = example(contrast_config(tmp_path, modality="single+"))
    assert found.targets is None
    first, second = found.views
    assert not np.array_equal(first.xyz, second.xyz)
    ratios = []
    for unit in range(found.num_units):
        ours, theirs = (np.sort(view.xyz[view.unit == unit][:, 2]) for view in (first, second))
        if len(ours) == len(theirs):  # a change may have taken a part of a unit out of the range
            ratios.append(theirs / ours)
    assert len(ratios) >= 5
    ratio = np.concatenate(ratios)  # of heights: a change turns and flips in the plane, and scales all axes alike
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_targets_are_what_the_pictures_show_at_the_units_points(tmp_path: Path) -> None:
    """The encoder here copies the picture's colour; a unit of one point has the colour of its pixel."""
    config = contrast_config(tmp_path, augment=NO_AUGMENTATION)
    config = dataclasses.replace(config, grouping=dataclasses.replace(config.grouping, kind="points"))
    source = PictureScenes()
    dataset = config.task().dataset(source, training=True, seed=0)

    class Colours:
        sha256, num_channels = "ab" * 32, 3

        def maps(self, picture: np.ndarray) -> list[np.ndarray]:
            return [picture.transpose(2, 0, 1).astype(np.float32)]

    dataset.features.encoder = Colours()
    dataset.features.folder = tmp_path / "colours"
    found = dataset[ExampleKey(0, 0)]
    checked = 0
    for unit in range(found.num_units):
        ((x, y, z),) = found.views[0].xyz[found.views[0].unit == unit]
        camera, depth, left = (0, x, y) if x > 0 else (1, -x, -y)
        column, row = 31.5 - 32 * left / depth, 23.5 - 32 * z / depth
        edges = np.minimum(np.array([column, row]) % 8, 8 - np.array([column, row]) % 8)
        # Beside the border of a patch its two colours are mixed, and at the picture's border both cameras may see it.
        if edges.min() < 2 or not (4 < column < WIDTH - 4 and 4 < row < HEIGHT - 4):
            continue
        pixel = source.picture(0, camera)[round(row), round(column)]
        np.testing.assert_allclose(found.targets[unit], pixel, atol=0.5)
        checked += 1
    assert checked >= 5


def test_shuffled_targets_are_the_same_ones_in_another_order(tmp_path: Path) -> None:
    plain, shuffled = (
        example(contrast_config(tmp_path, augment=NO_AUGMENTATION, targets=targets))
        for targets in ("images", "shuffled-images")
    )
    assert (plain.targets != shuffled.targets).any()
    order = [np.lexsort(found.targets.T) for found in (plain, shuffled)]
    np.testing.assert_array_equal(plain.targets[order[0]], shuffled.targets[order[1]])


def test_statistics_as_targets_need_no_pictures(tmp_path: Path) -> None:
    config = contrast_config(tmp_path, targets="lidar-statistics", image=None)
    task = config.task()
    source = PictureScenes(has_cameras=False)
    assert task.features is None
    assert "compared cross with lidar-statistics" in task.check(source, training=True)
    found = task.dataset(source, training=True, seed=0)[ExampleKey(0, 0)]
    assert found.targets.shape == (found.num_units, 9)


def test_only_points_that_a_camera_sees_belong_to_units(tmp_path: Path) -> None:
    config = contrast_config(tmp_path)
    sample = PictureScenes()[0]
    points = sample.keyframe.points
    sightings = sightings_of(sample, points)
    for kind in ("units", "points", "superpixels"):
        of_kind = dataclasses.replace(config, grouping=dataclasses.replace(config.grouping, kind=kind))
        unit, num_units = group_points(sample, points, sightings, of_kind, np.random.default_rng(0))
        assert num_units >= 2
        assert set(unit[unit >= 0].tolist()) == set(range(num_units))
        assert sightings.is_seen[unit >= 0].all()


def test_the_points_of_a_superpixel_appear_in_one_patch(tmp_path: Path) -> None:
    config = contrast_config(tmp_path)
    config = dataclasses.replace(config, grouping=dataclasses.replace(config.grouping, kind="superpixels"))
    sample = PictureScenes()[0]
    sightings = sightings_of(sample, sample.keyframe.points)
    unit, num_units = group_points(sample, sample.keyframe.points, sightings, config, np.random.default_rng(0))
    assert num_units <= 2 * 40
    for number in range(num_units):
        seen = np.isin(sightings.point, np.flatnonzero(unit == number))
        cameras = np.unique(sightings.camera[seen])
        pixels = sightings.pixels[seen & (sightings.camera == cameras[0])]
        assert np.ptp(pixels, axis=0).max() < 4 * np.sqrt(WIDTH * HEIGHT / 12)


def test_a_single_modality_without_plus_has_initial_units_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = PictureScenes()[0]
    points = sample.keyframe.points
    sightings = sightings_of(sample, points)
    asked = []

    def seen(points: np.ndarray, sightings: object, config: UnitConfig, rng: np.random.Generator) -> Units:
        asked.append(config)
        return find_units(points, sightings, config, rng)

    monkeypatch.setattr("lidarloop_training.tasks.pretext.unit_choice.find_units", seen)
    for modality in ("single", "single+", "cross"):
        config = contrast_config(tmp_path, modality=modality)
        group_points(sample, points, sightings, config, np.random.default_rng(0))
    units = config.grouping.units
    assert units.clusters is not None
    assert asked == [dataclasses.replace(units, clusters=None), units, units]


def test_a_batch_counts_units_points_and_clouds_on(tmp_path: Path) -> None:
    config = segmenter_config(tmp_path)
    task = config.task()
    dataset = task.dataset(PictureScenes(), training=True, seed=0)
    examples = [dataset[ExampleKey(0, index)] for index in (0, 1)]
    batch = collate(examples, config.spec)
    (view,) = batch.views
    assert batch.units_of_cloud == tuple(found.num_units for found in examples)
    assert torch.equal(torch.unique(view.unit_of_point), torch.arange(sum(batch.units_of_cloud)))
    points = view.inputs[0]
    torch.testing.assert_close(points[view.points.row, :3], view.points.xyz)
    assert torch.equal(
        view.points.sample, torch.tensor([0] * len(examples[0].views[0].row) + [1] * len(examples[1].views[0].row))
    )
    assert len(batch.targets) == sum(batch.units_of_cloud)


def test_pictures_that_are_missing_are_known_before_the_first_step(tmp_path: Path) -> None:
    source = PictureScenes(has_cameras=False)
    task = contrast_config(tmp_path).task()
    with pytest.raises(DatasetError, match="sample scene-0 has no pictures"):
        task.check(source, training=True)
    config = contrast_config(tmp_path, modality="single")
    config = dataclasses.replace(config, grouping=dataclasses.replace(config.grouping, kind="superpixels"))
    with pytest.raises(DatasetError, match="expected some to cut into superpixels"):
        config.task().check(source, training=True)


def test_balancing_without_frozen_targets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--task.loss.num-negatives received 8 with --task.modality single"):
        contrast_config(tmp_path, modality="single", loss=ContrastiveConfig(num_negatives=8))
