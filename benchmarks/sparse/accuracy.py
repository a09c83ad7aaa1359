"""How good the shipped models are on drives that nothing was tuned on: pillars against voxels, and the segmenter.

python -m benchmarks.sparse.accuracy               # all drives and models; continues where it stopped

Every frame of three toy-town drives at 10 Hz, through the grouping, thresholds and suppression of the vehicle. What is
found is kept under --study.data, one file for each model and drive, and found anew only for another model file. Scores
go to results/sparse/accuracy.json: intervals by paired bootstrap over blocks of ten frames.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tyro

from benchmarks.checks import (
    REPOSITORY,
    Context,
    Row,
    as_json,
    at_least,
    at_most,
    commit,
    report_only,
    runs_studies,
)
from benchmarks.sparse.shipped import PILLARS, POINTS, VOXELS, missing
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.inference.segmenter import Segmenter
from lidarloop_core.io import atomic
from lidarloop_core.machine import machine, versions
from lidarloop_core.model.model_file import read_model
from lidarloop_core.progress import progress
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.drive_spec import ToyTown
from lidarloop_training.data.views.concat import ConcatSource
from lidarloop_training.evaluation.comparison import compare
from lidarloop_training.evaluation.metrics.matching import DetectionConfig
from lidarloop_training.evaluation.metrics.segmentation import SegmentationMetrics
from lidarloop_training.evaluation.samples import read_samples
from lidarloop_training.evaluation.scoring import Detections, Resampling, Score, score_detections
from lidarloop_training.evaluation.segmenter import NOTHING, score_segmenter, summarise_segmenter
from lidarloop_training.stages.infer import SampleDetector

RESULTS = REPOSITORY / "results/sparse/accuracy.json"
NUM_DRAWS = 1000
SCORE_THRESHOLD = 0.05
LEAST_GAIN = 0.02
MOST_AVE_MPS = 0.47
"""Half of what the first pillar model had, m/s."""
LEAST_MIOU = 0.75
SHORT_SECONDS = 3.0
LIVE_TOLERANCE = 0.02


@dataclass(frozen=True)
class Study:
    """The drives, and where what is found on them is kept.

    Attributes:
        seeds: seeds of the drives; nothing was trained, selected or tuned on them.
        duration_s: length of each drive, seconds; every frame at 10 Hz is scored.
        data: folder of what is found.
    """

    seeds: tuple[int, ...] = (8101, 8102, 8103)
    duration_s: float = 20.0
    data: Path = Path("data/sparse_study")

    def key(self) -> dict[str, Any]:
        """What the scores depend on besides the models."""
        return {"seeds": list(self.seeds), "duration_s": self.duration_s}

    def kept(self, sha256: str, seed: int) -> Path:
        """The file of what a model finds on a drive."""
        return self.data / f"{sha256[:16]}-{seed}-{self.duration_s:g}s.npz"

    def drive(self, seed: int, num_sweeps: int, *, point_labels: bool = False) -> SampleSource:
        """One drive, of clouds alone."""
        spec = ToyTown(seed, duration_s=self.duration_s, point_labels=point_labels)
        return spec.open(num_sweeps=num_sweeps, cameras=False, lane_map=False)


# --- detectors --------------------------------------------------------------------------------------------------------


def score_detectors(study: Study, models: Sequence[Path]) -> dict[Path, Score]:
    """Scores of models on all drives, with the same draws."""
    found = {model: detections_of(study, model) for model in models}
    source = ConcatSource([study.drive(seed, 1) for seed in study.seeds])
    samples = read_samples(source)
    resampling = Resampling.of(samples, NUM_DRAWS)
    return {
        model: score_detections(Detections(source, samples, boxes, "lidar"), DetectionConfig(), resampling)
        for model, boxes in found.items()
    }


def detections_of(study: Study, model: Path) -> dict[str, Boxes3D]:
    """Token → boxes in the LiDAR's frame, of all drives; from the disk where they were found before."""
    boxes: dict[str, Boxes3D] = {}
    file = read_model(model)
    for seed in study.seeds:
        path = study.kept(file.sha256, seed)
        if not path.is_file():
            detector = SampleDetector(open_backend(model), score_threshold=SCORE_THRESHOLD)
            drive = study.drive(seed, file.spec.num_sweeps)
            frames = (drive[i] for i in progress(range(len(drive)), f"{file.spec.name} on {seed}"))
            _keep(path, {frame.token: detector(frame) for frame in frames})
        boxes |= _kept(path, file.spec.class_names)
    return boxes


