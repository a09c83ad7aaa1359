"""What studies of toy-town detectors share: scores, what made them, and results that grow with every run."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.checks import as_json
from benchmarks.samples import each
from lidarloop_core.io import atomic
from lidarloop_core.machine import machine
from lidarloop_core.sample import SampleSource
from lidarloop_training.evaluation.metrics.matching import DetectionConfig as ScoringConfig
from lidarloop_training.evaluation.metrics.nuscenes import DetectionMetrics, evaluate_detections
from lidarloop_training.evaluation.samples import SampleRecord
from lidarloop_training.stages.checkpoint import provenance
from lidarloop_training.stages.infer import SampleDetector, TorchBackend

RECORDS = "records"
"""Folder of a study's single runs, a JSON file each with its ``arm`` and ``seed``."""


def score(run: Path, source: SampleSource, range_m: float) -> DetectionMetrics:
    """The nuScenes metrics of a run's newest checkpoint, within ``range_m`` metres."""
    find = SampleDetector(TorchBackend.of_checkpoint(run), score_threshold=0.05)
    predictions, truth = {}, {}
    for index, sample in enumerate(each(source)):
        frame = SampleRecord.of(sample, index)
        predictions[sample.token] = frame.to_level(find(sample), "lidar")
        truth[sample.token] = frame.ground_truth()
    ranges = {name: min(reach_m, range_m) for name, reach_m in ScoringConfig().class_range_m.items()}
    return evaluate_detections(predictions, truth, ScoringConfig(class_range_m=ranges))


def made_by(study: Any) -> dict[str, Any]:
    """What a result depends on: the study's settings (a dataclass), the machine, versions and commit."""
    settings = json.loads(json.dumps(dataclasses.asdict(study), default=str))
    return {"settings": settings, "machine": machine(), **provenance()}


def write_results(results: Path, study: Any, records: Path) -> None:
    """All records as one file.

    Args:
        results: the JSON file.
        study: the study's settings, a dataclass.
        records: folder of what has been run.
    """
    rows = [json.loads(path.read_bytes()) for path in sorted(records.glob("*.json"))]
    document = {
        "command": sys.argv,
        "study": json.loads(json.dumps(dataclasses.asdict(study), default=str)),
        "machine": machine(),
        **provenance(),
        "runs": sorted(rows, key=lambda row: (row["arm"], row["seed"])),
    }
    results.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(results, as_json(document))
