"""The rows of S2M2-SSD's tables from the study's stored runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.checks import Row, at_least, report_only
from benchmarks.distillation.arms import (
    FULL,
    STUDENT,
    TEACHER,
    filters_of_table_5,
    instances_of_table_7,
    levels_of_table_3,
    mining_of_table_4,
    open_choices,
)
from benchmarks.distillation.study import RESULTS
from benchmarks.records import read

LEAST_GAP = 4.0
LEAST_FILLED = 0.72
LEAST_SEEDS = {TEACHER: 3, STUDENT: 3, FULL: 3}
OTHER_SEEDS = 2

TABLES: dict[str, tuple[str, ...]] = {
    "table 2": (TEACHER, STUDENT, FULL),
    "table 3": (STUDENT, *(arm.name for arm in levels_of_table_3()), FULL),
    "table 4": (STUDENT, *(arm.name for arm in mining_of_table_4()), "response"),
    "table 5": (STUDENT, *(arm.name for arm in filters_of_table_5()), "voxel"),
    "table 7": (STUDENT, *(arm.name for arm in instances_of_table_7()), "instance"),
    "open choices": ("voxel", "point", "response", *(arm.name for arm in open_choices())),
}


class Runs:
    """The finished runs of one study.

    Args:
        rows: lines of the results.
    """

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.studies = {row["study"] for row in rows}
        self._by_arm: dict[str, list[dict[str, Any]]] = {}
        for row in sorted(rows, key=lambda row: row["seed"]):
            self._by_arm.setdefault(row["arm"], []).append(row)

    def points(self, arm: str, metric: str = "mAP") -> list[float]:
        """A metric in points for each seed, in order of the seeds."""
        return [100 * row[metric] for row in self._by_arm.get(arm, [])]

    def mean(self, arm: str, metric: str) -> float:
        """The mean of a value over the seeds; NaN where it was not recorded."""
        values = [row[metric] for row in self._by_arm.get(arm, []) if metric in row]
        return float(np.mean(values)) if values else float("nan")

    def has(self, *arms: str) -> bool:
        """Whether each arm has run with as many seeds as is promised."""
        return all(len(self._by_arm.get(arm, [])) >= LEAST_SEEDS.get(arm, OTHER_SEEDS) for arm in arms)


def rows_of_tables(results: Path = RESULTS) -> Iterator[Row]:
    """All tables; what has not run, or with too few seeds, falls short and names the command that runs it."""
    runs = Runs(read(results))
    if len(runs.studies) > 1:
        reason = f"{results.name} holds runs of {len(runs.studies)} studies of other sizes: keep those of one"
        yield Row("tables: runs of one study", len(runs.studies), "1", False, reason)
        return
    for table, names in TABLES.items():
        for name in names:
            yield _reported(f"{table}: {name}", runs, name)
    yield from _promised(runs)
    yield from _directions(runs)
    yield from _costs_of_table_5(runs)


def _promised(runs: Runs) -> Iterator[Row]:
    """Table 2's targets."""
    gap, filled = (
        "table 2: teacher − student, mAP points",
        "table 2: share of the gap in mAP that the full student fills",
    )
    if not runs.has(TEACHER, STUDENT, FULL):
        yield _absent(gap, f"≥ {LEAST_GAP:g}")
        yield _absent(filled, f"≥ {LEAST_FILLED:g}")
        return
    teacher, student, full = (float(np.mean(runs.points(arm))) for arm in (TEACHER, STUDENT, FULL))
    yield at_least(gap, teacher - student, LEAST_GAP)
    yield at_least(filled, (full - student) / (teacher - student), LEAST_FILLED)


def _directions(runs: Runs) -> Iterator[Row]:
    """What goes up in the paper's ablations."""
    pairs = (
        *((f"table 3: {level} alone", level, STUDENT) for level in ("response", "voxel", "point", "instance")),
        ("table 3: all levels over the response alone", FULL, "response"),
        ("table 4: crucial responses over all", "responses: crucial", "responses: all"),
        ("table 5: crucial voxels over all", "voxel", "voxels: cons&rel w/o filter"),
        ("table 7: the student's boxes over labelled ones", "instance", "instances: gt-boxes"),
    )
    for what, better, worse in pairs:
        what = f"{what}: mAP points gained, as in the paper"
        if not runs.has(better, worse):
            yield _absent(what, "≥ 0")
            continue
        number = min(len(runs.points(better)), len(runs.points(worse)))  # of the seeds that both have
        gained = np.subtract(runs.points(better)[:number], runs.points(worse)[:number])
        yield at_least(what, float(np.mean(gained)), 0.0)


def _costs_of_table_5(runs: Runs) -> Iterator[Row]:
    for name in TABLES["table 5"][1:]:
        for value, words in (
            ("voxels", "voxels compared, mean of a cloud"),
            ("consistency_flops", "operations of equation 5"),
            ("relation_flops", "operations of equation 6"),
        ):
            if runs.has(name):
                yield report_only(f"table 5: {name}: {words}", runs.mean(name, value))


def _reported(what: str, runs: Runs, arm: str) -> Row:
    values = runs.points(arm)
    if not runs.has(arm):
        return _absent(f"{what}: mAP points", "a stored run", f"{len(values)} seeds; ")
    spread = f" ± {np.std(values, ddof=1):.1f}"
    nds = f"NDS {np.mean(runs.points(arm, 'NDS')):.1f}, {len(values)} seeds"
    return report_only(f"{what}: mAP points{spread}", float(np.mean(values)), nds)


def _absent(what: str, target: str, found: str = "") -> Row:
    return Row(what, None, target, False, f"{found}not run: python -m benchmarks.distillation.study")
