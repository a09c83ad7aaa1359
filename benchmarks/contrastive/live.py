"""A small part of the study, run anew: nothing is learnt, but everything runs, and goes on after an interruption."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.checks import Row, all_of
from benchmarks.contrastive.arms import CROSS, MASKED, SCRATCH, STATISTICS, Arm
from benchmarks.contrastive.study import Study, run_study
from benchmarks.records import matching, read
from lidarloop_training.data.toytown.training_drives import ToyTownDrives

_ARMS = (
    Arm(SCRATCH, percents=(50.0,)),
    Arm(CROSS, percents=(50.0,)),
    Arm(STATISTICS, percents=(50.0,)),
    Arm(MASKED, percents=(50.0,)),
    Arm(CROSS, "U-Net", (50.0,)),
)


def live_rows(scratch: Path) -> Iterator[Row]:
    """Five arms on a few drives with four steps each; then the same again, which finds all results stored.

    Args:
        scratch: empty folder.
    """
    study = tiny_study(scratch)
    results = scratch / "contrastive.jsonl"
    run_study(study, _ARMS, results, num_processes=1)
    records = read(results)
    runs = matching(records, kind="fine-tune")
    ended = [run for run in runs if run["step"] == run["num_steps"]]
    scores = [run.get("mAP", run.get("mIoU")) for run in ended]
    finite = sum(score is not None and bool(np.isfinite(score)) for score in scores)
    # Scratch and images of pillars have three protocols of two rates and seeds, the others one.
    yield all_of("live: fine-tuning runs with a score", finite, len(ended))
    arms = {(run["arm"], run["network"]) for run in ended}
    yield all_of("live: arms from drives to a score", len(arms), len(_ARMS))
    yield all_of("live: pre-training runs recorded", len(matching(records, kind="pre-train")), len(_ARMS) - 1)
    run_study(study, _ARMS, results, num_processes=1)
    yield all_of("live: records, and the same number after a second call", len(read(results)), len(records))


def tiny_study(folder: Path) -> Study:
    """A few short drives, four steps, one seed, one rate."""
    whole = Study()

    def few(drives: ToyTownDrives, number: int) -> ToyTownDrives:
        return dataclasses.replace(
            drives, root=folder / "drives", num_train_drives=number, duration_s=1.0, keyframe_every=5
        )

    return dataclasses.replace(
        whole,
        folder=folder,
        pool=few(whole.pool, 4),
        validation=few(whole.validation, 1),
        test=few(whole.test, 1),
        pretrain_steps=2,
        image_steps=2,
        fine_tune_steps=2,
        long_factor=1,
        rates=(4e-3,),
        seeds=(0,),
        marks=(1.0,),
    )
