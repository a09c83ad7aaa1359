from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lidarloop_core.model.spec import ModelSpec

torch = pytest.importorskip("torch")

from lidarloop_core.classes import NUSCENES_CLASSES  # noqa: E402
from lidarloop_core.errors import DatasetError  # noqa: E402
from lidarloop_core.geometry.boxes import Boxes3D  # noqa: E402
from lidarloop_core.geometry.se3 import SE3  # noqa: E402
from lidarloop_core.io.results import write_results  # noqa: E402
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels  # noqa: E402
from lidarloop_training.data.views.concat import ConcatSource  # noqa: E402
from lidarloop_training.data.views.pseudo_labelled import PseudoLabelledSource, open_labelled  # noqa: E402
from lidarloop_training.data.writing.pseudo_labels import LabelledFrame, write_drive  # noqa: E402
from lidarloop_training.tasks.augment import NO_AUGMENTATION  # noqa: E402
from lidarloop_training.tasks.detection.dataset import DetectionDataset  # noqa: E402
from lidarloop_training.tasks.task import ExampleKey  # noqa: E402
from tests.training.sources import MadeSource, assert_names_labels_and_poses_need_no_cloud  # noqa: E402

if TYPE_CHECKING:
    from lidarloop_core.sample import Sample
    from tests.training.conftest import BoxScenes


class Somewhere(MadeSource):
    """Unlabelled scenes, each seen from a place of its own in the world."""

    def __init__(self, source: Any, *, with_motion: bool = True) -> None:
        self.source = source
        self.with_motion = with_motion

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        pose = SE3.from_yaw(0.3 * index, (100.0 * index, -20.0, 1.0)) if self.with_motion else None
        sweeps = tuple(dataclasses.replace(sweep, world_SE3_ego=pose) for sweep in sample.sweeps)
        return dataclasses.replace(sample, sweeps=sweeps, annotations=None, stamp_ns=sample.stamp_ns + index)


def labels_of(sample: Sample, scores: tuple[float, float, float, float]) -> PseudoLabels:
    boxes = dataclasses.replace(sample.annotations.boxes, scores=np.full(len(scores), 0.5))
    number = len(boxes)
    return PseudoLabels(boxes, np.array(scores), np.full(number, 7), (("CAM",),) * number, ("lane",) * number)


def write_labels(
    folder: Path, source: Somewhere, truth: Any, quality: tuple[float, float, float, float] = (0.1, 0.2, 0.3, 0.4)
) -> Path:
    frames = [LabelledFrame.of(i, source[i], labels_of(truth[i], quality), LeftOut()) for i in range(len(source))]
    return write_drive(folder, frames, {})


@pytest.mark.parametrize("with_motion", [True, False])
def test_labels_come_back_in_the_frame_of_the_lidar_with_their_quality(
    box_scenes: Callable[..., BoxScenes], tmp_path: Path, with_motion: bool
) -> None:
    truth = box_scenes(num_samples=4)
    source = Somewhere(truth, with_motion=with_motion)
    write_labels(tmp_path / "out" / "drive", source, truth)
    labelled = PseudoLabelledSource(source, tmp_path / "out")
    assert len(labelled) == 4
    for i in range(4):
        found, wanted = labelled[i].annotations, truth[i].annotations.boxes
        np.testing.assert_allclose(found.boxes.values, wanted.values, atol=1e-4)
        np.testing.assert_allclose(found.boxes.scores, (0.1, 0.2, 0.3, 0.4))
        assert found.boxes.names == wanted.names
        assert found.num_lidar_pts.tolist() == [7] * 4


def test_labels_made_of_another_container_are_found_by_their_stamps(
    box_scenes: Callable[..., BoxScenes], tmp_path: Path
) -> None:
    truth = box_scenes(num_samples=3)
    source = Somewhere(truth)
    write_labels(tmp_path, source, truth)

    class Renamed(Somewhere):
        def __getitem__(self, index: int) -> Sample:
            return dataclasses.replace(super().__getitem__(index), token=f"other-{index}")

    found = PseudoLabelledSource(Renamed(truth), tmp_path)[2].annotations.boxes
    np.testing.assert_allclose(found.values, truth[2].annotations.boxes.values, atol=1e-4)


def test_detections_count_by_their_score(box_scenes: Callable[..., BoxScenes], tmp_path: Path) -> None:
    truth = box_scenes(num_samples=2)
    boxes = dataclasses.replace(truth[0].annotations.boxes, scores=np.array([0.9, 0.8, 0.7, 0.6]))
    file = tmp_path / "detections.json"
    write_results(file, {"scene-0": boxes, "scene-1": Boxes3D.empty(NUSCENES_CLASSES)}, {"frame": "lidar"})
    labelled = PseudoLabelledSource(Somewhere(truth), file)
    np.testing.assert_allclose(labelled[0].annotations.boxes.scores, (0.9, 0.8, 0.7, 0.6))
    assert len(labelled[1].annotations.boxes) == 0


