"""How good pseudo-labels are before any training, and what each step contributes: the zero-shot study.

    python -m benchmarks.pseudolabels.zero_shot_study                 # all rows; continues where it stopped
    python -m benchmarks.pseudolabels.zero_shot_study --only full paper
    python -m benchmarks.pseudolabels.zero_shot_study --drives.num-drives 2 --out out/study/small.json

Held-out drives of the toy town, two keyframes a second, degraded masks. Each row changes one thing of one of the
two recipes (``lidarloop_training.pseudolabel.ablations``) and is compared with it: paired bootstrap over blocks of ten
frames. Scans, pictures and lifted labels are kept under --drives.data, so that rows which differ in refinement alone
share what was lifted, as long as the code is the same. Results are written after each row.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console

import lidarloop_core.labelling
import lidarloop_core.tracking
import lidarloop_training.pseudolabel
from benchmarks.checks import REPOSITORY, Context, Row, as_json, at_least, commit, report_only, runs_studies
from benchmarks.pseudolabels.stored_drive import StoredDrive
from lidarloop_core.errors import ConfigError
from lidarloop_core.geometry.boxes import Boxes3D
from lidarloop_core.io import atomic
from lidarloop_core.labelling.placing.lanes import LaneLookup
from lidarloop_core.labelling.priors import ShapePriors
from lidarloop_core.machine import machine, versions
from lidarloop_training.data.drive_spec import ToyTown
from lidarloop_training.data.views.concat import ConcatSource
from lidarloop_training.data.writing.pseudo_labels import LabelledFrame
from lidarloop_training.evaluation.comparison import compare
from lidarloop_training.evaluation.metrics.matching import UNMATCHED, DetectionConfig
from lidarloop_training.evaluation.samples import SampleRecord
from lidarloop_training.evaluation.scoring import Detections, Resampling, Score, score_detections
from lidarloop_training.evaluation.statistics.breakdown import found_by
from lidarloop_training.pseudolabel.ablations import Trial, candidates, fault_rates, trials
from lidarloop_training.pseudolabel.frames import frame_document, read_frame
from lidarloop_training.pseudolabel.job import LabelJob, plain, sha256_of
from lidarloop_training.pseudolabel.mask_model_choice import ToyTownMaskModelSpec
from lidarloop_training.pseudolabel.refinement import refined
from lidarloop_training.pseudolabel.variants import open_lifter
from lidarloop_training.workers import worker_pool

RESULTS = REPOSITORY / "results/pseudolabel_zero_shot.json"
KEYFRAME_EVERY = 5
SHORT = ("paper", "full")
SHORT_SECONDS = 5.0
LEAST_GAIN = 1.5
LIVE_TOLERANCE = 0.02
MOVING_MPS = 0.5


@dataclass(frozen=True)
class Drives:
    """Which drives, and where what is made of them is kept."""

    data: Path = Path("data/pseudolabel_study")
    first_seed: int = 3010
    num_drives: int = 4
    duration_s: float = 10.0

    @property
    def seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.num_drives)

    def open(self, seed: int, *, num_sweeps: int = 1) -> StoredDrive:
        return StoredDrive(self.data / "drives", seed, duration_s=self.duration_s, num_sweeps=num_sweeps)


# --- one row on one drive, in a worker --------------------------------------------------------------------------------


def label(drives: Drives, trial: Trial, seed: int, code: str) -> dict[str, Boxes3D]:
    """Token → boxes in the world."""
    _, refinement = trial.steps()
    clouds = None if trial.sensors == "camera" else drives.open(seed)
    frames = refined(lifted(drives, trial, seed, code), refinement, clouds)
    return {
        frame.token: frame.labels.boxes.righted(frame.world_SE3_lidar)
        for frame in frames
        if frame.world_SE3_lidar is not None
    }


def lifted(drives: Drives, trial: Trial, seed: int, code: str) -> list[LabelledFrame]:
    """The labels of a drive's keyframes before refinement; from the disk where they were made before."""
    lifting, _ = trial.steps()
    key = sha256_of({"lifting": plain(lifting), "faults": trial.fault_factor, "sensors": trial.sensors})
    path = drives.data / "lifted" / code / f"{seed:05d}-{drives.duration_s:g}s-{key[:24]}.json"
    if not path.is_file():
        document = _lift(drives, trial, seed)
        atomic.write_bytes(path, json.dumps(document).encode())
    document = json.loads(path.read_bytes())
    return [read_frame(row, tuple(document["class_names"])) for row in document["frames"]]


