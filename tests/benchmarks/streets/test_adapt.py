from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.records import read
from benchmarks.streets import adapt
from benchmarks.streets.drives import RealDrive
from lidarloop_core.errors import ConfigError
from lidarloop_core.io.results import write_results
from tests.training.conftest import BoxScenes


def row(arm: str, name: str, car: float, **more: Any) -> dict[str, Any]:
    return {"arm": arm, "scored_on": name, "ap_2m": {"car": car}, "minutes": 80.0, "peak_mb": 900.0, **more}


def holds(rows: list[dict[str, Any]]) -> dict[str, bool | None]:
    table = {(r["arm"], r["scored_on"]): r for r in rows}
    return {found.what: found.holds for found in adapt._rows_of("kitti-0003", table)}


@pytest.mark.parametrize(("car", "source", "good"), [(0.56, 0.3, True), (0.54, 0.2, False), (0.6, 0.4, False)])
def test_on_other_drives_the_adapted_model_is_held_against_a_figure_and_the_source(
    car: float, source: float, good: bool
) -> None:
    found = holds([row("source", "kitti-0001", source), row("adapted", "kitti-0001", car)])
    assert found["adapted to kitti-0003, on kitti-0001: AP of car"] is good


@pytest.mark.parametrize(("car", "good"), [(0.84, True), (0.82, False)])
def test_on_its_own_drive_it_is_held_against_the_labels(car: float, good: bool) -> None:
    rows = [
        row("source", "kitti-0003", 0.2),
        row("pseudo-labels", "kitti-0003", 0.8),
        row("adapted", "kitti-0003", car),
    ]
    found = holds(rows)
    assert found["adapted to kitti-0003, on kitti-0003: AP of car, against its pseudo-labels"] is good
    assert found["adapted to kitti-0003: minutes from unlabelled drive to model"] is True


def test_without_what_it_is_held_against_it_falls_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(holds([row("adapted", "kitti-0001", 0.9)]).values()) == [False]
    found = holds([row("source", "kitti-0003", 0.2), row("adapted", "kitti-0003", 0.9)])
    assert found["adapted to kitti-0003, on kitti-0003: AP of car, against its pseudo-labels"] is False
    monkeypatch.setattr(adapt, "RESULTS", tmp_path / "none.jsonl")
    assert [found.holds for found in adapt.adaptation(None)] == [False]  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class Scenes:
    """A drive of two made scenes."""

    name: str = "scenes"

    def open(self, **_: Any) -> BoxScenes:
        return BoxScenes(num_samples=2)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> adapt.Study:
    made: Any = RealDrive(Scenes(), front_only=False)  # type: ignore[arg-type]
    monkeypatch.setattr(adapt, "drives", lambda: {"kitti-0003": made})
    return adapt.Study(work=tmp_path / "work", results=tmp_path / "results.jsonl")


def test_a_score_is_written_once_and_again_when_the_labels_are_others(study: adapt.Study, tmp_path: Path) -> None:
    """Labels that are the truth have AP 1; with half of them missing it is less."""
    labels, scenes = tmp_path / "labels.json", BoxScenes(num_samples=2)
    truth = {sample.token: sample.annotations.boxes for sample in (scenes[0], scenes[1])}  # type: ignore[union-attr]
    write_results(labels, truth, {"frame": "lidar"})
    for _ in range(2):
        adapt.write_score(study, "pseudo-labels", (), "kitti-0003", labels)
    (written,) = read(study.results)
    assert set(written["ap_2m"].values()) == {1.0}
    assert written["num_frames"] == 2
    write_results(labels, {token: boxes[np.arange(2)] for token, boxes in truth.items()}, {"frame": "lidar"})
    adapt.write_score(study, "pseudo-labels", (), "kitti-0003", labels)
    first, second = read(study.results)
    assert first == written
    assert min(second["ap_2m"].values()) < 1


def test_unknown_arms_are_refused_with_those_there_are(study: adapt.Study) -> None:
    with pytest.raises(ConfigError, match=r"received arms best .* expected some of source, adapted"):
        dataclasses.replace(study, arms=("best",))
