"""The content of ``metrics.json``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from lidarloop_core.machine import machine, versions
from lidarloop_training.evaluation.comparison import Comparison
from lidarloop_training.evaluation.latency import Latency
from lidarloop_training.evaluation.metrics.nuscenes import DetectionMetrics
from lidarloop_training.evaluation.run import EvaluationRun, ResultsFile
from lidarloop_training.evaluation.scoring import Resampling, Score


def summarise(run: EvaluationRun) -> dict[str, Any]:
    """The content of ``metrics.json``: plain JSON values, None for what is undefined or not known."""
    score, meta, samples = run.score, run.results.meta, run.results.detections.samples
    document: dict[str, Any] = {
        **_scores(score),
        **(_intervals(score, score.resampling) if score and score.resampling else {}),
        **{table.metric: [dict(zip(table.columns, row, strict=True)) for row in table.rows] for table in run.tables},
        **_timing(run.latency),
        "model_sha256": meta.get("model_sha256") or (run.latency.model_sha256 if run.latency else None),
        "data": {
            "ground_truth": str(run.ground_truth),
            "results": str(run.results.path),
            "scenes": list(dict.fromkeys(sample.scene for sample in samples)),
            "num_frames": len(samples),
        },
        "config": _config(score.metrics) if score else None,
        "provenance": meta.get("provenance"),
        "machine": machine(),
        "versions": versions(),
        "notes": run.notes,
    }
    if run.second is not None and run.comparison is not None:
        document["comparison"] = _comparison(run.comparison, run.second)
    finite: dict[str, Any] = _finite(document)
    return finite


def _comparison(comparison: Comparison, second: ResultsFile) -> dict[str, Any]:
    """The part about a second result; differences are second less first."""
    return {
        "results": str(second.path),
        "model_sha256": second.meta.get("model_sha256"),
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


def _finite(value: Any) -> Any:
    """The same with None for NaN and infinity, which JSON has not."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