def _lift(drives: Drives, trial: Trial, seed: int) -> dict[str, Any]:
    lifting, _ = trial.steps()
    drive = drives.open(seed, num_sweeps=lifting.num_sweeps)
    mask_model = ToyTownMaskModelSpec(fault_rates(trial.fault_factor))
    spec = ToyTown(seed, duration_s=drives.duration_s)
    job = LabelJob(spec, mask_model, lifting, sensors=trial.sensors, priors=ShapePriors.paper())
    lifter = open_lifter(job, drive)
    lanes = LaneLookup(drive.town.lane_map)
    frames = []
    for index in range(0, len(drive), KEYFRAME_EVERY):
        sample = drive[index]
        frames.append(frame_document(LabelledFrame.of(index, sample, *lifter(sample, lanes))))
    return {"class_names": lifter.class_names, "frames": frames}


# --- the study --------------------------------------------------------------------------------------------------------


class Study:
    """Rows on some drives, and their scores."""

    def __init__(self, drives: Drives, num_workers: int) -> None:
        self.drives = drives
        self.code = code_hash()
        self._pool = worker_pool(num_workers)
        self._scores: dict[str, Score] = {}

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def row(self, trial: Trial) -> dict[str, Any]:
        """Runs one row; plain JSON values."""
        started = time.monotonic()
        score = self.score(trial)
        row: dict[str, Any] = {"name": trial.name, "base": trial.base, "key": self.key(trial), **score_document(score)}
        row["lifting"], row["refinement"] = (plain(steps) for steps in trial.steps())
        row |= {"fault_factor": trial.fault_factor, "sensors": trial.sensors}
        if trial.name != trial.base:
            base = self.score(next(t for t in trials() if t.name == trial.base))
            row["against_base"] = {
                r.name: {**dataclasses.asdict(r.difference), "verdict": r.verdict}
                for r in compare(base, score).rows
                if r.difference is not None
            }
        return {**row, "seconds": round(time.monotonic() - started, 1)}

    def score(self, trial: Trial) -> Score:
        if trial.name not in self._scores:
            self._scores[trial.name] = self._score(trial)
        return self._scores[trial.name]

    def key(self, trial: Trial) -> str:
        """Of everything a row's numbers depend on."""
        drives = {"seeds": [*self.drives.seeds], "duration_s": self.drives.duration_s}
        return sha256_of({"trial": plain(trial.steps()), "faults": trial.fault_factor, "sensors": trial.sensors,
                          "drives": drives, "code": self.code})  # fmt: skip

    def _score(self, trial: Trial) -> Score:
        pending = [self._pool.submit(label, self.drives, trial, seed, self.code) for seed in self.drives.seeds]
        detections: dict[str, Boxes3D] = {}
        for future in as_completed(pending):
            future.result()  # the first exception is raised at once
        for future in pending:
            detections |= future.result()
        source, samples = ground_truth(self.drives)
        found = Detections(source, samples, detections, "world")
        return score_detections(found, DetectionConfig(), Resampling.of(samples, 1000))


@lru_cache(maxsize=2)
def ground_truth(drives: Drives) -> tuple[ConcatSource, list[SampleRecord]]:
    """The keyframes of all drives."""
    source = ConcatSource([drives.open(seed) for seed in drives.seeds])
    return source, [SampleRecord.of(source[i], i) for i in range(0, len(source), KEYFRAME_EVERY)]


def score_document(score: Score) -> dict[str, Any]:
    """The raw numbers of a row, from which all others can be computed."""
    metrics = score.metrics
    return {
        "mAP": metrics.mean_ap,
        "NDS": metrics.nds,
        "errors": dict(metrics.errors),
        "intervals_95": {name: list(score.intervals[name]) for name in ("mAP", "NDS")},
        "classes": {
            c.name: {"AP": c.mean_ap, "objects": c.num_objects, "labels": c.num_detections}
            | {key: error if math.isfinite(error) else None for key, error in c.errors.items()}
            for c in metrics.present
        },
        "mAP_by_range": {part.name: part.mean_ap for part in score.breakdown.by_range},
        "standing": _found(score, moving=False),
        "moving": _found(score, moving=True),
    }


