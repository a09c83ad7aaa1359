"""One evaluation: results files, their ground truth and what came out. The report and the console are made from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.errors import DatasetError
from lidarloop_core.io.results import read_results, results_classes, results_frame
from lidarloop_core.sample import SampleSource
from lidarloop_training.evaluation.comparison import Comparison, compare
from lidarloop_training.evaluation.field_metrics import FieldTable, check_metric, kitti_table, waymo_table
from lidarloop_training.evaluation.kitti_ground_truth import in_nuscenes_classes
from lidarloop_training.evaluation.latency import Latency, read_latency
from lidarloop_training.evaluation.metrics.class_agnostic import OBJECT, class_agnostic_config
from lidarloop_training.evaluation.metrics.matching import DetectionConfig
from lidarloop_training.evaluation.metrics.nuscenes import DetectionMetrics
from lidarloop_training.evaluation.options import Metric, ScoringOptions
from lidarloop_training.evaluation.samples import SampleRecord, read_samples
from lidarloop_training.evaluation.scoring import (
    Detections,
    Resampling,
    Score,
    cover,
    score_detections,
    without_classes,
)

SHOWN_SCORE = 0.3
"""Without ground truth there is no best threshold to find; detectors put out many boxes of low score."""

NOT_SCORED = "no ground truth: nothing scored"


@dataclass(frozen=True)
class ResultsFile:
    """A results file with the samples that it is scored on.

    Attributes:
        path: name of the file, or of the folder of many.
        meta: content of the file's ``meta``: model, provenance, frame of reference.
        detections: boxes and their samples.
        notes: sentences about what did not fit the ground truth.
        noun: what the boxes are, for captions: "detections" or "labels".
        shown_score: least score of the boxes in pictures that no ground truth colours, in [0, 1].
    """

    path: Path
    meta: Mapping[str, Any]
    detections: Detections
    notes: Sequence[str] = ()
    noun: str = "detections"
    shown_score: float = SHOWN_SCORE


@dataclass(frozen=True)
class EvaluationRun:
    """Results, scored where there is ground truth.

    Attributes:
        results: detections that are evaluated.
        ground_truth: path of the source they are scored on.
        score: metrics; None where the ground truth holds no annotations.
        tables: numbers beyond the nuScenes metrics, in the order they are shown.
        latency: record of the replay that made the detections; None where not given.
        second: results that are compared with the first; None where not given.
        comparison: both scores side by side; None without ``second`` or without ``score``.
    """

    results: ResultsFile
    ground_truth: Path
    score: Score | None = None
    tables: Sequence[FieldTable] = ()
    latency: Latency | None = None
    second: ResultsFile | None = None
    comparison: Comparison | None = None

    @property
    def notes(self) -> list[str]:
        """What a reader must know before the numbers, one sentence each."""
        notes = _unjudged(self.score.metrics) if self.score else [NOT_SCORED]
        notes += self.results.notes
        if self.second is not None:
            if self.comparison is None:
                notes.append(f"{self.second.path} was not compared: that needs ground truth")
            else:
                notes += [f"second result: {note}" for note in self.second.notes]
        return notes


def _unjudged(metrics: DetectionMetrics) -> list[str]:
    """What the ground truth does not tell, and what becomes of the score."""
    names = [c.name for c in metrics.present if c.unjudged]
    if not names:
        return []
    if metrics.unjudged:
        return ["the ground truth has no velocities: AVE cannot be judged, and NDS is over mAP and the other errors"]
    return [f"the ground truth has no velocities of {', '.join(names)}: AVE is over the other classes"]


def evaluate_results(
    results: Path,
    ground_truth: Path,
    source: SampleSource,
    options: ScoringOptions,
    *,
    compare_with: Path | None = None,
    latency: Path | None = None,
) -> EvaluationRun:
    """Scores a results file, and a second one beside it.

    Args:
        results: results JSON file.
        ground_truth: path that ``source`` was opened from.
        source: samples with their annotations. Without any annotations nothing is scored.
        options: metric, classes, intervals.
        compare_with: a second results file of the same samples.
        latency: ``latency.json`` of the replay that made ``results``.

    Raises:
        DatasetError: a file is missing or malformed, does not belong to ``source``, or latency and results are of two
            models.
    """
    # All that can be wrong with the input shows before the first number is made.
    record = read_latency(latency) if latency else None
    check_metric(options.metric, source)
    samples = [in_nuscenes_classes(sample) for sample in read_samples(source)]
    labelled = [sample for sample in samples if sample.annotations is not None]
    names = _class_names(results, compare_with)
    config = DetectionConfig.of_classes(names)
    if options.class_agnostic:
        names = _as_objects(names, labelled)
        config = class_agnostic_config(DetectionConfig.of_classes(names))
    first = _read_results(results, source, labelled or samples, names, options)
    second = _read_results(compare_with, source, labelled or samples, names, options) if compare_with else None
    if not options.class_agnostic and (note := _unknown_objects(labelled, names)):
        first = replace(first, notes=[*first.notes, note])
    _check_same_model(first.meta, record)
    if not labelled:
        return EvaluationRun(first, ground_truth, latency=record, second=second)

    resampling = Resampling.of(labelled, options.resamples) if options.resamples else None
    score = score_detections(first.detections, config, resampling)
    return EvaluationRun(
        first,
        ground_truth,
        score,
        _tables(first.detections, options.metric),
        record,
        second,
        compare(score, score_detections(second.detections, config, resampling)) if second else None,
    )


def _class_names(results: Path, compare_with: Path | None) -> tuple[str, ...]:
    """The classes of the model that made the results, then what the second results have beyond them."""
    named = [results_classes(path) for path in (results, compare_with) if path is not None]
    return tuple(dict.fromkeys(name for names in named for name in names))


def _as_objects(class_names: tuple[str, ...], samples: Sequence[SampleRecord]) -> tuple[str, ...]:
    """All classes whose boxes count as objects: nuScenes' and the results', or the ground truth's own beside them."""
    names = dict.fromkeys((*NUSCENES_CLASSES, *class_names))
    of_truth = _names(samples)
    if of_truth.isdisjoint(names):
        names |= dict.fromkeys(sorted(of_truth))
    return (*(name for name in names if name != OBJECT), OBJECT)


