"""Adaptation to a real drive without its labels, measured on this drive and on others.

    python -m benchmarks.streets.adapt                                    # KITTI 0003: source, labels, adapted
    python -m benchmarks.streets.adapt --adapt-to pandaset-002
    python -m benchmarks.streets.adapt --arms "adapted, batch norms of training" "adapted, two rounds"
    python -m benchmarks.streets.adapt --source out/pillar-hdl64e --lidar hdl64e --real-share 0.75

Options that the study does not know are those of ``lidarloop adapt``. The same command goes on where it was
interrupted: each arm lies in a folder of its own outside the repository, and each score is a line of RESULTS. Without
--source, one is trained on the toy town with the drive's kind of LiDAR. Settings are chosen on ``drives.TUNING`` alone.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console

from benchmarks.checks import (
    REAL_DATA,
    REPOSITORY,
    Context,
    Row,
    all_of,
    at_least,
    at_most,
    commit,
    lidarloop,
    report_only,
)
from benchmarks.records import append, matching, read
from benchmarks.streets.drives import RealDrive, drives
from benchmarks.streets.labels import DETECTOR, SEGMENTER
from benchmarks.streets.pack import UNPACKED, unpack
from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.inference.backend import open_backend
from lidarloop_core.machine import machine
from lidarloop_core.model.model_file import read_model
from lidarloop_training.data.drive_lookup import drive_arguments
from lidarloop_training.data.views.pseudo_labelled import PseudoLabelledSource
from lidarloop_training.evaluation.metrics.matching import DetectionConfig as ScoringConfig
from lidarloop_training.evaluation.metrics.nuscenes import DetectionMetrics, evaluate_detections
from lidarloop_training.evaluation.samples import SampleRecord
from lidarloop_training.stages.adapt.step_report import StepReport
from lidarloop_training.stages.checkpoint import find_checkpoint, weights_sha256
from lidarloop_training.stages.infer import SampleDetector, TorchBackend
from lidarloop_training.toytown.lidar_styles import STYLES, LidarName

RESULTS = REPOSITORY / "results/streets_adapt.jsonl"
WORK = UNPACKED.parent / "streets_adapt"
_MODULE = "benchmarks.streets.adapt"
RANGE_M, MEETS_M = 50.0, 2.0
SHOWN = ("car", "pedestrian", "bicycle")

DriveOf = Literal["kitti-0001", "kitti-0003", "pandaset-002"]

SOURCE, LABELS, ALONE, ADAPTED = "source", "pseudo-labels", "pseudo-labels alone", "adapted"
MAIN_ARMS = (SOURCE, ADAPTED, LABELS, ALONE)
ABLATIONS: dict[str, tuple[str, ...]] = {
    "adapted, batch norms of training": ("--norm-batches", "0"),
    "adapted, unseen taken for empty": ("--doubts.no-ignore-unseen",),
    "adapted, all labels believed": ("--doubts.min-quality", "0", "--doubts.ghost-quality", "0"),
    "adapted, boxes on few points believed": ("--doubts.min-points", "0"),
    "adapted, labels weigh alike": ("--doubts.no-weigh",),
    "adapted, without toy town": ("--real-share", "1"),
    "adapted, two rounds": ("--rounds", "2"),
    "adapted, three rounds": ("--rounds", "3"),
}
"""Arms that differ from ``adapted`` in one thing, by the options of ``lidarloop adapt``."""


@dataclass(frozen=True)
class Study:
    """A source, a drive without labels, and what becomes of the two.

    Attributes:
        adapt_to: drive that gives pseudo-labels.
        arms: what is scored; ``adapted`` makes the labels that the other arms take.
        score_on: drives that are scored; all by default.
        source: run or model file to start from; by default one is trained.
        lidar: kind of LiDAR of the toy town; by default the drive's.
        source_steps: steps of a source that is trained here.
        num_town_drives: drives of the toy town that it learns from.
        num_sweeps: sweeps that it merges. The pack's drives have five a second, not compensated for ego-motion.
        num_steps: steps of each adaptation and of training on pseudo-labels alone.
        every: scores each n-th frame, for a first look.
        models: folder of the 2D networks.
        work: folder of runs and labels, outside the repository.
        results: file that each score is added to.
    """

    adapt_to: DriveOf = "kitti-0003"
    arms: tuple[str, ...] = MAIN_ARMS
    score_on: tuple[str, ...] = ()
    source: Path | None = None
    lidar: LidarName | None = None
    source_steps: int = 6000
    num_town_drives: int = 60
    num_sweeps: int = 1
    num_steps: int = 3000
    every: int = 1
    models: Path = REAL_DATA / "models2d"
    work: Path = WORK
    results: Path = RESULTS

    def __post_init__(self) -> None:
        known = (*MAIN_ARMS, *ABLATIONS)
        if not set(self.arms) <= set(known) or not set(self.score_on) <= drives().keys():
            raise ConfigError(
                f"received arms {', '.join(self.arms)} scored on {', '.join(self.score_on)}; expected some of "
                f"{', '.join(known)}, on some of {', '.join(drives())}"
            )

    @property
    def town_lidar(self) -> LidarName:
        """Kind of LiDAR of the toy town."""
        return self.lidar or drives()[self.adapt_to].lidar

    @property
    def scored(self) -> tuple[str, ...]:
        """Drives that are scored."""
        return self.score_on or tuple(drives())

    def folder(self, arm: str) -> Path:
        """Where an arm lies."""
        return self.work / f"{self.adapt_to}-{self.town_lidar}" / arm.replace(",", "").replace(" ", "-")

    def town(self, prefix: str) -> tuple[object, ...]:
        """Options of a command that name the toy town's drives."""
        return (f"--{prefix}.root", self.work / "town", f"--{prefix}.lidar", self.town_lidar)


