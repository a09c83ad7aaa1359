"""``lidarloop paint`` and the toy town's own painting, on two frames of a drive."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("embreex", reason="no ray caster here: pip install lidarloop[toytown]")

from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import points_in_boxes
from lidarloop_core.sample import SampleSource
from lidarloop_training.commands.paint import PaintRequest, ToyTownPaintRequest, paint
from lidarloop_training.data.drive_spec import NuScenes, ToyTown
from lidarloop_training.data.toytown.training_drives import ToyTownDrives, open_drives, prepare
from lidarloop_training.data.views.painted import PaintedSource
from lidarloop_training.data.writing.paints import painted_classes
from lidarloop_training.painting.score_model_choice import SemanticModelSpec
from lidarloop_training.pseudolabel.mask_model_choice import ToyTownMaskModelSpec
from lidarloop_training.toytown.faults.rates import FaultRates

FAULTLESS = FaultRates(missed=0, merged=0, mislabelled=0, loose=0)


def share_of_cars_painted_car(source: SampleSource) -> float:
    """Of the seen points in boxes of cars."""
    hits, number = 0, 0
    for i in range(len(source)):
        sample = source[i]
        assert sample.annotations is not None
        columns, points = sample.keyframe.columns, sample.keyframe.points
        cars = sample.annotations.boxes.values[np.array(sample.annotations.boxes.names) == "car"]
        inside = points_in_boxes(points, cars).any(axis=0) & (points[:, columns.index("seen")] == 1)
        hits += int((points[inside, columns.index("paint_car")] > 0).sum())
        number += int(inside.sum())
    assert number > 50
    return hits / number


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> ToyTownDrives:
    root = tmp_path_factory.mktemp("drives")
    return ToyTownDrives(
        root=root,
        num_train_drives=1,
        num_validation_drives=0,
        duration_s=0.2,
        keyframe_every=1,
        num_processes=1,
        painted=True,
        paint_faults=FAULTLESS,
    )


def test_training_drives_are_painted_when_they_are_made(drives: ToyTownDrives) -> None:
    made: list[int] = []
    prepare(drives, 2, lambda done, of: made.append(of))
    prepare(drives, 2, lambda done, of: made.append(of))
    assert made == [1]
    source = open_drives(drives, drives.train_seeds, 2)
    assert source[1].sweeps[1].columns[-2:] == ("paint_traffic_cone", "paint_barrier")
    assert share_of_cars_painted_car(source) > 0.8


def test_other_faults_are_other_paints(drives: ToyTownDrives) -> None:
    assert dataclasses.replace(drives, paint_faults=FaultRates()).paints != drives.paints


def test_a_drive_is_painted_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drive = ToyTown(3, duration_s=0.2)
    request = ToyTownPaintRequest(drive, tmp_path / "paints", num_sweeps=1)
    paint(request)
    first = capsys.readouterr().out
    paint(request)
    again = capsys.readouterr().out
    assert "painted 2 samples with toytown masks" in first
    assert "painted 0 samples" in again
    folder = Path(first.split("--data.paints ")[1].strip())
    assert folder.parent == tmp_path / "paints"
    assert len(painted_classes(folder)) == 10
    assert PaintedSource(drive.open(cameras=False), folder)[1].keyframe.columns[-10] == "paint_car"


def test_a_network_that_misses_everything_paints_nothing_into_a_folder_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = ToyTown(3, duration_s=0.1)
    folders = []
    for missed in (0.0, 1.0):
        faults = dataclasses.replace(FAULTLESS, missed=missed)
        paint(ToyTownPaintRequest(drive, tmp_path, num_sweeps=1, toytown=ToyTownMaskModelSpec(faults=faults)))
        folders.append(Path(capsys.readouterr().out.split("--data.paints ")[1].strip()))
    assert folders[0] != folders[1]
    faultless, blind = (share_of_cars_painted_car(PaintedSource(drive.open(cameras=False), f)) for f in folders)
    assert blind == 0 < faultless


def test_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="received no --mask-model; expected the network to paint with"):
        PaintRequest(NuScenes(tmp_path), tmp_path / "out").chosen()


def test_options_of_a_network_that_was_not_named_are_refused(tmp_path: Path) -> None:
    request = PaintRequest(
        NuScenes(tmp_path), tmp_path / "out", mask_model="onnx", semantic=SemanticModelSpec(Path("network.onnx"))
    )
    with pytest.raises(ConfigError, match="received options of --mask-model semantic without it"):
        request.chosen()


def test_a_semantic_network_needs_its_file() -> None:
    with pytest.raises(ConfigError, match=r"expected one: --semantic\.file FILE"):
        SemanticModelSpec().open()
