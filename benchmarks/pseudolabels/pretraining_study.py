"""How much pre-training on pseudo-labels gains where labels are few: a study on the toy town.

    python -m benchmarks.pseudolabels.pretraining_study     # continues an interrupted study; about an hour on two cores

A pool of drives is recorded without labels and labelled by the full pipeline with the degraded mask model; 5 % of its
samples, spread over all drives, have true labels. Detectors are trained in several ways (the arms), each with three
seeds, which also choose the labelled samples, and scored on drives of other seeds. What is finished stands in
``results/pretraining.json`` at once.

``check_pretraining`` recomputes its rows from that file and runs the first steps of every arm anew; with ``FULL=1`` in
the environment it runs all of it first.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from concurrent.futures import as_completed
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.checks import REPOSITORY, Context, Row, all_of, as_json, at_least, report_only, runs_studies
from benchmarks.pseudolabels.label_changes import NOISE, NoiseKind, Relabelled, all_alike, perturbed
from benchmarks.studies import RECORDS, score, write_results
from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.io import atomic
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.toytown.training_drives import ToyTownDrives, open_drives, prepare
from lidarloop_training.data.views.concat import ConcatSource
from lidarloop_training.data.views.label_share import LabelShare, Split, split_labels
from lidarloop_training.data.views.pseudo_labelled import PseudoLabelledSource
from lidarloop_training.models.detector import NetworkConfig
from lidarloop_training.recipes.pillar_toytown import toytown_spec
from lidarloop_training.stages.config import OptimisationConfig, RunConfig, SelfTrainConfig, TrainConfig
from lidarloop_training.stages.schedule import OneCycleConfig
from lidarloop_training.stages.self_train import learn
from lidarloop_training.stages.trainer import fit
from lidarloop_training.tasks.augment import AugmentConfig
from lidarloop_training.tasks.detection.copy_paste import centerpoint_copy_paste
from lidarloop_training.tasks.detection.task import DetectionConfig
from lidarloop_training.workers import worker_pool

RESULTS = REPOSITORY / "results/pretraining.json"

_DRIVES = ToyTownDrives(root=Path("data/pretraining"), num_validation_drives=0)
POOL = dataclasses.replace(_DRIVES, first_train_seed=4000, num_train_drives=20, keyframe_every=5)
TEST = dataclasses.replace(_DRIVES, first_train_seed=5000, num_train_drives=16, keyframe_every=20)


RANGE_M = 38.4
"""What is learnt and scored, in x and y and round the vehicle: at 51.2 m the study would take twice as long."""


@dataclasses.dataclass(frozen=True)
class Study:
    """The size of the study.

    Attributes:
        folder: folder of drives, labels and runs.
        pool: drives to train on; ``percent`` of their samples have true labels.
        test: drives to score on.
        percent: share of the labelled samples in the pool, percent.
        pretrain_steps, fine_tune_steps, retrain_steps: optimiser steps with two samples each.
        seeds: random seeds of the arms that the targets compare.
        noise_seeds: random seeds of the arms with noisy labels.
    """

    folder: Path = Path("data/pretraining")
    pool: ToyTownDrives = POOL
    test: ToyTownDrives = TEST
    percent: float = 5.0
    pretrain_steps: int = 4000
    fine_tune_steps: int = 1200
    retrain_steps: int = 2400
    seeds: tuple[int, ...] = (0, 1, 2)
    noise_seeds: tuple[int, ...] = (0,)

    @property
    def labels(self) -> Path:
        return self.folder / "labelling"


def spec() -> ModelSpec:
    """The shipped model's, without the outer 13 m."""
    reach_m = (-RANGE_M, RANGE_M)
    shipped = toytown_spec()
    grid = dataclasses.replace(shipped.grid, x_range_m=reach_m, y_range_m=reach_m)
    return dataclasses.replace(shipped, name="pretraining-study", grid=grid)


def optimisation(num_steps: int) -> OptimisationConfig:
    schedule = OneCycleConfig(peak_learning_rate=2e-3)
    return OptimisationConfig(num_steps=num_steps, batch_size=2, schedule=schedule)


def labelled_share(study: Study, seed: int) -> LabelShare:
    """Single samples: a pool of twenty drives has one drive in 5 %, which would say more about that drive."""
    return LabelShare(percent=study.percent, unit="sample", seed=seed)


def base_config(study: Study, out: Path, seed: int) -> TrainConfig[DetectionConfig]:
    """Fine-tuning on true labels; a sixth of the shipped network, so that the study fits into an hour."""
    network = NetworkConfig(
        class_groups=(NUSCENES_CLASSES,),
        pillar_channels=16,
        stage_channels=(16, 32, 64),
        stage_depths=(1, 2, 2),
        neck_channels=32,
        shared_channels=32,
        group_channels=32,
    )
    return TrainConfig(
        task=DetectionConfig(
            spec=spec(),
            network=network,
            augment=AugmentConfig(flip_left_right=0.0, flip_front_back=0.0),
            balance_classes=True,
            copy_paste=centerpoint_copy_paste(),
        ),
        data=study.pool,
        optimisation=optimisation(study.fine_tune_steps),
        # Threads beyond one are worth less than a second run beside it; loading between the steps keeps a run to one.
        run=RunConfig(out=out, num_workers=0, num_threads=1, log_every=200, validate_every=10**9, checkpoint_every=500),
        labels=labelled_share(study, seed),
        seed=seed,
    )