def run(study: Study, options: Sequence[str] = ()) -> None:
    """All arms that are not scored yet, with options of ``lidarloop adapt``."""
    source = study.source or train_source(study)
    for arm in study.arms:
        score_arm = partial(write_score, study, arm, options)
        if arm == SOURCE:
            for name in study.scored:
                score_arm(name, source)
        elif arm == LABELS:
            score_arm(study.adapt_to, labels_of_drive(study))
        else:
            model = train_alone(study) if arm == ALONE else adapted(study, arm, source, options)
            for name in study.scored:
                score_arm(name, model)


def train_source(study: Study) -> Path:
    """A detector of the toy town with the study's LiDAR."""
    out = study.work / f"source-{study.town_lidar}-{study.num_sweeps}"
    lidarloop(
        "train", "pillar-toytown", "--run.out", out, *study.town("data"),
        "--data.num-train-drives", study.num_town_drives, "--data.num-validation-drives", 1,
        "--optimisation.num-steps", study.source_steps, "--task.spec.num-sweeps", study.num_sweeps,
        "--task.spec.lidar-height-m", STYLES[study.town_lidar].place_m[1],
    )  # fmt: skip
    return out


def adapted(study: Study, arm: str, source: Path, options: Sequence[str] = ()) -> Path:
    """The model file of an arm; the labels of ``adapted`` are made with it, the other arms take these.

    Raises:
        DatasetError: the labels are missing.
    """
    out, drive = study.folder(arm), drives()[study.adapt_to]
    masks = (
        "--mask-model", "onnx", "--onnx.detector", study.models / DETECTOR,
        "--onnx.segmenter", study.models / SEGMENTER, "--mask-cache", study.work / "mask-cache",
    )  # fmt: skip
    labels = masks if arm == ADAPTED else ("--labels", labels_folder(study))
    lidarloop(
        "adapt", source, *drive_arguments(drive.spec), "--out", out, *labels, *study.town("town"),
        "--optimisation.num-steps", study.num_steps, *options, *ABLATIONS.get(arm, ()),
    )  # fmt: skip
    models = sorted(out.glob("round-*/model.onnx"), key=lambda path: int(path.parent.name.removeprefix("round-")))
    return models[-1]


def labels_folder(study: Study) -> Path:
    """The labels that the arm ``adapted`` has made.

    Raises:
        DatasetError: it has made none.
    """
    folder = study.folder(ADAPTED) / "labels"
    if not folder.is_dir():
        raise DatasetError(f"received no labels at {folder}; expected those of the arm {ADAPTED}: name it first")
    return folder


def labels_of_drive(study: Study) -> Path:
    """The one file of labels of the drive."""
    (path,) = labels_folder(study).rglob("labels.json")
    return path


