"""The score on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lidarloop_training.evaluation.comparison import Comparison
from lidarloop_training.evaluation.field_metrics import FieldTable
from lidarloop_training.evaluation.latency import Latency
from lidarloop_training.evaluation.run import EvaluationRun
from lidarloop_training.evaluation.scoring import Score


def show(run: EvaluationRun) -> None:
    """Prints the notes, the table by class, those of other benchmarks, the comparison and the latency."""
    console = Console()
    for note in run.notes:
        console.print(f"[yellow]note:[/yellow] {escape(note)}", soft_wrap=True, highlight=False)
    if run.score is not None:
        console.print(_table(run.score))
    for table in run.tables:
        console.print(_field_table(table))
    if run.comparison is not None:
        console.print(_comparison_table(run.comparison))
    if run.latency is not None:
        console.print(_latency_line(run.latency), soft_wrap=True, highlight=False)


def _table(score: Score) -> Table:
    metrics, intervals = score.metrics, score.intervals
    table = Table(title=f"{metrics.num_frames} frames, nuScenes detection metrics")
    table.add_column("class")
    for column in ("objects", "AP", "ATE m", "ASE", "AOE rad", "AVE m/s"):
        table.add_column(column, justify="right")
    for c in metrics.present:
        table.add_row(c.name, str(c.num_objects), _number(c.mean_ap), *_errors(c.errors))
    table.add_section()
    num_objects = sum(c.num_objects for c in metrics.present)
    table.add_row("mean", str(num_objects), _number(metrics.mean_ap), *_errors(metrics.errors), style="bold")
    table.caption = "   ".join(
        f"{name} {_number(value)}" + (f" ({_number(low)}–{_number(high)})" if low is not None else "")
        for name, value in (("mAP", metrics.mean_ap), ("NDS", metrics.nds))
        for low, high in [intervals.get(name, (None, None))]
    )
    return table


def _field_table(field: FieldTable) -> Table:
    table = Table(title=field.title)
    for i, column in enumerate(field.columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in field.rows:
        table.add_row(*(_number(cell) if isinstance(cell, float) else str(cell) for cell in row))
    return table


def _comparison_table(comparison: Comparison) -> Table:
    table = Table(title="second result against the first")
    table.add_column("")
    for column in ("first", "second", "difference", "95 %", "p", "second is"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in comparison.rows:
        difference = row.difference
        statistics = (
            [f"{_number(difference.low)}…{_number(difference.high)}", _number(difference.p_value)]
            if difference
            else ["", ""]
        )
        table.add_row(
            row.name, _number(row.first), _number(row.second), _number(row.second - row.first), *statistics, row.verdict
        )
    return table


def _errors(errors: Mapping[str, float]) -> list[str]:
    return [_number(errors[key]) for key in ("ATE", "ASE", "AOE", "AVE")]


def _latency_line(latency: Latency) -> str:
    statistics = ", ".join(f"{key.replace('_', '.')} {_number(value, 1)}" for key, value in latency.latency_ms.items())
    return (
        f"latency, ms: {statistics}; {latency.frames_sent} clouds sent, {latency.frames_detected} answered, "
        f"{latency.frames_dropped} dropped{'; ' if latency.conditions else ''}{latency.conditions}"
    )


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
