"""What is promised of pseudo-labels on real drives, from the raw results of ``benchmarks.streets.labels``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.checks import Context, Row, at_least, at_most, report_only
from benchmarks.streets.drives import REPORTED, TUNING, drives
from benchmarks.streets.labels import RESULTS, Networks, rows_by_name, score_drive
from lidarloop_training.pseudolabel.ablations import ALL_CANDIDATES, candidates

CAR_AP, PEDESTRIAN_AP = 0.82, 0.45
MOST_TURNED, MOST_DOUBLES = 0.08, 0.03
LENGTH_M, WIDTH_M = 0.25, 0.10
LIVE_POINTS = 0.05
LEAST_PRECISION = LEAST_RECALL = 0.70
ANEW_TOLERANCE = 0.02

Judge = Callable[[str, float, float], Row]
"""``at_least`` or ``at_most``."""

Scores = Mapping[str, Any]
"""Name of a figure of ``ClassScore`` → its value."""


def pseudo_labels(context: Context) -> Iterator[Row]:
    """Targets of the reported drives, both recipes side by side, each step's gain; a small part is run anew."""
    runs = read_runs(RESULTS)
    for drive in REPORTED:
        yield from both_recipes(drive, runs)
    for drive in ("kitti-0003", "pandaset-002"):
        yield from targets(drive, runs.get((drive, "full"), {}), runs.get((drive, "full, not refined"), {}))
    car = runs.get(("kitti-object-odd", "full"), {}).get("car")
    yield _or_missing("KITTI object, odd frames: precision of cars", car, "precision", at_least, LEAST_PRECISION)
    yield _or_missing("  recall", car, "recall", at_least, LEAST_RECALL)
    for drive in (*TUNING, *REPORTED):
        yield from gains(drive, runs)
    yield from _anew(context, runs)


def read_runs(results: Path) -> dict[tuple[str, str], dict[str, Scores]]:
    """(drive, row) → class → scores; empty where nothing was run."""
    if not results.is_file():
        return {}
    return {(run["drive"], run["row"]): run["classes"] for run in json.loads(results.read_text())["runs"]}


def both_recipes(drive: str, runs: Mapping[tuple[str, str], Mapping[str, Scores]]) -> Iterator[Row]:
    """The full pipeline beside the paper's, class by class."""
    full, paper = runs.get((drive, "full"), {}), runs.get((drive, "paper"), {})
    for name, scores in full.items():
        beside = "" if name not in paper else f" (the paper's recipe: {paper[name]['ap']:.3f})"
        yield report_only(f"{drive}: AP of {name}, {scores['objects']} boxes{beside}", scores["ap"])
        for figure, what in _REPORTED_FIGURES.items():
            if scores[figure] is not None:
                yield report_only(f"  {what}", scores[figure])


def targets(drive: str, full: Mapping[str, Scores], live: Mapping[str, Scores]) -> Iterator[Row]:
    """What the labels of one drive have to reach; a row falls short where nothing was run.

    Args:
        drive: its name.
        full: class → scores of the full pipeline.
        live: class → scores of the same frames without refinement, as a vehicle labels them.
    """
    car = full.get("car")
    yield _or_missing(f"{drive}: AP of cars", car, "ap", at_least, CAR_AP)
    if drive == "pandaset-002":
        yield _or_missing(f"{drive}: AP of pedestrians", full.get("pedestrian"), "ap", at_least, PEDESTRIAN_AP)
    yield _or_missing("  cars turned by more than 90°, share", car, "turned", at_most, MOST_TURNED)
    yield _or_missing("  median error of their lengths, m", car, "length_m", at_most, LENGTH_M)
    yield _or_missing("  median error of their widths, m", car, "width_m", at_most, WIDTH_M)
    yield _or_missing("  share of cars that overlap another", car, "doubles", at_most, MOST_DOUBLES)
    what = f"{drive}: AP of cars, offline less live labels of the same frames"
    if car is None or "car" not in live:
        yield Row(what, None, f"≤ {LIVE_POINTS:g}", False, "not run")
    else:
        yield at_most(what, car["ap"] - live["car"]["ap"], LIVE_POINTS)
        yield report_only("  live labels above the boxes, median, m", live["car"]["above_m"])


def gains(drive: str, runs: Mapping[tuple[str, str], Mapping[str, Scores]]) -> Iterator[Row]:
    """AP of cars with each further step less that without it, where both were run."""
    for trial in candidates():
        left_out = trial.name.startswith(f"{ALL_CANDIDATES} but ")
        without, with_it = ("full", trial.name) if not left_out else (trial.name, ALL_CANDIDATES)
        before, after = (runs.get((drive, row), {}).get("car") for row in (without, with_it))
        if before is not None and after is not None:
            change = ", ".join(
                f"{title} {before[figure]:.3f} → {after[figure]:.3f}"
                for figure, title in _CHANGES.items()
                if None not in (before[figure], after[figure]) and before[figure] != after[figure]
            )
            what = f"{drive}, AP of cars gained: {with_it} against {without} ({change or 'no change'})"
            yield report_only(what, after["ap"] - before["ap"])


_REPORTED_FIGURES = {
    "ap_2m": "AP at 2 m",
    "precision": "precision of labels with a score of 0.05",
    "recall": "recall",
    "centre_m": "median centre error, m",
    "axis_rad": "median heading error modulo half a turn, rad",
    "heading_rad": "mean heading error, rad",
    "velocity_mps": "mean velocity error, m/s",
    "interruptions": "interruptions per object found",
    "filled": "share of labels filled in",
}

_CHANGES = {"precision": "precision", "recall": "recall", "turned": "turned", "length_m": "length", "width_m": "width",
            "doubles": "doubles", "filled": "filled"}  # fmt: skip


def _or_missing(what: str, scores: Scores | None, figure: str, judge: Judge, target: float) -> Row:
    """A judged figure; falls short where it was not measured."""
    value = None if scores is None else scores[figure]
    sign = "≥" if judge is at_least else "≤"
    return judge(what, value, target) if value is not None else Row(what, None, f"{sign} {target:g}", False, "not run")


def _anew(context: Context, runs: Mapping[tuple[str, str], Mapping[str, Scores]]) -> Iterator[Row]:
    """The single frames that served for tuning, labelled once more."""
    name, drive = "kitti-object-even", drives()["kitti-object-even"]
    stored = runs.get((name, "full"), {}).get("car")
    if stored is None:
        yield Row(f"{name}: run anew", None, "", False, "not run before")
        return
    full = rows_by_name()["full"]
    networks = Networks(models=context.data / "models2d")
    car = score_drive(drive, drive.frames(), full, networks)["car"]
    off = abs(car.ap - stored["ap"])
    yield at_most(f"{name} run anew: AP of cars off the stored one", off, ANEW_TOLERANCE)