def train_alone(study: Study) -> Path:
    """A network trained from scratch on the pseudo-labels alone, all of them believed."""
    kind, path, *_ = drive_arguments(drives()[study.adapt_to].spec)
    out = study.folder(ALONE)
    lidarloop(
        "train", "pillar-pretrain", "--run.out", out, "--data.source", kind, "--data.path", path,
        "--data.labels", labels_folder(study), "--optimisation.num-steps", study.num_steps,
        "--task.spec.num-sweeps", study.num_sweeps,
    )  # fmt: skip
    return out


def write_score(study: Study, arm: str, options: Sequence[str], name: str, model: Path) -> None:
    """Scores an arm on a drive, unless that stands in the results already."""
    about = {
        "arm": arm,
        "adapt_to": study.adapt_to,
        "lidar": study.town_lidar,
        "scored_on": name,
        "every": study.every,
        "options": list(options),
        "sha256": _sha256(model),
    }
    if matching(read(study.results), **about):
        return
    metrics = score(model, drives()[name], study.every)
    row = {**about, **_scores(metrics), **_cost(study.folder(arm) / "steps.json"), "commit": commit()}
    append(study.results, {**row, "machine": machine(), "command": ["python", "-m", _MODULE, *sys.argv[1:]]})
    shown = ", ".join(f"{n} {row['ap_2m'][n]:.3f}" for n in SHOWN if n in row["ap_2m"])
    print(f"{arm} on {name}, {metrics.num_frames} frames: AP at {MEETS_M:g} m: {shown}")


def _sha256(model: Path) -> str:
    if model.suffix == ".json":
        return hashlib.sha256(model.read_bytes()).hexdigest()
    if model.is_file():
        return hashlib.sha256(read_model(model).onnx_bytes).hexdigest()
    return weights_sha256(find_checkpoint(model))


def _scores(metrics: DetectionMetrics) -> dict[str, Any]:
    return {
        "num_frames": metrics.num_frames,
        "objects": {c.name: c.num_objects for c in metrics.present},
        "ap_2m": {c.name: round(float(c.average_precision[MEETS_M]), 4) for c in metrics.present},
        "ap": {c.name: round(float(c.mean_ap), 4) for c in metrics.present},
    }


def _cost(path: Path) -> dict[str, float]:
    """Minutes and memory of the steps of an adaptation; nothing for what is none."""
    if not path.is_file():
        return {}
    rows = json.loads(path.read_bytes())["steps"]
    peaks = [row["peak_mb"] for row in rows if row["peak_mb"] is not None]
    return {"minutes": round(sum(row["seconds"] for row in rows) / 60, 2), "peak_mb": max(peaks, default=0.0)}


def score(model: Path, drive: RealDrive, every: int = 1) -> DetectionMetrics:
    """The nuScenes metrics of a model, a run or a file of labels within ``RANGE_M``.

    Only boxes count that lie where labels exist; see ``ScoredSample``.
    """
    if model.suffix == ".json":
        source = drive.spec.open()
        labelled = PseudoLabelledSource(source, model)
        found = {i: labelled.annotations(i).boxes for i in drive.frames(every) if labelled.has_labels(i)}
    else:
        backend = open_backend(model) if model.is_file() else TorchBackend.of_checkpoint(model)
        find = SampleDetector(backend, score_threshold=0.02)
        source = drive.spec.open(num_sweeps=backend.spec.num_sweeps)
        found = {i: find(source[i]) for i in drive.frames(every)}
    samples = {i: source[i] for i in found}
    ranges = dict.fromkeys(ScoringConfig().class_names, RANGE_M)
    predictions, truth = {}, {}
    for i, boxes in found.items():
        record = SampleRecord.of(samples[i], i)
        predictions[record.token] = record.to_level(boxes[drive.scored(samples[i]).counted(boxes)], "lidar")
        truth[record.token] = record.ground_truth()
    return evaluate_detections(predictions, truth, ScoringConfig(class_range_m=ranges))


# --- rows of check_streets --------------------------------------------------------------------------------------------


def adaptation(_: Context) -> Iterator[Row]:
    """What the study found, from its results."""
    rows = {(r["adapt_to"], r["arm"], r["scored_on"]): r for r in read(RESULTS) if r["every"] == 1}
    if not rows:
        yield _not_run("adaptation to real drives: AP of car", "≥ 0.55")
    for adapt_to in dict.fromkeys(key[0] for key in rows):
        yield from _rows_of(adapt_to, {key[1:]: row for key, row in rows.items() if key[0] == adapt_to})


