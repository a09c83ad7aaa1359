"""The score on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lidarloop_training.evaluation.latency import Latency
from lidarloop_training.evaluation.nuscenes_metrics import DetectionMetrics
from lidarloop_training.evaluation.summary import Score


def show(score: Score | None, latency: Latency | None, notes: Sequence[str]) -> None:
    """Prints the notes, the table by class and the latency."""
    console = Console()
    for note in notes:
        console.print(f"[yellow]note:[/yellow] {escape(note)}", soft_wrap=True, highlight=False)
    if score is not None:
        console.print(_table(score.metrics))
    if latency is not None:
        console.print(_latency_line(latency), soft_wrap=True, highlight=False)


def _table(metrics: DetectionMetrics) -> Table:
    table = Table(title=f"{metrics.num_frames} frames, nuScenes detection metrics")
    table.add_column("class")
    for column in ("objects", "AP", "ATE m", "ASE", "AOE rad", "AVE m/s"):
        table.add_column(column, justify="right")
    for c in metrics.present:
        table.add_row(c.name, str(c.num_objects), _number(c.mean_ap), *_errors(c.errors))
    table.add_section()
    num_objects = sum(c.num_objects for c in metrics.present)
    table.add_row("mean", str(num_objects), _number(metrics.mean_ap), *_errors(metrics.errors), style="bold")
    table.caption = f"mAP {_number(metrics.mean_ap)}   NDS {_number(metrics.nds)}"
    return table


def _errors(errors: Mapping[str, float]) -> list[str]:
    return [_number(errors[key]) for key in ("ATE", "ASE", "AOE", "AVE")]


def _latency_line(latency: Latency) -> str:
    statistics = ", ".join(f"{key.replace('_', '.')} {_number(value, 1)}" for key, value in latency.latency_ms.items())
    return (
        f"latency, ms: {statistics}; {latency.frames_sent} clouds sent, {latency.frames_detected} answered, "
        f"{latency.frames_dropped} dropped"
    )


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
