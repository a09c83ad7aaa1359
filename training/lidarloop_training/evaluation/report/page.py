"""The report: one HTML file that opens from disk, with everything in it and nothing fetched."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from lidarloop_training.evaluation.comparison import Comparison
from lidarloop_training.evaluation.field_metrics import FieldTable
from lidarloop_training.evaluation.latency import DEADLINE_MS, Latency
from lidarloop_training.evaluation.metrics.matching import FloatArray
from lidarloop_training.evaluation.metrics.nuscenes import DetectionMetrics
from lidarloop_training.evaluation.report.bev import COLORS
from lidarloop_training.evaluation.report.charts import (
    class_color,
    comparison_chart,
    error_chart,
    latency_histogram,
    precision_recall_chart,
)
from lidarloop_training.evaluation.report.pictures import Picture
from lidarloop_training.evaluation.statistics.breakdown import Breakdown
from lidarloop_training.evaluation.statistics.confusion import Confusion
from lidarloop_training.evaluation.statistics.tp_errors import ERROR_TITLES


@dataclass(frozen=True)
class Report:
    """What a report shows; what is None is left out.

    Attributes:
        title, subtitle: the heading.
        metrics, breakdown: the score; None where there is no ground truth.
        latency: of the replay that made the detections.
        picture_groups: heading → pictures.
        provenance: pairs of what and which: data, model, config, machine.
        notes: what the reader must know first.
        confusion, errors: what is taken for what, and the errors of the matches: error → class → values.
        intervals: mAP, NDS, errors and classes → 95 % interval; ``resampling`` says how they were made.
        comparison: with a second result.
        tables: numbers of other benchmarks.
        misses: pictures of objects that were not found.
    """

    title: str
    subtitle: str
    metrics: DetectionMetrics | None
    breakdown: Breakdown | None
    latency: Latency | None
    picture_groups: Mapping[str, Sequence[Picture]]
    provenance: Sequence[tuple[str, str]]
    notes: Sequence[str] = field(default_factory=tuple)
    confusion: Confusion | None = None
    errors: Mapping[str, Mapping[str, FloatArray]] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    resampling: str = ""
    comparison: Comparison | None = None
    tables: Sequence[FieldTable] = ()
    misses: Sequence[Picture] = ()


@dataclass(frozen=True)
class _Card:
    """One figure at the top of the page."""

    name: str
    value: str
    unit: str = ""
    is_bad: bool = False


def render(report: Report) -> str:
    """The HTML file's text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"number": _number, "cell": _cell, "signed": _signed, "plain": _plain}
    metrics, breakdown, latency = report.metrics, report.breakdown, report.latency
    return environment.get_template("template.html").render(
        title=report.title,
        subtitle=report.subtitle,
        notes=report.notes,
        cards=_cards(report),
        metrics=metrics,
        breakdown=breakdown,
        absent=[_plain(c.name) for c in metrics.classes if not c.num_objects] if metrics else [],
        distances=[f"{d:g}" for d in metrics.config.match_distances_m] if metrics else [],
        pr_charts=[(c, precision_recall_chart(c)) for c in metrics.present] if metrics else [],
        tables=_tables(breakdown) if breakdown else [],
        intervals={name: f"{_number(low)}–{_number(high)}" for name, (low, high) in report.intervals.items()},
        resampling=report.resampling,
        confusion=report.confusion,
        error_charts=_error_charts(report),
        error_legend=_error_legend(report),
        comparison=report.comparison,
        both_charts=_both_charts(report),
        field_tables=report.tables,
        misses=[_embedded(picture) for picture in report.misses],
        picture_groups=[
            (name, [_embedded(picture) for picture in pictures]) for name, pictures in report.picture_groups.items()
        ],
        legend=_legend(scored=metrics is not None),
        latency=latency,
        latency_chart=latency_histogram(latency.samples_ms, DEADLINE_MS) if latency and latency.samples_ms else None,
        stages=_stages(latency) if latency else [],
        stage_columns=_stage_columns(latency) if latency else [],
        counts=_counts(latency) if latency else [],
        provenance=report.provenance,
    )


