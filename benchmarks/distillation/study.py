"""What distillation from a painted teacher gains: a study on the toy town after S2M2-SSD's protocol.

    python -m benchmarks.distillation.study                      # continues an interrupted study
    python -m benchmarks.distillation.study --processes 2 --only "student alone" full

A teacher on painted points, a student of the same network without paint, and students taught in several ways (the
arms, ``arms.py``) learn from 30 % of the training drives and are scored on drives of other seeds. A run that is
finished is one line of ``results/distillation.jsonl``; one that was interrupted goes on from its checkpoint.
``make check-distillation`` computes its rows from that file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.checks import REPOSITORY
from benchmarks.distillation.arms import TEACHER, Arm, arms
from benchmarks.records import append, read
from benchmarks.studies import made_by, score
from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.toytown.training_drives import ToyTownDrives, open_drives, prepare
from lidarloop_training.data.views.concat import ConcatSource
from lidarloop_training.losses.distillation.responses import crucial_responses
from lidarloop_training.losses.distillation.voxels import crucial_voxels
from lidarloop_training.models.detector import NetworkConfig
from lidarloop_training.recipes.distill import distilled
from lidarloop_training.recipes.painted import on_paints
from lidarloop_training.recipes.voxel_toytown import voxel_toytown
from lidarloop_training.stages.checkpoint import load_task
from lidarloop_training.stages.config import OptimisationConfig, RunConfig, TrainConfig
from lidarloop_training.stages.distill import distill, load_teacher
from lidarloop_training.stages.schedule import OneCycleConfig
from lidarloop_training.stages.trainer import fit
from lidarloop_training.tasks.augment import AugmentConfig
from lidarloop_training.tasks.detection.task import DetectionConfig
from lidarloop_training.tasks.distillation.task import DistillationTask
from lidarloop_training.tasks.task import ExampleKey
from lidarloop_training.workers import worker_pool

RESULTS = REPOSITORY / "results/distillation.jsonl"

RANGE_M = 38.4
"""What is learnt and scored, in x and y and round the vehicle, as in the other studies."""

_NUM_COUNTED = 20
"""Samples in which crucial voxels are counted."""


# Where looks matter: in the plain town shapes give the classes away, and a teacher with cameras knows little more.
TRAIN = ToyTownDrives(num_train_drives=36, num_validation_drives=0, painted=True, style="lookalikes")
TEST = ToyTownDrives(first_train_seed=5000, num_train_drives=16, num_validation_drives=0, style="lookalikes")


@dataclasses.dataclass(frozen=True)
class Study:
    """The size of the study.

    Attributes:
        folder: folder of the runs.
        drives: drives to train on: 36 of the 120 of the recipes, 30 % as in the paper.
        test: drives to score on.
        steps: optimiser steps of each run.
        batch_size: samples a step.
        seeds: random seeds of the arms that targets rest on.
        other_seeds: random seeds of the other arms.
        max_relations: voxels or points of a cloud that are related: their number is squared in time.
    """

    folder: Path = Path("data/distillation")
    drives: ToyTownDrives = TRAIN
    test: ToyTownDrives = TEST
    steps: int = 3000
    batch_size: int = 2
    seeds: tuple[int, ...] = (0, 1, 2)
    other_seeds: tuple[int, ...] = (0, 1)
    max_relations: int = 1024

    @property
    def key(self) -> str:
        """Hash of all that the results depend on, but the seeds that were run and where things lie."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("folder", "seeds", "other_seeds"):
            del values[name]
        for name in ("drives", "test"):
            values[name] = dataclasses.replace(values[name], root=Path(), num_processes=1)
        return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:12]


def student(study: Study, out: Path, seed: int) -> TrainConfig[DetectionConfig]:
    """The student alone: ``voxel_toytown`` with a smaller network and without the outer 13 m."""
    run = voxel_toytown()
    reach_m = (-RANGE_M, RANGE_M)
    network = NetworkConfig(
        class_groups=(NUSCENES_CLASSES,),
        voxel_channels=(16, 32, 32),
        voxel_blocks=(0, 1, 1),
        map_channels=32,
        first_stride=1,
        stage_channels=(32, 64),
        stage_depths=(2, 2),
        neck_channels=32,
        shared_channels=32,
        group_channels=32,
    )
    spec = dataclasses.replace(
        run.task.spec,
        name="distillation-study",
        grid=dataclasses.replace(run.task.spec.grid, x_range_m=reach_m, y_range_m=reach_m),
    )
    return TrainConfig(
        task=DetectionConfig(
            spec=spec, network=network, augment=AugmentConfig(flip_left_right=0.0, flip_front_back=0.0)
        ),
        data=dataclasses.replace(study.drives, painted=False),
        optimisation=OptimisationConfig(
            num_steps=study.steps,
            batch_size=study.batch_size,
            schedule=OneCycleConfig(peak_learning_rate=4e-3),
            precision="float32",
        ),
        run=RunConfig(out=out, num_workers=0, num_threads=1, log_every=200, validate_every=10**9, checkpoint_every=250),
        seed=seed,
    )


# --- runs -------------------------------------------------------------------------------------------------------------


def folder_of(study: Study, name: str, seed: int) -> Path:
    words = "".join(character if character.isalnum() else "-" for character in name)
    return study.folder / study.key / f"{words}-{seed}"


