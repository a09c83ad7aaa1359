"""``metrics.json``, and the report made from it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lidarloop_training.evaluation import provenance
from lidarloop_training.evaluation.comparison import Comparison
from lidarloop_training.evaluation.field_metrics import FieldTable
from lidarloop_training.evaluation.frames import Frame
from lidarloop_training.evaluation.latency import Latency
from lidarloop_training.evaluation.metrics.nuscenes import DetectionMetrics
from lidarloop_training.evaluation.report.page import Report
from lidarloop_training.evaluation.report.pictures import Picture
from lidarloop_training.evaluation.scoring import Resampling, Score
from lidarloop_training.evaluation.statistics.tp_errors import error_samples

NOT_SCORED = "no ground truth: nothing scored"


def summarise(
    frames: Sequence[Frame],
    score: Score | None,
    latency: Latency | None,
    meta: Mapping[str, Any],
    results: Path,
    ground_truth: Path,
    notes: Sequence[str],
    *,
    resampling: Resampling | None = None,
    tables: Sequence[FieldTable] = (),
) -> dict[str, Any]:
    """The content of ``metrics.json``: plain JSON values, None for what is undefined or not known."""
    document: dict[str, Any] = {
        **_scores(score),
        **(_intervals(score, resampling) if score and resampling else {}),
        **{table.metric: [dict(zip(table.columns, row, strict=True)) for row in table.rows] for table in tables},
        **_timing(latency),
        "model_sha256": meta.get("model_sha256") or (latency.model_sha256 if latency else None),
        "data": {
            "ground_truth": str(ground_truth),
            "results": str(results),
            "scenes": list(dict.fromkeys(frame.scene for frame in frames)),
            "num_frames": len(frames),
        },
        "config": _config(score.metrics) if score else None,
        "provenance": meta.get("provenance"),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "notes": [*notes] if score else [NOT_SCORED, *notes],
    }
    finite: dict[str, Any] = _finite(document)
    return finite


def report(
    document: Mapping[str, Any],
    score: Score | None,
    latency: Latency | None,
    picture_groups: Mapping[str, Sequence[Picture]],
    *,
    resampling: Resampling | None = None,
    comparison: Comparison | None = None,
    tables: Sequence[FieldTable] = (),
    misses: Sequence[Picture] = (),
) -> Report:
    """The report of a summarised run."""
    data, machine = document["data"], document["machine"]
    scenes = data["scenes"]
    named = ", ".join(scenes[:3]) + (f" and {len(scenes) - 3} more" if len(scenes) > 3 else "")
    num_objects = sum(c.num_objects for c in score.metrics.classes) if score else None
    rows = [
        ("ground truth", data["ground_truth"]),
        ("results", data["results"]),
        ("model", document["model_sha256"] or "not recorded"),
        *((key.replace("_", " "), _plain(value)) for key, value in _flat(document["provenance"])),
        ("scoring", _plain(document["config"]) if score else NOT_SCORED),
        ("machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in document["versions"].items())),
    ]
    return Report(
        title=f"Detections on {named}",
        subtitle=f"{data['num_frames']} frames" + (f", {num_objects} objects" if num_objects is not None else ""),
        metrics=score.metrics if score else None,
        breakdown=score.breakdown if score else None,
        latency=latency,
        picture_groups=picture_groups,
        provenance=rows,
        notes=document["notes"],
        confusion=score.confusion if score else None,
        errors=error_samples(score.matching, score.breakdown.operating_score) if score else {},
        intervals=score.intervals if score else {},
        resampling=resampling.description if score and resampling else "",
        comparison=comparison,
        tables=tables,
        misses=misses,
    )


def comparison_document(comparison: Comparison, results: Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    """The part of ``metrics.json`` about a second result; differences are second less first."""
    document: dict[str, Any] = _finite(
        {
            "results": str(results),
            "model_sha256": meta.get("model_sha256"),
            "units": comparison.units,
            "rows": {
                row.name: {
                    "first": row.first,
                    "second": row.second,
                    **(dataclasses.asdict(row.difference) if row.difference else {}),
                    "verdict": row.verdict or None,
                }
                for row in comparison.rows
            },
            "found": {row.name: dataclasses.asdict(row) for row in comparison.found},
        }
    )
    return document


def _scores(score: Score | None) -> dict[str, Any]:
    if score is None:
        return {"mAP": None, "NDS": None}
    metrics, breakdown = score.metrics, score.breakdown
    return {
        "mAP": metrics.mean_ap,
        "NDS": metrics.nds,
        "mAP_all_classes": metrics.mean_ap_all_classes,
        "NDS_all_classes": metrics.nds_all_classes,
        "errors": metrics.errors,
        "errors_all_classes": metrics.errors_all_classes,
        "classes": {
            c.name: {
                "AP": c.mean_ap if c.num_objects else None,
                "AP_at_distance": {f"{distance:g}": ap for distance, ap in c.average_precision.items()},
                **c.errors,
                "num_objects": c.num_objects,
                "num_detections": c.num_detections,
            }
            for c in metrics.classes
        },
        "operating_score": breakdown.operating_score,
        "by_range": [dataclasses.asdict(row) for row in breakdown.by_range],
        "by_points": [dataclasses.asdict(row) for row in breakdown.by_points],
        "by_visibility": [dataclasses.asdict(row) for row in breakdown.by_visibility],
        "confusion": {"classes": list(score.confusion.class_names), "counts": score.confusion.counts.tolist()},
    }


def _intervals(score: Score, resampling: Resampling) -> dict[str, Any]:
    return {
        "intervals_95": {name: list(ends) for name, ends in score.intervals.items()},
        "resampling": {
            "units": resampling.units.name,
            "num_resamples": resampling.num_resamples,
            "seed": resampling.seed,
        },
    }


def _timing(latency: Latency | None) -> dict[str, Any]:
    if latency is None:
        return {"latency_ms": None, "frames_sent": None, "frames_detected": None, "frames_dropped": None}
    return {
        "latency_ms": dict(latency.latency_ms),
        "stage_ms": {stage: dict(row) for stage, row in latency.stage_ms.items()},
        "frames_sent": latency.frames_sent,
        "frames_detected": latency.frames_detected,
        "frames_dropped": latency.frames_dropped,
        "deadline_misses": latency.deadline_misses,
        "rate_hz": latency.rate_hz,
        "rss_mb": latency.rss_mb,
    }


def _config(metrics: DetectionMetrics) -> dict[str, Any]:
    config = metrics.config
    return {
        "name": "detection_cvpr_2019",
        "class_range_m": dict(config.class_range_m),
        "match_distances_m": list(config.match_distances_m),
        "tp_distance_m": config.tp_distance_m,
        "min_recall": config.min_recall,
        "min_precision": config.min_precision,
    }


def _flat(value: object, prefix: str = "") -> list[tuple[str, object]]:
    """Nested mappings as ``a b`` keys; nothing for None."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [row for key, entry in value.items() for row in _flat(entry, f"{prefix} {key}".strip())]
    return [(prefix or "provenance", value)]


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{str(key).replace('_', ' ')}: {_plain(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(entry) for entry in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    """The same with None for NaN and infinity, which JSON has not."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