# --- data -------------------------------------------------------------------------------------------------------------


def make_data(study: Study) -> None:
    """Drives, then their pseudo-labels; what is there stays."""
    for drives in (study.test, study.pool):
        prepare(drives, spec().num_sweeps, lambda done, of: print(f"made drive {done} of {of}", flush=True))
    with worker_pool(2) as pool:
        jobs = [pool.submit(_label, study, seed) for seed in study.pool.train_seeds]
        for number, job in enumerate(as_completed(jobs), 1):
            job.result()
            print(f"labelled drive {number} of {len(jobs)}", flush=True)


def _label(study: Study, seed: int) -> None:
    from lidarloop_training.data.drive_spec import ToyTown
    from lidarloop_training.data.writing.pseudo_labels import EVIDENCE
    from lidarloop_training.pseudolabel.executors.local import work_locally
    from lidarloop_training.pseudolabel.job import LabelJob
    from lidarloop_training.pseudolabel.mask_model_choice import ToyTownMaskModelSpec
    from lidarloop_training.pseudolabel.pipeline import label_drives

    out = study.labels / str(seed)
    if any(out.rglob(EVIDENCE)):
        return
    drive = ToyTown(seed, duration_s=study.pool.duration_s)
    label_drives(LabelJob(drive, ToyTownMaskModelSpec(), every=study.pool.keyframe_every), out, work_locally)


@cache
def pool_source(study: Study) -> SampleSource:
    return open_drives(study.pool, study.pool.train_seeds, spec().num_sweeps)


@cache
def split(study: Study, seed: int) -> Split:
    return split_labels(pool_source(study), labelled_share(study, seed))


def test_source(study: Study) -> SampleSource:
    return open_drives(study.test, study.test.train_seeds, spec().num_sweeps)


# --- arms -------------------------------------------------------------------------------------------------------------

FROM_SCRATCH = "true labels"
PRETRAINED = "pseudo-labels"
FINE_TUNED = "pseudo-labels, then true labels"
SELF_TRAINED = "and a round of self-training"
_SUFFIXES = {"copy-paste": " (copy-paste in pre-training)", "unweighted": " (without weights)"}


@dataclasses.dataclass(frozen=True)
class Arm:
    """A way to train, with one seed.

    Attributes:
        pretrain: "plain"; with "copy-paste"; "unweighted", all labels counting alike; with a kind of noise in them.
            None trains on true labels alone.
        level: amount of noise; see ``NOISE``.
        seed: random seed of weights, order and the choice of labelled samples.
    """

    pretrain: Literal["plain", "copy-paste", "unweighted"] | NoiseKind | None
    level: float
    seed: int

    @property
    def suffix(self) -> str:
        """Ending of the arm's name; "" for the usual way."""
        if self.pretrain in (None, "plain"):
            return ""
        return _SUFFIXES.get(self.pretrain, f" ({self.pretrain} ± {self.level:g})")

    @property
    def folder(self) -> str:
        return f"{self.pretrain or 'scratch'}-{self.level:g}-{self.seed}"


def arms(study: Study) -> list[Arm]:
    """The promised ones first."""
    promised = [Arm(how, 0.0, seed) for seed in study.seeds for how in (None, "plain")]
    varied = [Arm(how, 0.0, seed) for how in ("copy-paste", "unweighted") for seed in study.seeds]
    noisy = [Arm(kind, level, seed) for kind, levels in NOISE.items() for level in levels for seed in study.noise_seeds]
    return [*promised, *varied, *noisy]


def run_arm(study: Study, arm: Arm) -> None:
    """Trains and scores; what is recorded is not done again."""
    torch.set_num_threads(1)
    out = study.folder / "runs" / arm.folder
    labelled, rest = split(study, arm.seed)
    nothing = ConcatSource([])
    config = base_config(study, out / "fine-tune", arm.seed)
    if arm.pretrain is None:
        run = fit(config, labelled, nothing)
        record(study, FROM_SCRATCH, arm, run)
    elif arm.pretrain == "plain":
        # The very stages of `lidarloop self-train`; it takes the share of the labels from the split above.
        stages = SelfTrainConfig(
            fine_tune=config,
            pretrain=optimisation(study.pretrain_steps),
            retrain=optimisation(study.retrain_steps),
            pseudo_labels=study.labels,
            out=out,
        )
        last = learn(stages, labelled, rest, nothing)
        record(study, PRETRAINED, arm, out / "pretrain")
        record(study, FINE_TUNED, arm, out / "fine-tune")
        record(study, SELF_TRAINED, arm, last)
    else:
        run = _pretrain(study, arm, out / "pretrain")
        record(study, PRETRAINED, arm, run)
        run = fit(dataclasses.replace(config, init_from=run), labelled, nothing)
        record(study, FINE_TUNED, arm, run)