def _rows_of(adapt_to: str, rows: dict[tuple[str, str], dict[str, Any]]) -> Iterator[Row]:
    for (arm, name), row in rows.items():
        if arm not in (ADAPTED, LABELS):
            for label in [label for label in SHOWN if label in row["ap_2m"]]:
                yield report_only(f"adapted to {adapt_to}: {arm}, on {name}: AP of {label}", row["ap_2m"][label])
    labels = rows.get((LABELS, adapt_to))
    if labels is not None:
        yield report_only(f"{adapt_to}: AP of its pseudo-labels for cars", labels["ap_2m"].get("car", float("nan")))
    for name in [name for arm, name in rows if arm == ADAPTED]:
        yield from _adapted_rows(adapt_to, name, rows[ADAPTED, name], rows.get((SOURCE, name)), labels)


def _adapted_rows(
    adapt_to: str, name: str, row: dict[str, Any], source: dict[str, Any] | None, labels: dict[str, Any] | None
) -> Iterator[Row]:
    what = f"adapted to {adapt_to}, on {name}: AP of "
    if source is None:
        yield _not_run(f"{what}car, against the source", "≥ source + 0.25")
        return
    before, car = source["ap_2m"], row["ap_2m"].get("car")
    if name == adapt_to:
        if labels is None:
            yield _not_run(f"{what}car, against its pseudo-labels", "≥ labels + 0.03")
        elif car is not None:
            yield at_least(f"{what}car, against its pseudo-labels", car, labels["ap_2m"]["car"] + 0.03)
        yield at_most(f"adapted to {adapt_to}: minutes from unlabelled drive to model", row["minutes"], 90)
        yield report_only(f"adapted to {adapt_to}: peak memory, MB", row["peak_mb"])
    elif car is not None:
        yield at_least(f"{what}car", car, max(0.55, before["car"] + 0.25))
    for label in [label for label in SHOWN[1:] if label in row["ap_2m"]]:
        yield _above(f"{what}{label}, against the source", row["ap_2m"][label], before[label])


def _above(what: str, value: float, before: float) -> Row:
    return Row(what, value, f"> {before:g}", value > before)


def _not_run(what: str, target: str) -> Row:
    return Row(what, None, target, False, f"not run: python -m {_MODULE}")


def adaptation_runs(context: Context) -> Iterator[Row]:
    """The chain on three real samples with a tiny network: labels, training, norms, export, scores."""
    town = ("num-train-drives", 1, "duration-s", 1, "keyframe-every", 2, "root", context.scratch / "town")
    words = [(f".{a}", b) for a, b in zip(town[::2], town[1::2], strict=True)]
    source = context.scratch / "source"
    train = [word for name, value in words for word in (f"--data{name}", value)]
    lidarloop("train", "pillar-smoke", "--run.out", source, *train, "--optimisation.num-steps", 2)
    study = Study(
        adapt_to="kitti-0001",
        arms=(ADAPTED,),
        score_on=("kitti-0001",),
        source=source,
        lidar="hdl32e",
        num_steps=2,
        every=7,
        models=context.data / "models2d",
        work=context.scratch / "work",
        results=context.scratch / "results.jsonl",
    )
    options = [str(word) for name, value in words for word in (f"--town{name}", value)]
    options += ["--every", "5", "--optimisation.batch-size", "2", "--num-workers", "0", "--norm-batches", "1"]
    run(study, options)
    run(study, options)  # nothing is done again
    scores, steps = read(study.results), StepReport(study.folder(ADAPTED) / "steps.json", Console(quiet=True))
    yield all_of("adaptation of a tiny network to a real drive: steps that ended", _ended(steps), len(steps.rows))
    yield all_of("  scores written, once each", len(scores), 1)


def _ended(steps: StepReport) -> int:
    return sum(row["finished"] for row in steps.rows)


def main() -> None:
    """Runs the study; the options that it does not know are handed to ``lidarloop adapt``."""
    study, options = tyro.cli(Study, description=__doc__, return_unknown_args=True)
    if reason := unpack(REAL_DATA / "streets", UNPACKED):
        raise SystemExit(f"skipped: {reason}")
    if study.work.resolve().is_relative_to(REPOSITORY):
        raise SystemExit(f"received --work {study.work}; expected a folder outside the repository")
    run(study, options)


if __name__ == "__main__":
    main()