def _unknown_objects(samples: Sequence[SampleRecord], class_names: Sequence[str]) -> str:
    """What of the ground truth is not scored, since the model does not have the class; empty where there is nothing."""
    others = Counter(
        name
        for sample in samples
        if sample.annotations is not None
        for name in sample.annotations.boxes.names
        if name not in class_names
    )
    if not others:
        return ""
    if set(class_names).isdisjoint(_names(samples)) and not set(class_names) <= set(NUSCENES_CLASSES):
        raise DatasetError(
            f"received class {', '.join(class_names[:12])}; expected some of {', '.join(sorted(others)[:12])}, "
            "which the ground truth has: take the results of this drive's model, or give --class-agnostic"
        )
    listed = ", ".join(f"{name} {number}" for name, number in others.most_common(12))
    return f"{others.total()} objects are of classes that the model does not have, and are not scored: {listed}"


def _names(samples: Sequence[SampleRecord]) -> set[str]:
    """The classes of all objects."""
    return {name for s in samples if s.annotations is not None for name in s.annotations.boxes.names}


def _read_results(
    path: Path,
    source: SampleSource,
    samples: Sequence[SampleRecord],
    class_names: tuple[str, ...],
    options: ScoringOptions,
) -> ResultsFile:
    boxes, meta = read_results(path, class_names)
    try:
        covered, notes = cover(boxes, samples, options.allow_missing)
        detections = Detections(source, samples, covered, results_frame(meta))
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None  # there may be a second file
    if options.class_agnostic:
        detections = without_classes(detections, class_names)
    return ResultsFile(path, meta, detections, notes)


def _tables(detections: Detections, metric: Metric) -> list[FieldTable]:
    if metric == "nuscenes":
        return []
    return [kitti_table(detections) if metric == "kitti" else waymo_table(detections)]


def _check_same_model(meta: Mapping[str, Any], record: Latency | None) -> None:
    detected_by, timed = meta.get("model_sha256"), record.model_sha256 if record else None
    if detected_by and timed and detected_by != timed:
        raise DatasetError(
            f"the results are of model {detected_by[:12]}… and the latency is of model {timed[:12]}…; "
            "expected both files of one replay"
        )
