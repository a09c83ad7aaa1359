"""The zero-shot study: what it reads back, how it judges a row, and one row of it on a second of a drive."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pseudolabels import zero_shot_study as study
from benchmarks.pseudolabels.stored_drive import StoredDrive
from lidarloop_training.pseudolabel.ablations import Trial, trials
from lidarloop_training.toytown.drive import ToyTownDrive


def test_a_stored_drive_gives_the_same_samples_as_the_drive(tmp_path: Path) -> None:
    drive = ToyTownDrive(3000, duration_s=0.3, num_sweeps=2)
    made, read = (StoredDrive(tmp_path, 3000, duration_s=0.3, num_sweeps=2) for _ in range(2))

    for stored in (made, read):
        sample, want = stored[1], drive[1]
        assert sample.token == want.token
        for sweep, other in zip(sample.sweeps, want.sweeps, strict=True):
            np.testing.assert_array_equal(sweep.points, other.points)
        np.testing.assert_array_equal(sample.annotations.boxes.values, want.annotations.boxes.values)
        np.testing.assert_array_equal(sample.annotations.num_lidar_pts, want.annotations.num_lidar_pts)
        np.testing.assert_array_equal(sample.cameras[2].load(), want.cameras[2].load())
        assert stored.instance_masks(1, "CAM_BACK") == drive.instance_masks(1, "CAM_BACK")
    assert {p.suffix for p in (tmp_path / drive.scene).iterdir()} == {".npz"}


def test_a_row_can_be_computed_from_what_is_stored(tmp_path: Path) -> None:
    drives = study.Drives(tmp_path, num_drives=1, duration_s=1.0)
    with study.Study(drives, 1) as running:
        trial = Trial("LiDAR only", "paper", sensors="lidar")
        score = running.score(trial)
        row = study.score_document(score)

    again = study.recomputed(row)

    assert score.metrics.mean_ap > 0.02
    assert again["mAP"] == pytest.approx(score.metrics.mean_ap)
    assert again["NDS"] == pytest.approx(score.metrics.nds)
    assert again["errors"] == pytest.approx(dict(score.metrics.errors))
    assert row["standing"]["objects"] + row["moving"]["objects"] == sum(c["objects"] for c in row["classes"].values())


@pytest.mark.parametrize(
    ("expect", "verdict", "reason", "holds"),
    [
        ("worse", "worse", "", True),
        ("worse", "better", "", False),
        ("worse", "", "", False),
        ("worse", "better", "things move", None),
        ("better", "better", "", True),
        ("either", "", "", None),
    ],
)
def test_a_row_holds_if_as_expected_and_is_only_reported_if_the_reason_is_known(
    expect: str, verdict: str, reason: str, holds: bool | None
) -> None:
    trial = Trial("one", "paper", expect=expect, because="they say so", reason=reason)
    change = {"value": -0.05, "low": -0.08, "high": -0.01, "verdict": verdict}

    row = study.ablation_row(trial, {"mAP": 0.3, "errors": {}, "against_base": {"mAP": change}})

    assert row.holds is holds
    assert row.value == 0.3
    assert row.note == (reason if verdict != expect else "")
    assert "-0.050 (-0.080 … -0.010)" in row.what
    assert row.target == ("either" if expect == "either" else f"{expect} than paper") + ": they say so"


def test_a_row_that_was_not_run_falls_short() -> None:
    assert study.ablation_row(Trial("one", "paper"), None).holds is False


def test_the_stored_results_have_every_row_of_the_study() -> None:
    if not study.RESULTS.is_file():
        pytest.skip(f"no {study.RESULTS}: run benchmarks.pseudolabels.zero_shot_study")
    document = json.loads(study.RESULTS.read_text())
    assert [row["name"] for row in document["rows"]] == [trial.name for trial in trials()]
    assert {"command", "seeds", "commit", "machine", "versions", "fault_rates", "short"} <= document.keys()
