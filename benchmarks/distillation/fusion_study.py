"""LiDAR alone, cameras alone and both, where labels are few: a study on the toy town after CM3D's BEVFusion rows.

    python -m benchmarks.distillation.fusion_study                 # continues an interrupted study
    python -m benchmarks.distillation.fusion_study --processes 2 --only fused

A pool of drives with pictures is labelled by the full pipeline with the degraded mask model; ``percent`` of its drives
have true labels. Each sensor's network learns from the true labels alone (scratch), and from the pseudo-labels first.
All are scored on drives of other seeds. A result is a line of ``results/fusion.jsonl`` as soon as it is known; a run
that was interrupted goes on from its checkpoint. ``make check-distillation`` computes its rows from that file.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.checks import REPOSITORY, Row, at_least, report_only
from benchmarks.contrastive.arms import RANGE_M, downstream
from benchmarks.records import Record, append, matching, read
from benchmarks.studies import made_by, score
from lidarloop_core.camera_bev.rig import CameraRig
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.drive_spec import ToyTown
from lidarloop_training.data.toytown.training_drives import ToyTownDrives, open_drives, prepare
from lidarloop_training.data.views.concat import ConcatSource
from lidarloop_training.data.views.label_share import LabelShare, split_labels
from lidarloop_training.data.views.pseudo_labelled import PseudoLabelledSource
from lidarloop_training.data.writing.pseudo_labels import EVIDENCE
from lidarloop_training.pseudolabel.executors.local import work_locally
from lidarloop_training.pseudolabel.job import LabelJob
from lidarloop_training.pseudolabel.mask_model_choice import ToyTownMaskModelSpec
from lidarloop_training.pseudolabel.pipeline import label_drives
from lidarloop_training.recipes.fusion import TOYTOWN_RIG
from lidarloop_training.stages.config import OptimisationConfig, RunConfig, TrainConfig
from lidarloop_training.stages.schedule import OneCycleConfig
from lidarloop_training.stages.trainer import fit
from lidarloop_training.tasks.detection.task import DetectionConfig
from lidarloop_training.tasks.fusion.task import FusionConfig
from lidarloop_training.workers import worker_pool

RESULTS = REPOSITORY / "results/fusion.jsonl"

LIDAR, CAMERAS, FUSED = "LiDAR alone", "cameras alone", "fused"
SENSORS = (LIDAR, CAMERAS, FUSED)

SCRATCH, ZERO_SHOT, PRETRAINED = "scratch", "pseudo-labels alone", "pre-trained on pseudo-labels"
STARTS = (SCRATCH, ZERO_SHOT, PRETRAINED)

LEAST_SEEDS = 2

_DRIVES = ToyTownDrives(
    root=Path("data/contrastive"),
    num_validation_drives=0,
    duration_s=4.0,
    keyframe_every=10,
    cameras=True,
    style="lookalikes",
)
POOL = dataclasses.replace(_DRIVES, first_train_seed=6000, num_train_drives=100)
TEST = dataclasses.replace(_DRIVES, first_train_seed=8000, num_train_drives=16, duration_s=20.0, keyframe_every=40)
"""Pool and test drives of the study of contrastive pre-training; those to score on with pictures."""


@dataclasses.dataclass(frozen=True)
class Study:
    """The size of the study.

    Attributes:
        folder: folder of labels and runs.
        pool: drives to pre-train on, and to take labels from.
        test: drives to score on.
        percent: share of the pool's drives with true labels, percent.
        pretrain_steps: optimiser steps on pseudo-labels, four samples each.
        fine_tune_steps: optimiser steps on true labels, two samples each.
        rate: peak learning rate of both.
        seeds: random seeds of weights, order and labelled drives.
    """

    folder: Path = Path("data/fusion")
    pool: ToyTownDrives = POOL
    test: ToyTownDrives = TEST
    percent: float = 5.0
    pretrain_steps: int = 1600
    fine_tune_steps: int = 600
    rate: float = 4e-3
    seeds: tuple[int, ...] = (0, 1, 2)

    @property
    def key(self) -> str:
        """Hash of all that the results depend on, but the seeds that were run and where things lie."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("folder", "seeds"):
            del values[name]
        for name in ("pool", "test"):
            values[name] = dataclasses.replace(values[name], root=Path(), num_processes=1)
        return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:12]


