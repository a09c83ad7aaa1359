"""The table of sensors, from made results: a direction holds or falls short by the numbers alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from benchmarks.checks import Row
from benchmarks.distillation.fusion_study import (
    FUSED,
    LIDAR,
    PRETRAINED,
    SCRATCH,
    SENSORS,
    STARTS,
    rows_of_fusion,
    task,
)


def rows(folder: Path, points: dict[tuple[str, str], list[float]], study: str = "made") -> dict[str, Row]:
    path = folder / "fusion.jsonl"
    with path.open("a") as file:
        for (sensors, start), values in points.items():
            for seed, value in enumerate(values):
                line = {"study": study, "sensors": sensors, "start": start, "seed": seed, "mAP": value / 100}
                file.write(json.dumps(line) + "\n")
    return {row.what: row for row in rows_of_fusion(path)}


def test_gains_are_means_of_the_seeds_that_both_have(tmp_path: Path) -> None:
    found = rows(
        tmp_path, {(LIDAR, SCRATCH): [20, 30, 90], (LIDAR, PRETRAINED): [26, 32], (FUSED, PRETRAINED): [25, 32]}
    )
    gained = found[f"fusion: {LIDAR}, pre-trained over scratch: mAP points gained, as in CM3D"]
    assert (gained.value, gained.holds) == (pytest.approx(4.0), True)
    lost = found[f"fusion: fused over LiDAR alone, {PRETRAINED}: mAP points gained, as in CM3D"]
    assert (lost.value, lost.holds) == (pytest.approx(-0.5), False)
    reported = found[f"fusion: {LIDAR}, {PRETRAINED}: mAP points ± 4.2"]
    assert (reported.value, reported.holds) == (pytest.approx(29.0), None)


def test_what_has_not_run_falls_short_and_names_the_command(tmp_path: Path) -> None:
    found = rows(tmp_path, {(LIDAR, SCRATCH): [20]})
    assert len(found) == len(SENSORS) * len(STARTS) + 5
    assert all(row.holds is False and "benchmarks.distillation.fusion_study" in row.note for row in found.values())


def test_runs_of_two_studies_are_not_mixed(tmp_path: Path) -> None:
    rows(tmp_path, {(LIDAR, SCRATCH): [20]})
    (row,) = rows(tmp_path, {(LIDAR, SCRATCH): [21]}, study="another").values()
    assert row.holds is False


@pytest.mark.parametrize("sensors", SENSORS)
def test_networks_of_all_sensors_are_built(sensors: str) -> None:
    """Backbone and head are the same, so that sensors alone differ."""
    lidar, other = task(LIDAR).task().build().state_dict(), task(sensors).task().build().state_dict()
    shared = [name for name in lidar if name.startswith(("backbone", "head"))]
    assert shared
    assert all(lidar[name].shape == other[name].shape for name in shared)