def _pretrain(study: Study, arm: Arm, out: Path) -> Path:
    """On the pool's pseudo-labels, changed by the arm's settings."""
    source: SampleSource = PseudoLabelledSource(pool_source(study), study.labels)
    config = dataclasses.replace(base_config(study, out, arm.seed), optimisation=optimisation(study.pretrain_steps))
    task = config.task.for_doubtful_labels()
    if arm.pretrain == "copy-paste":
        task = dataclasses.replace(task, copy_paste=config.task.copy_paste)
    if arm.pretrain == "unweighted":
        source = Relabelled(source, all_alike)
    elif arm.pretrain in NOISE:
        source = Relabelled(source, partial(perturbed, kind=arm.pretrain, level=arm.level))
    return fit(dataclasses.replace(config, task=task), source, ConcatSource([]))


def record(study: Study, name: str, arm: Arm, run: Path) -> None:
    """Scores a run and writes it down, unless that was done."""
    path = study.folder / RECORDS / f"{arm.folder}-{name.replace(' ', '-').replace(',', '')}.json"
    if path.is_file():
        return
    started = time.monotonic()
    metrics = score(run, test_source(study), RANGE_M)
    row = {
        "arm": name + arm.suffix,
        "seed": arm.seed,
        "mAP": metrics.mean_ap,
        "NDS": metrics.nds,
        "errors": metrics.errors,
        "AP": {c.name: c.mean_ap for c in metrics.present},
        "num_samples": metrics.num_frames,
        "num_labelled_samples": len(split(study, arm.seed).labelled),
        "scoring_s": round(time.monotonic() - started, 1),
    }
    atomic.write_bytes(path, as_json(row))
    print(f"mAP {metrics.mean_ap:.4f}  {row['arm']}, seed {arm.seed}", flush=True)


# --- study and check -------------------------------------------------------------------------------------------------


def run_study(study: Study, results: Path, *, num_processes: int = 2) -> None:
    """Runs what is missing and writes the results after every arm."""
    make_data(study)
    with worker_pool(num_processes) as pool:
        jobs = [pool.submit(run_arm, study, arm) for arm in arms(study)]
        for job in as_completed(jobs):
            job.result()
            write_results(results, study, study.folder / RECORDS)


def check_pretraining(context: Context) -> Iterator[Row]:
    """Pre-training on pseudo-labels and self-training against the same few labels from scratch."""
    if runs_studies():
        run_study(Study(folder=context.out / "pretraining"), RESULTS)
    points = _points_by_arm(json.loads(RESULTS.read_bytes())["runs"])
    for arm, values in sorted(points.items(), key=lambda item: -float(np.mean(item[1]))):
        what = f"mAP points: {arm}, ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else f"mAP points: {arm}"
        yield report_only(what, float(np.mean(values)), f"{len(values)} seeds")
    yield at_least("pre-training: mAP points gained", _gain(points, FINE_TUNED, FROM_SCRATCH), 8.0)
    yield at_least("self-training: mAP points gained on top", _gain(points, SELF_TRAINED, FINE_TUNED), 0.0)
    what = "copy-paste left out of pre-training: mAP points gained, as in the paper"
    if FINE_TUNED + _SUFFIXES["copy-paste"] in points:
        yield at_least(what, _gain(points, FINE_TUNED, FINE_TUNED + _SUFFIXES["copy-paste"]), 0.0)
    else:
        yield Row(what, None, "≥ 0", None, "not run yet")
    yield from _live(context)


def _points_by_arm(runs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Arm → mAP in points of each seed, in order of the seeds."""
    points: dict[str, list[float]] = {}
    for run in sorted(runs, key=lambda run: run["seed"]):
        points.setdefault(run["arm"], []).append(100 * run["mAP"])
    return points


def _gain(points: dict[str, list[float]], better: str, worse: str) -> float:
    """Mean over the seeds, each with the same labelled samples."""
    return float(np.mean(np.subtract(points[better], points[worse])))


def _live(context: Context) -> Iterator[Row]:
    """The whole way with a few steps on three short drives: nothing is learnt, but everything runs."""
    drives = ToyTownDrives(
        root=context.scratch / "drives", first_train_seed=4000, num_train_drives=2, first_validation_seed=5000,
        num_validation_drives=0, duration_s=4.0, keyframe_every=5,
    )  # fmt: skip
    test = dataclasses.replace(drives, first_train_seed=5000, num_train_drives=1)
    tiny = Study(
        folder=context.scratch, pool=drives, test=test, percent=50.0, pretrain_steps=4, fine_tune_steps=4,
        retrain_steps=4, seeds=(0,), noise_seeds=(),
    )  # fmt: skip
    run_study(tiny, context.scratch / "results" / "pretraining.json")
    runs = json.loads((context.scratch / "results" / "pretraining.json").read_bytes())["runs"]
    finite = sum(np.isfinite(run["mAP"]) for run in runs)
    yield all_of("live: stages that run from drives to a score", finite, 8)


if __name__ == "__main__":
    run_study(Study(), RESULTS)