def rig(*, takes_points: bool) -> CameraRig:
    """The recipes' pictures, for the study's range: depths a metre apart, a map of 0.8 m."""
    far_m = 1.0 + round(RANGE_M)
    return dataclasses.replace(
        TOYTOWN_RIG,
        depth_range_m=(1.0, far_m),
        num_depths=round(far_m - 1.0),
        map_stride=2,
        takes_points=takes_points,
    )


def task(sensors: str) -> DetectionConfig:
    """The small network on pillars of the study of contrastive pre-training, with cameras or in their place."""
    lidar = downstream("pillars")
    assert isinstance(lidar, DetectionConfig)
    if sensors == LIDAR:
        return lidar
    values = {each.name: getattr(lidar, each.name) for each in dataclasses.fields(lidar)}
    values["spec"] = dataclasses.replace(lidar.spec, name="fusion-study", cameras=rig(takes_points=sensors == FUSED))
    return FusionConfig(**values, camera_dropout=0.1 if sensors == FUSED else 0.0)


# --- data -------------------------------------------------------------------------------------------------------------


def make_data(study: Study, processes: int) -> None:
    """Drives, then the pool's pseudo-labels; what is there stays."""
    for drives in (study.test, study.pool):
        prepare(drives, 1, lambda done, of: print(f"made drive {done} of {of}", flush=True))
    with worker_pool(processes) as pool:
        for job in as_completed([pool.submit(_label, study, seed) for seed in study.pool.train_seeds]):
            job.result()


def _label(study: Study, seed: int) -> None:
    out = _labels(study) / str(seed)
    if any(out.rglob(EVIDENCE)):
        return
    drive = ToyTown(seed, duration_s=study.pool.duration_s, style=study.pool.style)
    label_drives(LabelJob(drive, ToyTownMaskModelSpec(), every=study.pool.keyframe_every), out, work_locally)


def _labels(study: Study) -> Path:
    return study.folder / f"labels-{study.pool.style}-{study.pool.duration_s:g}s-every{study.pool.keyframe_every}"


@cache
def _pool(study: Study) -> SampleSource:
    return open_drives(study.pool, study.pool.train_seeds, 1)


# --- runs -------------------------------------------------------------------------------------------------------------


def run_sensors(study: Study, sensors: str, seed: int, results: Path) -> None:
    """All starts of one kind of sensors with one seed; what is recorded is not done again."""
    torch.set_num_threads(1)
    nothing = ConcatSource([])
    out = study.folder / study.key / f"{sensors.replace(' ', '-').lower()}-{seed}"
    labelled = split_labels(_pool(study), LabelShare(study.percent, "drive", seed)).labelled
    scratch = _config(study, task(sensors), out / "scratch", study.fine_tune_steps, min(2, len(labelled)), seed)
    _record(study, (sensors, SCRATCH, seed), lambda: fit(scratch, labelled, nothing), results)

    pretrain = _config(study, task(sensors).for_doubtful_labels(), out / "pretrain", study.pretrain_steps, 4, seed)
    pseudo = PseudoLabelledSource(_pool(study), _labels(study))
    _record(study, (sensors, ZERO_SHOT, seed), lambda: fit(pretrain, pseudo, nothing), results)
    fine_tune = dataclasses.replace(
        scratch,
        run=dataclasses.replace(scratch.run, out=out / "fine-tune"),
        init_from=pretrain.run.out,
    )
    _record(study, (sensors, PRETRAINED, seed), lambda: fit(fine_tune, labelled, nothing), results)


def _config(
    study: Study, config: DetectionConfig, out: Path, num_steps: int, batch_size: int, seed: int
) -> TrainConfig[DetectionConfig]:
    never = 10**9
    return TrainConfig(
        task=config,
        data=study.pool,
        optimisation=OptimisationConfig(
            num_steps=num_steps,
            batch_size=batch_size,
            schedule=OneCycleConfig(peak_learning_rate=study.rate),
            precision="float32",
        ),
        run=RunConfig(out=out, num_workers=0, num_threads=1, log_every=200, validate_every=never, checkpoint_every=200),
        seed=seed,
    )


