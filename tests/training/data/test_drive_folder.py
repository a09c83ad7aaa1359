from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lidarloop_core.errors import DatasetError
from lidarloop_core.io.results import write_results
from lidarloop_core.sample import Sample
from lidarloop_training.data.drive_folder import DriveFolder
from lidarloop_training.data.nuscenes.writer import write_nuscenes
from tests.training.sources import MadeSource

if TYPE_CHECKING:
    from tests.training.conftest import BoxScenes


class Drive(MadeSource):
    """Two samples, half a second apart."""

    def __init__(self, source: Any, scene: str) -> None:
        self.source = source
        self.scene = scene

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        stamp_ns = sample.stamp_ns + index * 500_000_000
        sweep = dataclasses.replace(sample.keyframe, stamp_ns=stamp_ns)
        token = f"{self.scene}-{index}"
        return dataclasses.replace(sample, scene=self.scene, token=token, stamp_ns=stamp_ns, sweeps=(sweep,))


@pytest.fixture(scope="module")
def tables(box_scenes: Callable[..., BoxScenes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drives as folders of nuScenes tables in one folder, and one beside it."""
    root = tmp_path_factory.mktemp("drives")
    for place, scene in (("pool/a", "first"), ("pool/b", "second"), ("other", "third")):
        write_nuscenes(Drive(box_scenes(), scene), root / place, keyframe_every=1, cameras=False)
    return root


def test_a_folder_of_folders_is_read_as_one(tables: Path) -> None:
    data = DriveFolder(tables / "pool")
    source = data.open_training(num_sweeps=2)
    assert [source[i].scene for i in range(len(source))] == ["first"] * 2 + ["second"] * 2
    assert [len(source[i].sweeps) for i in range(len(source))] == [1, 2, 1, 2]
    assert len(data.open_validation(num_sweeps=2)) == 0


def test_validation_lies_apart(tables: Path) -> None:
    data = DriveFolder(tables / "pool", validation=tables / "other")
    validation = data.open_validation(num_sweeps=1)
    assert [validation[i].scene for i in range(len(validation))] == ["third"] * 2


def test_labels_take_the_place_of_annotations(tables: Path, tmp_path: Path) -> None:
    plain = DriveFolder(tables / "other").open_training(num_sweeps=1)
    boxes = plain[1].annotations.boxes[:2]
    write_results(tmp_path / "labels.json", {plain[i].token: boxes for i in range(2)}, {"frame": "lidar"})
    labelled = DriveFolder(tables / "other", labels=tmp_path / "labels.json").open_training(num_sweeps=1)
    for i in range(2):
        np.testing.assert_allclose(labelled[i].annotations.boxes.values, boxes.values, rtol=1e-5)


def test_other_sources_are_opened_by_their_names(tables: Path) -> None:
    source = DriveFolder(tables / "other", source="nuscenes").open_training(num_sweeps=1)
    assert len(source) == 2
    with pytest.raises(DatasetError, match="does not exist; expected the file or folder of a bag drive"):
        DriveFolder(tables / "drive.mcap", source="bag").open_training(num_sweeps=1)
    with pytest.raises(DatasetError, match="does not exist"):
        DriveFolder(tables / "nowhere").open_training(num_sweeps=1)