def run_arm(study: Study, arm: Arm, seed: int, results: Path) -> None:
    """Trains and scores, and writes the line of the results; the teacher of a student has to be finished."""
    torch.set_num_threads(1)
    started = time.monotonic()
    config = student(study, folder_of(study, arm.name, seed), seed)
    if arm.name == TEACHER:
        painted = dataclasses.replace(on_paints(config), run=config.run)
        run = fit(painted, _training(study), ConcatSource([]))
    elif arm.distillation is None:
        run = fit(config, _training(study), ConcatSource([]))
    else:
        run = distill(
            _taught(study, config, arm),
            load_teacher(folder_of(study, TEACHER, seed)),
            _training(study),
            ConcatSource([]),
        )
    trained = time.monotonic()
    metrics = score(run, _test(study, painted=arm.name == TEACHER), RANGE_M)
    row = {
        "study": study.key,
        "arm": arm.name,
        "seed": seed,
        "mAP": metrics.mean_ap,
        "NDS": metrics.nds,
        "errors": metrics.errors,
        "AP": {c.name: c.mean_ap for c in metrics.present},
        "num_samples": metrics.num_frames,
        "training_s": round(trained - started, 1),
        **counted_voxels(study, arm, run, seed),
    }
    append(results, {**row, **made_by(study)})
    print(f"mAP {metrics.mean_ap:.4f}  NDS {metrics.nds:.4f}  {arm.name}, seed {seed}", flush=True)


def _taught(study: Study, config: TrainConfig[DetectionConfig], arm: Arm) -> TrainConfig[Any]:
    run = distilled(config)
    assert arm.distillation is not None
    levels = dataclasses.replace(
        arm.distillation,
        voxel=dataclasses.replace(arm.distillation.voxel, max_relations=study.max_relations),
        point=dataclasses.replace(arm.distillation.point, max_relations=study.max_relations),
    )
    task = dataclasses.replace(run.task, distillation=levels)
    return dataclasses.replace(run, task=task, run=config.run)


@cache
def _training(study: Study) -> SampleSource:
    """Painted drives; the student alone reads no paint, since its columns are named."""
    return open_drives(study.drives, study.drives.train_seeds, voxel_toytown().task.spec.num_sweeps)


def _test(study: Study, *, painted: bool) -> SampleSource:
    drives = dataclasses.replace(study.test, painted=painted, paint_faults=study.drives.paint_faults)
    return open_drives(drives, drives.train_seeds, voxel_toytown().task.spec.num_sweeps)


@torch.no_grad()
def counted_voxels(study: Study, arm: Arm, run: Path, seed: int) -> dict[str, float]:
    """Voxels that sparse-voxel distillation compares, mean of a cloud, and floating-point operations by table 5.

    Per cloud, with V voxels of C channels: 2 V C for equation 5; 12 V² C for equation 6, as the paper's figures have it
    (two cosines a pair, each a product and two norms of 2 C).
    """
    if arm.distillation is None or arm.distillation.levels != ("voxel",):
        return {}
    task, network, _ = load_task(run)
    assert isinstance(task, DistillationTask)
    examples = task.dataset(_test(study, painted=True), training=False, seed=seed)
    numbers = []
    for sample in range(min(_NUM_COUNTED, len(examples))):
        batch = task.collate([examples[ExampleKey(0, sample)]])
        scores = network(*batch.inputs).detector.output.heatmap.sigmoid()
        groups = torch.zeros(scores.shape[1], dtype=torch.int64)
        crucial = crucial_responses(scores, batch.targets.heatmap, groups, arm.distillation.response.threshold)
        voxels = crucial_voxels(crucial, batch.map_cells)
        is_compared = voxels.true | voxels.false if arm.distillation.voxel.only_crucial else batch.map_cells >= 0
        numbers.append(int(is_compared.sum()))
    num, channels = float(np.mean(numbers)), task.config.taught_by.channels
    return {
        "voxels": num,
        "consistency_flops": 2 * num * channels,
        "relation_flops": 12 * float(np.mean(np.square(numbers))) * channels,
    }


# --- results ----------------------------------------------------------------------------------------------------------


def missing(study: Study, results: Path, only: Sequence[str]) -> Iterator[tuple[Arm, int]]:
    """The runs that are not in the results yet, teachers first, then those that targets rest on."""
    done = {(row["arm"], row["seed"]) for row in read(results) if row["study"] == study.key}
    for arm in arms():
        if only and arm.name not in only:
            continue
        for seed in study.seeds if arm.is_promised else study.other_seeds:
            if (arm.name, seed) not in done:
                yield arm, seed


def run_study(study: Study, results: Path = RESULTS, *, processes: int = 1, only: Sequence[str] = ()) -> None:
    """Makes the drives, then runs what is missing: all teachers before the first student."""
    num_sweeps = voxel_toytown().task.spec.num_sweeps
    painted_test = dataclasses.replace(study.test, painted=True, paint_faults=study.drives.paint_faults)
    for drives in (painted_test, study.drives):
        prepare(drives, num_sweeps, lambda done, of: print(f"made drive {done} of {of}", flush=True))
    todo = list(missing(study, results, only))
    teachers = [run for run in todo if run[0].name == TEACHER]
    with worker_pool(processes) as pool:
        for runs in (teachers, [run for run in todo if run[0].name != TEACHER]):
            jobs = [pool.submit(run_arm, study, arm, seed, results) for arm, seed in runs]
            for job in as_completed(jobs):
                job.result()


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
        only: names of arms; all by default.
    """
    run_study(study, results, processes=processes, only=only)


if __name__ == "__main__":
    tyro.cli(main)