def _record(study: Study, arm: tuple[str, str, int], train: Any, results: Path) -> None:
    """Trains, scores and writes the line, unless it is there."""
    key: Record = dict(zip(("study", "sensors", "start", "seed"), (study.key, *arm), strict=True))
    if matching(read(results), **key):
        return
    metrics = score(train(), open_drives(study.test, study.test.train_seeds, 1), RANGE_M)
    found = {"mAP": metrics.mean_ap, "NDS": metrics.nds, "AP": {c.name: c.mean_ap for c in metrics.present}}
    append(results, {**key, **found, **made_by(study)})
    print(f"mAP {metrics.mean_ap:.4f}  NDS {metrics.nds:.4f}  {arm[0]}, {arm[1]}, seed {arm[2]}", flush=True)


def run_study(study: Study, results: Path = RESULTS, *, processes: int = 1, only: Sequence[str] = ()) -> None:
    """Makes the data, then runs what is missing; the first seed of all sensors comes first."""
    make_data(study, processes)
    todo = [(sensors, seed) for seed in study.seeds for sensors in SENSORS if not only or sensors in only]
    with worker_pool(processes) as pool:
        for job in as_completed([pool.submit(run_sensors, study, *each, results) for each in todo]):
            job.result()


# --- rows -------------------------------------------------------------------------------------------------------------


def rows_of_fusion(results: Path = RESULTS) -> Iterator[Row]:
    """The table, and CM3D's directions: pre-training gains for each network, and cameras gain beside the LiDAR."""
    records = read(results)
    if len(studies := {record["study"] for record in records}) > 1:
        reason = f"{results.name} holds runs of {len(studies)} studies of other sizes: keep those of one"
        yield Row("fusion: runs of one study", len(studies), "1", False, reason)
        return
    for sensors in SENSORS:
        for start in STARTS:
            yield _reported(records, sensors, start)
    for sensors in SENSORS:
        yield _gained(records, f"{sensors}, pre-trained over scratch", (sensors, PRETRAINED), (sensors, SCRATCH))
    for start in (SCRATCH, PRETRAINED):
        yield _gained(records, f"fused over LiDAR alone, {start}", (FUSED, start), (LIDAR, start))


def _points(records: Sequence[Record], sensors: str, start: str) -> dict[int, float]:
    """Seed → mAP in points."""
    return {record["seed"]: 100 * record["mAP"] for record in matching(records, sensors=sensors, start=start)}


def _reported(records: Sequence[Record], sensors: str, start: str) -> Row:
    what, values = f"fusion: {sensors}, {start}: mAP points", list(_points(records, sensors, start).values())
    if len(values) < LEAST_SEEDS:
        return _absent(what, "a stored run")
    spread = f" ± {np.std(values, ddof=1):.1f}"
    return report_only(what + spread, float(np.mean(values)), f"{len(values)} seeds")


def _gained(records: Sequence[Record], what: str, better: tuple[str, str], worse: tuple[str, str]) -> Row:
    """Mean over the seeds that both have."""
    what = f"fusion: {what}: mAP points gained, as in CM3D"
    ours, theirs = _points(records, *better), _points(records, *worse)
    gains = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    return at_least(what, float(np.mean(gains)), 0.0) if len(gains) >= LEAST_SEEDS else _absent(what, "≥ 0")


def _absent(what: str, target: str) -> Row:
    return Row(what, None, target, False, "not run: python -m benchmarks.distillation.fusion_study")


def main(
    study: Study = Study(),  # frozen
    results: Path = RESULTS,
    processes: int = 1,
    only: tuple[str, ...] = (),
) -> None:
    """Runs what is missing of the study.

    Args:
        study: its size.
        results: file of the finished runs, a line each.
        processes: runs at once, of one thread each.
        only: kinds of sensors; all by default.
    """
    run_study(study, results, processes=processes, only=only)


if __name__ == "__main__":
    tyro.cli(main)