def _found(score: Score, *, moving: bool) -> dict[str, float]:
    """Share of the standing, or moving, objects that any label finds, and the mean error of those labels, metres."""
    objects, detections = score.matching.objects, score.matching.detections
    finder = found_by(score.matching, 0.0)
    chosen = (np.hypot(*objects.values[:, 7:9].T) > MOVING_MPS) == moving
    found = chosen & (finder != UNMATCHED)
    off_m = np.linalg.norm(detections.values[finder[found], :2] - objects.values[found, :2], axis=1)
    return {"objects": int(chosen.sum()), "recall": float(found.sum() / chosen.sum()), "error_m": float(off_m.mean())}


def code_hash() -> str:
    """Of the modules that make labels: what is kept of an older version is not taken up."""
    packages = (lidarloop_core.labelling, lidarloop_core.tracking, lidarloop_training.pseudolabel)
    files = [file for package in packages for root in package.__path__ for file in sorted(Path(root).rglob("*.py"))]
    made_by = [file for file in files if file.name not in _MAKE_NO_LABELS]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in made_by)).hexdigest()[:16]


_MAKE_NO_LABELS = ("report.py", "diagnostics.py", "ablations.py", "ray.py", "local.py")


def run(
    only: tuple[str, ...] = (),
    drives: Drives = Drives(),
    out: Path = RESULTS,
    num_workers: int = 2,
    fresh: bool = False,
    short_alone: bool = False,
) -> int:
    """Runs the rows that are missing, or were made by other code, and writes them to OUT.

    Args:
        only: names of rows; by default all but those of steps that are no part of a recipe yet.
        drives: which.
        out: the results.
        num_workers: processes.
        fresh: run all rows anew.
        short_alone: run the part that a check repeats, and nothing else.

    Raises:
        ConfigError: if ``only`` names an unknown row.
    """
    known = {trial.name for trial in (*trials(), *candidates())}
    if unknown := sorted({*only} - known):
        raise ConfigError(f"received rows {', '.join(unknown)}; expected some of: {'; '.join(sorted(known))}")
    document = {} if fresh or not out.is_file() else json.loads(out.read_text())
    if short_alone:
        document["short"] = {**short_rows(drives.data, num_workers), "commit": commit(), "machine": machine()}
        atomic.write_bytes(out, as_json(document))
        print(document["short"])
        return 0
    rows = {row["name"]: row for row in document.get("rows", []) if row["name"] in known}
    console = Console(stderr=True)
    with Study(drives, num_workers) as study:
        for trial in (*trials(), *candidates()) if only else trials():
            if (only and trial.name not in only) or rows.get(trial.name, {}).get("key") == study.key(trial):
                continue
            rows[trial.name] = row = study.row(trial)
            console.print(f"{trial.name:36} mAP {row['mAP']:.3f}  NDS {row['NDS']:.3f}  {row['seconds']:.0f} s")
            ordered = [rows[t.name] for t in (*trials(), *candidates()) if t.name in rows]
            atomic.write_bytes(out, as_json(_document(study, ordered, document.get("short"))))
        if not only:
            short = {**short_rows(drives.data, num_workers), "commit": commit(), "machine": machine()}
            ordered = [rows[t.name] for t in (*trials(), *candidates()) if t.name in rows]
            atomic.write_bytes(out, as_json(_document(study, ordered, short)))
    print(out)
    return 0


def _document(study: Study, rows: Sequence[dict[str, Any]], short: Any) -> dict[str, Any]:
    return {
        "command": sys.argv,
        "seeds": [*study.drives.seeds],
        "duration_s": study.drives.duration_s,
        "keyframe_every": KEYFRAME_EVERY,
        "rate_hz": 10.0,
        "fault_rates": plain(fault_rates(1.0)),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "short": short,
        "rows": rows,
    }