def test_a_sample_without_an_entry_is_refused_and_not_taken_for_an_empty_one(
    box_scenes: Callable[..., BoxScenes], tmp_path: Path
) -> None:
    truth = box_scenes(num_samples=2)
    write_results(tmp_path / "labels.json", {"scene-0": truth[0].annotations.boxes}, {"frame": "lidar"})
    labelled = PseudoLabelledSource(Somewhere(truth), tmp_path)
    assert len(labelled[0].annotations.boxes) == 4
    with pytest.raises(DatasetError, match="sample scene-1 of boxes has no entry"):
        labelled[1]


def test_labels_in_the_world_need_ego_motion(box_scenes: Callable[..., BoxScenes], tmp_path: Path) -> None:
    truth = box_scenes(num_samples=1)
    write_labels(tmp_path, Somewhere(truth), truth)
    with pytest.raises(DatasetError, match="source without ego-motion"):
        PseudoLabelledSource(Somewhere(truth, with_motion=False), tmp_path)[0]


def test_no_labels_is_one_clear_line(box_scenes: Callable[..., BoxScenes], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no labels\.json; expected a results JSON"):
        PseudoLabelledSource(box_scenes(), tmp_path)


def test_quality_becomes_the_weight_and_filled_in_labels_are_kept_where_there_are_points(
    spec: ModelSpec, box_scenes: Callable[..., BoxScenes], tmp_path: Path
) -> None:
    truth = box_scenes(num_samples=1)
    source = Somewhere(truth)
    labels = labels_of(truth[0], (0.25, 0.5, 0.75, 1.0))
    labels.num_points[:] = (0, 3, 0, 3)  # the first and third were filled in by a track; the scene has their points
    nowhere = labels.boxes.values.copy()
    nowhere[2, 2] += 50.0
    labels = dataclasses.replace(labels, boxes=dataclasses.replace(labels.boxes, values=nowhere))
    write_drive(tmp_path, [LabelledFrame.of(0, source[0], labels, LeftOut())], {})
    dataset = DetectionDataset(PseudoLabelledSource(source, tmp_path), spec, 2, augment=NO_AUGMENTATION, seed=0)
    assert dataset[ExampleKey(0, 0)].targets.weight.tolist() == [0.25, 0.5, 1.0]


def test_unknown_velocities_stay_unknown(spec: ModelSpec, box_scenes: Callable[..., BoxScenes], tmp_path: Path) -> None:
    truth = box_scenes(num_samples=1)
    source = Somewhere(truth)
    labels = labels_of(truth[0], (1.0,) * 4)
    labels.boxes.values[:, 7:9] = np.nan
    write_drive(tmp_path, [LabelledFrame.of(0, source[0], labels, LeftOut())], {})
    dataset = DetectionDataset(PseudoLabelledSource(source, tmp_path), spec, 2, augment=NO_AUGMENTATION, seed=0)
    regression = dataset[ExampleKey(0, 0)].targets.regression
    assert np.isnan(regression[:, 8:]).all()
    assert np.isfinite(regression[:, :8]).all()


def test_samples_between_the_labelled_ones_are_left_out(box_scenes: Callable[..., BoxScenes], tmp_path: Path) -> None:
    truth = box_scenes(num_samples=5)
    source = Somewhere(truth)
    every_other = [LabelledFrame.of(i, source[i], labels_of(truth[i], (1.0,) * 4), LeftOut()) for i in (0, 2, 4)]
    write_drive(tmp_path / "half", every_other, {})
    labelled = open_labelled(source, tmp_path / "half")
    assert [labelled[i].token for i in range(len(labelled))] == ["scene-0", "scene-2", "scene-4"]
    write_labels(tmp_path / "all", source, truth)
    assert isinstance(open_labelled(source, tmp_path / "all"), PseudoLabelledSource)


def test_labels_of_another_drive_are_refused(box_scenes: Callable[..., BoxScenes], tmp_path: Path) -> None:
    truth = box_scenes(num_samples=3)
    write_results(tmp_path / "labels.json", {"elsewhere": truth[0].annotations.boxes}, {"frame": "lidar"})
    with pytest.raises(DatasetError, match="none of the 3 samples is among the 1 of"):
        open_labelled(Somewhere(truth), tmp_path)


def test_names_labels_and_poses_need_no_cloud(box_scenes: Callable[..., BoxScenes], tmp_path: Path) -> None:
    truth = box_scenes(num_samples=3)
    source = Somewhere(truth)
    write_labels(tmp_path, source, truth)
    assert_names_labels_and_poses_need_no_cloud(ConcatSource([PseudoLabelledSource(source, tmp_path)] * 2))