def _keep(path: Path, boxes: Mapping[str, Boxes3D]) -> None:
    columns = {
        name: np.concatenate([getattr(found, name) for found in boxes.values()])
        for name in ("values", "scores", "labels")
    }
    counts = np.array([len(found) for found in boxes.values()])
    _save(path, tokens=np.array([*boxes]), counts=counts, **columns)


def _kept(path: Path, class_names: tuple[str, ...]) -> dict[str, Boxes3D]:
    with np.load(path) as stored:
        ends = np.cumsum(stored["counts"])[:-1]
        parts = [np.split(stored[name], ends) for name in ("values", "scores", "labels")]
        rows = zip(stored["tokens"].tolist(), *parts, strict=True)
        return {token: Boxes3D(values, scores, labels, class_names) for token, values, scores, labels in rows}


def _save(path: Path, **arrays: npt.NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    atomic.write_bytes(path, buffer.getvalue())


def detector_document(model: Path, score: Score) -> dict[str, Any]:
    """The raw numbers of a score, from which all others can be computed."""
    metrics, intervals = score.metrics, score.intervals
    return {
        "sha256": read_model(model).sha256,
        "mAP": metrics.mean_ap,
        "NDS": metrics.nds,
        "errors": _known(metrics.errors),
        "intervals_95": {name: list(intervals[name]) for name in ("mAP", "NDS", "AVE")},
        "classes": {
            c.name: {"AP": c.mean_ap, "interval_95": list(intervals[c.name]), "objects": c.num_objects}
            | _known(c.errors)
            for c in metrics.present
        },
    }


def _known(errors: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: float(error) if np.isfinite(error) else None for name, error in errors.items()}


# --- segmenter --------------------------------------------------------------------------------------------------------


def segmenter_document(study: Study, model: Path) -> dict[str, Any]:
    """IoU of each class over all drives, and the confusion that it is made of."""
    segmenter = Segmenter(open_backend(model))
    spec, sha256 = segmenter.spec, segmenter.backend.model_sha256
    confusions = []
    for seed in study.seeds:
        path = study.kept(sha256, seed)
        if not path.is_file():
            drive = study.drive(seed, spec.num_sweeps, point_labels=True)
            frames = (drive[i] for i in progress(range(len(drive)), f"{spec.name} on {seed}"))
            _save(path, confusion=score_segmenter(segmenter, frames).confusion)
        with np.load(path) as stored:
            confusions.append(stored["confusion"])
    total = SegmentationMetrics(np.sum(confusions, axis=0), (*spec.class_names, NOTHING), len(spec.class_names))
    return {"sha256": sha256, "confusion": total.confusion.tolist(), **summarise_segmenter(total)}


# --- the study --------------------------------------------------------------------------------------------------------


def run(study: Study = Study(), out: Path = RESULTS) -> int:
    """Finds what is missing, scores all models that are there, and writes OUT.

    Args:
        study: the drives.
        out: file of the results.
    """
    document = scores(study)
    document["short"] = short_scores(study)
    atomic.write_bytes(out, as_json(document))
    print(out)
    return 0


def scores(study: Study) -> dict[str, Any]:
    """The scores of the models that are there."""
    detectors = [model for model in (PILLARS, VOXELS) if model.is_file()]
    by_model = score_detectors(study, detectors)
    document: dict[str, Any] = {
        "command": ["python", "-m", "benchmarks.sparse.accuracy", *sys.argv[1:]],
        **study.key(),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "detectors": {model.stem: detector_document(model, score) for model, score in by_model.items()},
    }
    if VOXELS in by_model:
        rows = compare(by_model[PILLARS], by_model[VOXELS]).rows
        document["voxels_less_pillars"] = {r.name: asdict(r.difference) for r in rows if r.difference is not None}
    if POINTS.is_file():
        document["segmenter"] = segmenter_document(study, POINTS)
    return document


def short_scores(study: Study) -> dict[str, float]:
    """mAP and mIoU on the beginning of the first drive: the part that a check runs anew."""
    beginning = replace(study, seeds=study.seeds[:1], duration_s=SHORT_SECONDS)
    detectors = [model for model in (PILLARS, VOXELS) if model.is_file()]
    found = {model.stem: float(s.metrics.mean_ap) for model, s in score_detectors(beginning, detectors).items()}
    return found | ({POINTS.stem: segmenter_document(beginning, POINTS)["mIoU"]} if POINTS.is_file() else {})


# --- the check --------------------------------------------------------------------------------------------------------


def check_accuracy(context: Context) -> Iterator[Row]:
    """Rows from the stored scores, and the beginning of a drive run anew; FULL=1 runs all of it anew."""
    study = Study(data=context.scratch)
    if runs_studies():
        run(study)
    if not RESULTS.is_file():
        yield Row("accuracy on drives that nothing was tuned on", None, "stored", False, f"no {RESULTS.name}: FULL=1")
        return
    document = json.loads(RESULTS.read_text())
    yield from _stored_models(document)
    yield from _detector_rows(document)
    yield from _segmenter_rows(document)
    live = short_scores(study)
    for name, stored in document["short"].items():
        yield at_most(f"{name}, {SHORT_SECONDS:g} s run anew: off the stored score", abs(live[name] - stored),
                      LIVE_TOLERANCE)  # fmt: skip


def _stored_models(document: dict[str, Any]) -> Iterator[Row]:
    """Whether the scores are those of the models in the repository."""
    scored = document["detectors"] | {POINTS.stem: document.get("segmenter")}
    for model in (PILLARS, VOXELS, POINTS):
        of = scored.get(model.stem)
        what, target = f"{model.stem}: scored", "the shipped file"
        if not model.is_file():
            yield missing(what, target, model)
        elif of is None:
            yield Row(what, None, target, False, "not scored: python -m benchmarks.sparse.accuracy")
        else:
            is_same = of["sha256"] == read_model(model).sha256
            yield Row(what, float(is_same), target, is_same)


def _detector_rows(document: dict[str, Any]) -> Iterator[Row]:
    drives = f"{len(document['seeds'])} drives"
    for name, score in document["detectors"].items():
        low, high = score["intervals_95"]["mAP"]
        mean_ap = _mean(c["AP"] for c in score["classes"].values())
        yield report_only(f"{name}, {drives}: mAP ({low:.3f} … {high:.3f})", mean_ap)
        for class_name, found in score["classes"].items():
            low, high = found["interval_95"]
            yield report_only(f"  {class_name}: AP ({low:.3f} … {high:.3f}), {found['objects']} objects", found["AP"])
        speeds = [c["AVE"] for c in score["classes"].values() if c["AVE"] is not None]
        yield at_most("  mean AVE, m/s", _mean(speeds), MOST_AVE_MPS)
    difference = document.get("voxels_less_pillars")
    if difference is not None:
        gain = difference["mAP"]
        yield at_least(f"voxels − pillars, mAP ({gain['low']:+.3f} … {gain['high']:+.3f})", gain["value"], LEAST_GAIN)


def _segmenter_rows(document: dict[str, Any]) -> Iterator[Row]:
    score = document.get("segmenter")
    if score is None:
        return
    present = {name: found for name, found in score["classes"].items() if found["num_points"]}
    for name, found in present.items():
        yield report_only(f"  {name}: IoU, {found['num_points']:,} points", found["iou"])
    yield at_least("segment-toytown: mIoU over the classes present", _mean(c["iou"] for c in present.values()),
                   LEAST_MIOU)  # fmt: skip


def _mean(values: Iterator[float] | Sequence[float]) -> float:
    return float(np.mean(list(values)))


if __name__ == "__main__":
    sys.exit(tyro.cli(run))
