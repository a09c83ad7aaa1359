"""The report: one HTML file that opens from disk, with everything in it and nothing fetched."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from lidarloop_core.colors import class_color
from lidarloop_training.evaluation.latency import DEADLINE_MS, Latency
from lidarloop_training.evaluation.metrics.matching import FloatArray
from lidarloop_training.evaluation.report.bev import COLORS
from lidarloop_training.evaluation.report.charts import (
    comparison_chart,
    error_chart,
    latency_histogram,
    precision_recall_chart,
)
from lidarloop_training.evaluation.report.pictures import Picture, ReportPictures
from lidarloop_training.evaluation.run import NOT_SCORED, EvaluationRun
from lidarloop_training.evaluation.scoring import Score
from lidarloop_training.evaluation.statistics.breakdown import Breakdown
from lidarloop_training.evaluation.statistics.tp_errors import ERROR_TITLES, error_samples


@dataclass(frozen=True)
class _Card:
    """One figure at the top of the page."""

    name: str
    value: str
    unit: str = ""
    is_bad: bool = False


def render(
    run: EvaluationRun,
    document: Mapping[str, Any],
    pictures: ReportPictures,
    *,
    subject: str = "Detections on",
) -> str:
    """The HTML file's text; what a run does not have is left out.

    Args:
        run: what to show.
        document: its ``summary.summarise``: data, machine and versions are shown as stored there.
        pictures: pictures of samples and of missed objects.
        subject: beginning of the title, before the names of the drives.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"number": _number, "cell": _cell, "signed": _signed, "plain": _plain}
    return environment.get_template("template.html").render(
        **_heading(run, document, subject),
        **_score_sections(run.score),
        **_latency_section(run.latency),
        notes=document["notes"],
        cards=_cards(run),
        comparison=run.comparison,
        both_charts=_both_charts(run),
        field_tables=run.tables,
        misses=[_embedded(picture) for picture in pictures.misses],
        picture_groups=[(name, [_embedded(picture) for picture in group]) for name, group in pictures.overview.items()],
        legend=_legend(scored=run.score is not None),
        provenance=provenance_rows(document),
    )


def _heading(run: EvaluationRun, document: Mapping[str, Any], subject: str) -> dict[str, str]:
    data = document["data"]
    scenes = data["scenes"]
    named = ", ".join(scenes[:3]) + (f" and {len(scenes) - 3} more" if len(scenes) > 3 else "")
    subtitle = f"{data['num_frames']} frames"
    if run.score is not None:
        subtitle += f", {sum(c.num_objects for c in run.score.metrics.classes)} objects"
    return {"title": f"{subject} {named}", "subtitle": subtitle}


def _score_sections(score: Score | None) -> dict[str, Any]:
    """What the template shows of the metrics and their parts; empty values where nothing was scored."""
    errors = error_samples(score.matching, score.breakdown.operating_score) if score else {}
    metrics = score.metrics if score else None
    intervals = score.intervals if score else {}
    return {
        "metrics": metrics,
        "breakdown": score.breakdown if score else None,
        "absent": [_plain(c.name) for c in metrics.classes if not c.num_objects] if metrics else [],
        "distances": [f"{d:g}" for d in metrics.config.match_distances_m] if metrics else [],
        "pr_charts": [(c, precision_recall_chart(c)) for c in metrics.present] if metrics else [],
        "tables": _tables(score.breakdown) if score else [],
        "intervals": {name: f"{_number(low)}–{_number(high)}" for name, (low, high) in intervals.items()},
        "resampling": score.resampling.description if score and score.resampling else "",
        "confusion": score.confusion if score else None,
        "error_charts": _error_charts(errors),
        "error_legend": _error_legend(errors),
    }


def _latency_section(latency: Latency | None) -> dict[str, Any]:
    return {
        "latency": latency,
        "latency_chart": latency_histogram(latency.samples_ms, DEADLINE_MS) if latency and latency.samples_ms else None,
        "stages": _stages(latency) if latency else [],
        "stage_columns": _stage_columns(latency) if latency else [],
        "counts": _counts(latency) if latency else [],
    }


def provenance_rows(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs of what and which: data, model, scoring, machine, versions."""
    data, machine = document["data"], document["machine"]
    provenance = document["provenance"]
    named = isinstance(provenance, Mapping) and provenance.get("model")  # by the file itself
    model = [] if named and not document["model_sha256"] else [("model", document["model_sha256"] or "not recorded")]
    return [
        ("ground truth", data["ground_truth"]),
        ("results", data["results"]),
        *model,
        *((_plain(key), _text(value)) for key, value in _flat(provenance)),
        ("scoring", _text(document["config"]) if document["config"] else NOT_SCORED),
        ("machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in document["versions"].items())),
    ]


def _embedded(picture: Picture) -> dict[str, Any]:
    files = [("image/png", picture.png)]
    if picture.camera_jpeg is not None:
        files.append(("image/jpeg", picture.camera_jpeg))
    sources = [f"data:{media_type};base64,{base64.b64encode(data).decode()}" for media_type, data in files]
    return {"caption": picture.caption, "sources": sources}


def _error_charts(errors: Mapping[str, Mapping[str, FloatArray]]) -> list[Markup]:
    return [
        error_chart(ERROR_TITLES[key], by_class)
        for key, by_class in errors.items()
        if any(len(values) for values in by_class.values())
    ]


def _error_legend(errors: Mapping[str, Mapping[str, FloatArray]]) -> list[tuple[str, str]]:
    classes = next(iter(errors.values()), {})
    return [(_plain(name), class_color(name)) for name in classes]


def _both_charts(run: EvaluationRun) -> list[tuple[str, Markup]]:
    if run.comparison is None or run.score is None:
        return []
    metrics = run.score.metrics
    pairs = zip(metrics.classes, run.comparison.second.metrics.classes, strict=True)
    distance_m = metrics.config.tp_distance_m
    return [(c.name, comparison_chart(c, other, distance_m)) for c, other in pairs if c.num_objects]


def _cards(run: EvaluationRun) -> list[_Card]:
    cards = []
    if run.score:
        intervals = run.score.intervals
        for name, value in (("mAP", run.score.metrics.mean_ap), ("NDS", run.score.metrics.nds)):
            low, high = intervals.get(name, (math.nan, math.nan))
            between = f", 95 %: {_number(low)}–{_number(high)}" if math.isfinite(low) else ""
            cards.append(_Card(f"{name}, classes present{between}", _number(value)))
    if latency := run.latency:
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
    if latency.conditions:
        counts.append(("measured", latency.conditions))
    return counts


def _flat(value: object, prefix: str = "") -> list[tuple[str, object]]:
    """Nested mappings as ``a b`` keys; nothing for None."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [row for key, entry in value.items() for row in _flat(entry, f"{prefix} {key}".strip())]
    return [(prefix or "provenance", value)]


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{str(key).replace('_', ' ')}: {_text(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return ", ".join(_text(entry) for entry in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _cell(value: str | int | float) -> str:
    """Names and counts as they are, other numbers with their decimals."""
    return _number(value) if isinstance(value, float) else str(value)


def _signed(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:+.3f}"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