def short_rows(data: Path, num_workers: int = 1) -> dict[str, float]:
    """The mAP of both recipes on the beginning of one drive: the part that a check runs anew."""
    drives = Drives(data, num_drives=1, duration_s=SHORT_SECONDS)
    with _same_rounding(), Study(drives, num_workers) as study:
        return {name: study.score(next(t for t in trials() if t.name == name)).metrics.mean_ap for name in SHORT}


@contextmanager
def _same_rounding() -> Iterator[None]:
    """Worker processes that begin meanwhile round as on any x86 processor with AVX2, whatever else theirs can do.

    Another last bit decides otherwise at the edge of a threshold, and on ten frames one label is worth points of mAP:
    0.69 with AVX-512's kernels, 0.72 with AVX2's, by the same code.
    """
    pinned = {"OPENBLAS_CORETYPE": "Haswell"}
    flags = Path("/proc/cpuinfo")
    if flags.exists() and "avx512f" in flags.read_text():
        pinned["NPY_DISABLE_CPU_FEATURES"] = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"
    before = dict(os.environ)
    os.environ.update(pinned)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# --- the check --------------------------------------------------------------------------------------------------------


def check_zero_shot(context: Context) -> Iterator[Row]:
    """The rows of the study from its raw results, and a small part of it run anew; FULL=1 runs all of it anew."""
    if runs_studies():
        run(fresh=True)
    document = json.loads(RESULTS.read_text())
    rows = {row["name"]: recomputed(row) for row in document["rows"]}
    paper, full = rows["paper"], rows["full"]
    yield report_only("zero-shot mAP of the plain paper pipeline", paper["mAP"])
    yield report_only("zero-shot mAP of the full pipeline", full["mAP"])
    yield at_least("full / paper, zero-shot mAP", full["mAP"] / paper["mAP"], LEAST_GAIN)
    yield at_least("full / paper, NDS", full["NDS"] / paper["NDS"], 1.0)
    for trial in trials():
        if trial.name != trial.base:
            yield ablation_row(trial, rows.get(trial.name))
    for trial in candidates():
        if trial.name in rows:
            yield ablation_row(trial, rows[trial.name])
    live = short_rows(context.scratch)
    for name in SHORT:
        off = abs(live[name] - document["short"][name])
        yield Row(f"{name}, {SHORT_SECONDS:g} s run anew: mAP off the stored one", off, f"≤ {LIVE_TOLERANCE:g}",
                  off <= LIVE_TOLERANCE)  # fmt: skip
    yield at_least("full / paper on that drive, run anew", live["full"] / live["paper"], 1.0)


def ablation_row(trial: Trial, row: dict[str, Any] | None) -> Row:
    """Holds where it went as expected; where it did not, and the reason is known, it is only reported."""
    expected = "either" if trial.expect == "either" else f"{trial.expect} than {trial.base}"
    target = f"{expected}: {trial.because}"
    if row is None:
        return Row(f"{trial.name}, {trial.figure}", None, target, False, "not run")
    change = row["against_base"][trial.figure]
    verdict = change["verdict"] or "no difference beyond chance"
    measured = f"{trial.figure} {change['value']:+.3f} ({change['low']:+.3f} … {change['high']:+.3f}): {verdict}"
    what = f"{trial.name}, {measured}"
    value = row["mAP"] if trial.figure == "mAP" else row["errors"][trial.figure]
    if trial.expect == "either":
        return Row(what, value, target, None)
    if verdict != trial.expect and trial.reason:
        return Row(what, value, target, None, trial.reason)
    return Row(what, value, target, verdict == trial.expect)


def recomputed(row: dict[str, Any]) -> dict[str, Any]:
    """The row with mAP, errors and NDS computed from its classes once more."""
    classes = row["classes"].values()
    mean_ap = sum(c["AP"] for c in classes) / len(classes)
    errors = {}
    for key in ("ATE", "ASE", "AOE", "AVE", "AAE"):
        known = [c[key] for c in classes if c[key] is not None]
        errors[key] = sum(known) / len(known)
    nds = (5 * mean_ap + sum(max(0.0, 1 - error) for error in errors.values())) / 10
    return {**row, "mAP": mean_ap, "NDS": nds, "errors": errors}


if __name__ == "__main__":
    sys.exit(tyro.cli(run))
