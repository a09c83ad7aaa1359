"""The tables of distillation, from made results: what is promised holds or falls short by the numbers alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from benchmarks.checks import Row
from benchmarks.distillation.arms import FULL, STUDENT, TEACHER, arms
from benchmarks.distillation.study import Study, missing
from benchmarks.distillation.tables import TABLES, rows_of_tables

GAP = "table 2: teacher − student, mAP points"
FILLED = "table 2: share of the gap in mAP that the full student fills"


def line(arm: str, seed: int, mean_ap: float, **more: Any) -> dict[str, Any]:
    return {"study": "made", "arm": arm, "seed": seed, "mAP": mean_ap, "NDS": mean_ap, **more}


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "distillation.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def three(arm: str, mean_ap: float) -> list[dict[str, Any]]:
    return [line(arm, seed, mean_ap + 0.01 * (seed - 1)) for seed in range(3)]


def table_2(teacher: float, student: float, full: float) -> list[dict[str, Any]]:
    return [*three(TEACHER, teacher), *three(STUDENT, student), *three(FULL, full)]


def rows(path: Path) -> dict[str, Row]:
    return {row.what: row for row in rows_of_tables(path)}


def named(found: dict[str, Row], start: str) -> Row:
    (row,) = (row for what, row in found.items() if what.startswith(start))
    return row


@pytest.mark.parametrize(("full", "holds"), [(0.462, False), (0.4633, True), (0.48, True)])
def test_the_gap_filled_is_a_share_of_the_gap(tmp_path: Path, full: float, holds: bool) -> None:
    found = rows(written(tmp_path, *table_2(0.48, 0.42, full)))
    assert found[GAP].value == pytest.approx(6.0)
    assert found[FILLED].value == pytest.approx((full - 0.42) / 0.06)
    assert (found[GAP].holds, found[FILLED].holds) == (True, holds)


def test_a_gap_that_is_too_small_falls_short(tmp_path: Path) -> None:
    assert rows(written(tmp_path, *table_2(0.45, 0.42, 0.45)))[GAP].holds is False


def test_without_results_every_row_falls_short_and_says_what_to_run(tmp_path: Path) -> None:
    found = list(rows_of_tables(tmp_path / "nothing.jsonl"))
    assert len(found) > 20
    assert all(row.holds is False and "python -m benchmarks.distillation.study" in row.note for row in found)


def test_too_few_seeds_fall_short(tmp_path: Path) -> None:
    path = written(tmp_path, *[row for row in table_2(0.48, 0.42, 0.47) if row["seed"] < 2])
    found = rows(path)
    assert found[GAP].holds is False
    assert "2 seeds" in named(found, f"table 2: {TEACHER}:").note


def test_a_direction_is_of_the_seeds_that_both_have(tmp_path: Path) -> None:
    responses = [line("response", seed, 0.44) for seed in range(2)]
    path = written(tmp_path, *table_2(0.48, 0.42, 0.47), *responses)
    gained = named(rows(path), "table 3: response alone: mAP points gained")
    assert gained.value == pytest.approx(2.5)  # over 41 and 42, not over 43
    assert gained.holds is True


def test_results_of_two_studies_fall_short(tmp_path: Path) -> None:
    other = {**line(FULL, 0, 0.4), "study": "other"}
    (row,) = rows_of_tables(written(tmp_path, *table_2(0.48, 0.42, 0.47), other))
    assert row.holds is False


def test_costs_of_table_5_are_reported(tmp_path: Path) -> None:
    voxels = [line("voxel", seed, 0.44, voxels=984.0, consistency_flops=2.5e5, relation_flops=1.5e9) for seed in (0, 1)]
    found = rows(written(tmp_path, *table_2(0.48, 0.42, 0.47), *voxels))
    assert named(found, "table 5: voxel: voxels compared").value == 984


def test_every_row_of_the_tables_is_an_arm_that_is_run() -> None:
    names = [arm.name for arm in arms()]
    assert len(set(names)) == len(names)
    assert {name for table in TABLES.values() for name in table} == set(names)


def test_runs_that_are_stored_are_not_run_again(tmp_path: Path) -> None:
    study = Study(seeds=(0, 1), other_seeds=(0,))
    stored = [{**line(TEACHER, 0, 0.4), "study": study.key}, line(STUDENT, 0, 0.4)]
    todo = [
        (arm.name, seed) for arm, seed in missing(study, written(tmp_path, *stored), only=(TEACHER, STUDENT, "voxel"))
    ]
    assert todo == [(TEACHER, 1), (STUDENT, 0), (STUDENT, 1), ("voxel", 0)]


def test_a_study_of_another_size_has_another_key_and_one_elsewhere_the_same() -> None:
    assert Study(steps=1).key != Study().key
    assert Study(folder=Path("elsewhere"), seeds=(7,)).key == Study().key
