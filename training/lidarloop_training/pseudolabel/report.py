"""How good labels are: the page and the numbers of ``lidarloop evaluate``, and signatures of failures."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lidarloop_core.errors import DatasetError
from lidarloop_core.io.results import results_frame
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_core.progress import progress
from lidarloop_training.data.drive_lookup import drive_arguments
from lidarloop_training.data.writing.label_threshold import fitting_score
from lidarloop_training.data.writing.pseudo_labels import LabelledDrive, read_drive
from lidarloop_training.evaluation.field_metrics import FieldTable
from lidarloop_training.evaluation.kitti_ground_truth import in_nuscenes_classes
from lidarloop_training.evaluation.metrics.matching import UNMATCHED, DetectionConfig, Matching
from lidarloop_training.evaluation.report.files import write_report as write_evaluation
from lidarloop_training.evaluation.run import EvaluationRun, ResultsFile
from lidarloop_training.evaluation.samples import read_sample
from lidarloop_training.evaluation.scoring import Detections, Resampling, Score, score_detections
from lidarloop_training.evaluation.statistics.tp_errors import error_samples
from lidarloop_training.pseudolabel import diagnostics
from lidarloop_training.pseudolabel.diagnostics import Diagnostic
from lidarloop_training.pseudolabel.job import LabelJob

_NUM_RESAMPLES = 1000
_QUARTERS = ("lowest quarter", "second", "third", "highest quarter")


@dataclasses.dataclass(frozen=True)
class LabelledRun:
    """All labels of a run with their samples.

    Attributes:
        detections: boxes of the labels and their samples, as ``lidarloop evaluate`` scores them.
        labels: token → labels with their evidence.
        stamps_ns: token → stamp, nanoseconds.
        left_out: counts of what was not lifted, summed over the drives.
        meta: ``meta`` of the first drive's file.
    """

    detections: Detections
    labels: Mapping[str, PseudoLabels]
    stamps_ns: Mapping[str, int]
    left_out: LeftOut
    meta: Mapping[str, Any]

    @property
    def is_scored(self) -> bool:
        samples = self.detections.samples
        return bool(samples) and all(sample.annotations is not None for sample in samples)


def write_report(job: LabelJob, labels: Sequence[Path], out: Path) -> Path:
    """Writes ``metrics.json`` and ``report.html``; without ground truth only what needs none.

    Args:
        job: job that made the labels: its source is read once more.
        labels: ``labels.json`` of each drive.
        out: folder to write to.

    Returns:
        The page's path.
    """
    labelled = read_run(job, labels)
    score = score_labels(labelled)
    run = EvaluationRun(
        ResultsFile(
            out,
            labelled.meta,
            labelled.detections,
            noun="labels",
            shown_score=fitting_score(labelled.labels.values()),
        ),
        Path(drive_arguments(job.drive)[1]),
        score,
        report_tables(job, labelled, score),
    )
    return write_evaluation(run, out, lambda: job.drive.open(cameras=True), subject="Pseudo-labels of")


def read_run(job: LabelJob, labels: Sequence[Path]) -> LabelledRun:
    """The labels of all drives, with their samples.

    Raises:
        DatasetError: a file is missing or malformed, or the drives are in different frames of reference.
    """
    drives = [read_drive(path) for path in labels]
    source = job.drive.open(cameras=False)
    by_token = {token: found for drive in drives for token, found in drive.labels.items()}
    indices = [i for i in range(0, len(source), job.every) if source.keys[i].token in by_token]
    samples = [in_nuscenes_classes(read_sample(source, i)) for i in progress(indices, "reading the ground truth")]
    return LabelledRun(
        Detections(source, samples, {token: found.boxes for token, found in by_token.items()}, _frame_of(drives)),
        by_token,
        {token: stamp_ns for drive in drives for token, stamp_ns in drive.stamps_ns.items()},
        sum((drive.left_out for drive in drives), LeftOut()),
        drives[0].meta,
    )


def score_labels(labelled: LabelledRun, *, resample: bool = True) -> Score | None:
    """The nuScenes metrics of the labels; None where there is no ground truth."""
    if not labelled.is_scored:
        return None
    resampling = Resampling.of(labelled.detections.samples, _NUM_RESAMPLES) if resample else None
    return score_detections(labelled.detections, DetectionConfig(), resampling)


def report_tables(job: LabelJob, labelled: LabelledRun, score: Score | None) -> list[FieldTable]:
    """What the page has beyond that of detections."""
    tables = [_diagnostics_table(diagnose(job, labelled, score))]
    if score is not None:
        tables += [_class_table(score.matching), _quality_table(labelled, score.matching)]
    return [*tables, _evidence_table(labelled), _left_out_table(labelled.left_out)]


def diagnose(job: LabelJob, labelled: LabelledRun, score: Score | None) -> list[Diagnostic]:
    """All failure signatures that can be computed."""
    num_labels = Counter(name for found in labelled.labels.values() for name in found.boxes.names)
    prompts = labelled.meta["provenance"]["class_names"]
    found = [
        diagnostics.instance_separation(list(labelled.labels.values())),
        diagnostics.lane_disagreement(*_track_and_lane_yaws(labelled)),
        diagnostics.unfound_classes(prompts, num_labels),
    ]
    if score is None:
        return found
    num_objects = {c.name: c.num_objects for c in score.metrics.classes if c.name in prompts}
    in_range = {c.name: c.num_detections for c in score.metrics.classes}
    vehicles = job.lifting.lane_classes
    return [
        *found,
        diagnostics.radial_bias(score.matching),
        diagnostics.turning_headings(score.matching, labelled.detections.samples, labelled.stamps_ns, vehicles),
        diagnostics.class_imbalance(in_range, num_objects),
    ]


def _track_and_lane_yaws(labelled: LabelledRun) -> tuple[Any, Any]:
    """Yaws in the world of the labels whose heading is that of their motion, and of the lane they are on."""
    tracks, lanes = [np.zeros(0)], [np.zeros(0)]
    lane_map, lookup = None, None
    for record in labelled.detections.samples:
        labels = labelled.labels[record.token]
        moving = np.array([source == "track" for source in labels.yaw_sources], np.bool_)
        moving &= np.hypot(*labels.boxes.velocities.T) > 1.0
        if labelled.detections.frame != "world" or not moving.any():
            continue
        sample = labelled.detections.source[record.index]
        if sample.lane_map is not lane_map:
            lane_map = sample.lane_map
            lookup = None if lane_map is None else LaneLookup(lane_map)
        if lookup is not None:
            nearest = lookup.nearest(labels.boxes.centers[moving])
            tracks.append(labels.boxes.yaws[moving].astype(np.float64))
            lanes.append(np.where(nearest.distance_m < 3.0, nearest.yaw, np.nan))
    return np.concatenate(tracks), np.concatenate(lanes)


def _diagnostics_table(found: Sequence[Diagnostic]) -> FieldTable:
    rows = tuple((d.name, d.verdict, d.value, d.unit, d.rule, d.note) for d in found)
    return FieldTable(
        "diagnostics",
        "Failure signatures",
        "Where such labels fail, by the paper that proposes them, each with its rule. Some need ground truth.",
        ("signature", "verdict", "value", "unit", "suspicious", "made of"),
        rows,
    )


def _class_table(matching: Matching) -> FieldTable:
    """Precision and recall of the labels as they are: whoever trains on them trains on all."""
    errors = error_samples(matching, -math.inf)
    match = matching.match[matching.config.tp_threshold]
    rows: list[tuple[str | int | float, ...]] = []
    for label, name in enumerate(matching.config.class_names):
        hits = int((match[matching.of_class(label)] != UNMATCHED).sum())
        num_labels, num_objects = len(match[matching.of_class(label)]), int((matching.objects.labels == label).sum())
        if num_labels or num_objects:
            means = (_mean(errors[key].get(name)) for key in ("ATE", "ASE", "AOE", "AVE"))
            rows.append((name, num_objects, num_labels, _ratio(hits, num_labels), _ratio(hits, num_objects), *means))
    return FieldTable(
        "labels",
        "Labels as they are",
        f"All labels, whatever their score; matches within {matching.config.tp_distance_m:g} m. Errors are means over "
        "all matches, unlike those of the metrics above.",
        ("class", "objects", "labels", "precision", "recall", "ATE", "ASE", "AOE", "AVE"),
        tuple(rows),
    )


def _quality_table(labelled: LabelledRun, matching: Matching) -> FieldTable:
    """Whether the training weight deserves its name."""
    quality = np.array(
        [
            labelled.labels[matching.tokens[sample]].quality[index]
            for sample, index in zip(matching.detections.sample, matching.detections.index, strict=True)
        ]
    ).reshape(-1)
    match = matching.match[matching.config.tp_threshold]
    hit = match != UNMATCHED
    offset = np.full(len(match), np.nan)
    offset[hit] = np.linalg.norm(matching.detections.values[hit, :2] - matching.objects.values[match[hit], :2], axis=1)
    rows: list[tuple[str | int | float, ...]] = []
    for name, part in zip(_QUARTERS, np.array_split(np.argsort(quality, kind="stable"), len(_QUARTERS)), strict=True):
        worst, best = (float(quality[part[k]]) if len(part) else math.nan for k in (0, -1))
        hits = part[hit[part]]
        rows.append((name, worst, best, len(part), _ratio(len(hits), len(part)), _mean(offset[hits])))
    return FieldTable(
        "quality",
        "Is quality worth something?",
        "Labels by their quality score, which is computed without ground truth and weighs them in training.",
        ("quality", "from", "to", "labels", "precision", "error, m"),
        tuple(rows),
    )


def _evidence_table(labelled: LabelledRun) -> FieldTable:
    sources, labels, points = Counter[str](), Counter[str](), Counter[str]()
    for found in labelled.labels.values():
        sources.update(found.yaw_sources)
        labels.update(found.boxes.names)
        for name, count in zip(found.boxes.names, found.num_points, strict=True):
            points[name] += int(count)
    rows: list[tuple[str | int | float, ...]] = [
        (f"class {name.replace('_', ' ')}", n, points[name] / n) for name, n in labels.most_common()
    ]
    rows += [(f"heading from: {source.replace('_', ' ')}", n, "") for source, n in sources.most_common()]
    note = "All labels of the run, near and far: how many, and on how many LiDAR points they rest."
    return FieldTable("evidence", "What the labels rest on", note, ("", "labels", "points each"), tuple(rows))


def _left_out_table(left_out: LeftOut) -> FieldTable:
    rows = tuple(
        (kind, reason, count) for kind, counter in vars(left_out).items() for reason, count in counter.most_common()
    )
    note = "What was not lifted, and why." if rows else "Nothing: every picture, mask and sweep was used."
    return FieldTable("left_out", "Left out", note, ("what", "why", "number"), rows)


def _frame_of(drives: Sequence[LabelledDrive]) -> Any:
    frames = {results_frame(drive.meta) for drive in drives}
    if len(frames) > 1:
        raise DatasetError("the labels are partly in the world frame; expected ego-motion in all drives, or in none")
    return frames.pop()


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan


def _mean(values: Any) -> float:
    return float(np.mean(values)) if values is not None and len(values) else math.nan