def _embedded(picture: Picture) -> dict[str, Any]:
    files = [("image/png", picture.png)]
    if picture.camera_jpeg is not None:
        files.append(("image/jpeg", picture.camera_jpeg))
    sources = [f"data:{media_type};base64,{base64.b64encode(data).decode()}" for media_type, data in files]
    return {"caption": picture.caption, "sources": sources}


def _error_charts(report: Report) -> list[Markup]:
    return [
        error_chart(ERROR_TITLES[key], by_class)
        for key, by_class in report.errors.items()
        if any(len(values) for values in by_class.values())
    ]


def _error_legend(report: Report) -> list[tuple[str, str]]:
    classes = next(iter(report.errors.values()), {})
    return [(_plain(name), class_color(i)) for i, name in enumerate(classes)]


def _both_charts(report: Report) -> list[tuple[str, Markup]]:
    if report.comparison is None or report.metrics is None:
        return []
    pairs = zip(report.metrics.classes, report.comparison.second.metrics.classes, strict=True)
    distance_m = report.metrics.config.tp_distance_m
    return [(c.name, comparison_chart(c, other, distance_m)) for c, other in pairs if c.num_objects]


def _cards(report: Report) -> list[_Card]:
    cards = []
    if report.metrics:
        for name, value in (("mAP", report.metrics.mean_ap), ("NDS", report.metrics.nds)):
            low, high = report.intervals.get(name, (math.nan, math.nan))
            between = f", 95 %: {_number(low)}–{_number(high)}" if math.isfinite(low) else ""
            cards.append(_Card(f"{name}, classes present{between}", _number(value)))
    if latency := report.latency:
        for key in ("p50", "p99"):
            latency_ms = latency.latency_ms.get(key)
            is_late = latency_ms is not None and latency_ms > DEADLINE_MS
            cards.append(_Card(f"latency {key}", _number(latency_ms, 1), "ms", is_late))
        dropped = latency.frames_dropped
        cards.append(_Card(f"of {latency.frames_sent} clouds dropped", str(dropped), is_bad=dropped > 0))
    return cards


def _tables(breakdown: Breakdown) -> list[tuple[str, Sequence[Any], bool]]:
    return [
        ("range", breakdown.by_range, True),
        ("points on the object", breakdown.by_points, False),
        ("visible share", breakdown.by_visibility, False),
    ]


def _legend(scored: bool) -> list[tuple[str, str]]:
    if not scored:
        return [("detection", COLORS["detection"])]
    return [
        ("detection that found an object", COLORS["hit"]),
        ("detection of nothing", COLORS["invention"]),
        ("missed object", COLORS["missed"]),
        ("found object", COLORS["object"]),
    ]


def _stage_columns(latency: Latency) -> list[str]:
    columns = dict.fromkeys(key for row in (latency.latency_ms, *latency.stage_ms.values()) for key in row)
    return list(columns)


def _stages(latency: Latency) -> list[tuple[str, dict[str, float | None]]]:
    rows = [*latency.stage_ms.items(), ("stamp → publish", latency.latency_ms)]
    columns = _stage_columns(latency)
    return [(name, {key: row.get(key) for key in columns}) for name, row in rows]


def _counts(latency: Latency) -> list[tuple[str, str]]:
    counts = [
        ("clouds sent", str(latency.frames_sent)),
        ("clouds answered", str(latency.frames_detected)),
        ("clouds dropped", str(latency.frames_dropped)),
    ]
    if latency.deadline_misses is not None:
        counts.append((f"later than {DEADLINE_MS:g} ms", str(latency.deadline_misses)))
    if latency.rss_mb is not None:
        counts.append(("node memory (RSS)", f"{latency.rss_mb:.0f} MB"))
    return counts


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _cell(value: str | int | float) -> str:
    """Names and counts as they are, other numbers with their decimals."""
    return _number(value) if isinstance(value, float) else str(value)


def _signed(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:+.3f}"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
