"""How much the pictures add to a detector in the town in which looks matter: points alone against painted points.

    python -m benchmarks.toytown.painting_study       # continues an interrupted study; about an hour on one core

Painted points carry the scores of the ten classes that the masks give them in which their pixels lie (PointPainting,
Vora et al., CVPR 2020). The masks are the town's stand-in for a vision model: true ones, degraded. Both arms train the
same small network on the same samples, three seeds each, and are scored on drives of other seeds. What is finished
stands in ``results/toytown_painting.json`` at once.
"""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import tyro

from benchmarks.checks import REPOSITORY, Context, Row, all_of, as_json, at_least, report_only, runs_studies
from benchmarks.pseudolabels.pretraining_study import score
from lidarloop_core.classes import NUSCENES_CLASSES
from lidarloop_core.geometry.camera import in_image, project
from lidarloop_core.io import atomic
from lidarloop_core.machine import machine
from lidarloop_core.model.spec import ModelSpec
from lidarloop_core.sample import Annotations, LidarPose, Sample, SampleKey, SampleSource, Sweep
from lidarloop_training.data.toytown.training_drives import RATE_HZ, ToyTownDrives, open_drives, prepare
from lidarloop_training.data.views.concat import ConcatSource
from lidarloop_training.models.detector import NetworkConfig
from lidarloop_training.recipes.pillar_toytown import toytown_spec
from lidarloop_training.stages.checkpoint import provenance
from lidarloop_training.stages.config import OptimisationConfig, RunConfig, TrainConfig
from lidarloop_training.stages.schedule import OneCycleConfig
from lidarloop_training.stages.trainer import fit
from lidarloop_training.tasks.augment import AugmentConfig
from lidarloop_training.tasks.detection.task import DetectionConfig
from lidarloop_training.toytown.camera import CAMERAS, HEIGHT, WIDTH
from lidarloop_training.toytown.drive import ToyTownDrive
from lidarloop_training.toytown.mask_model import DegradedMasks
from lidarloop_training.toytown.masks import InstanceMask
from lidarloop_training.workers import worker_pool

RESULTS = REPOSITORY / "results/toytown_painting.json"
RANGE_M = 25.6
PAINT_COLUMNS = tuple(f"score_{name}" for name in NUSCENES_CLASSES)
LEAST_GAIN = 4.0

ArmName = Literal["points", "painted points"]
ARMS: tuple[ArmName, ...] = ("points", "painted points")

_DRIVES = ToyTownDrives(root=Path("data/painting"), num_validation_drives=0, style="lookalikes")
TRAIN = dataclasses.replace(_DRIVES, first_train_seed=6300, num_train_drives=40)
TEST = dataclasses.replace(_DRIVES, first_train_seed=6400, num_train_drives=16, keyframe_every=20)


@dataclasses.dataclass(frozen=True)
class Study:
    """The size of the study.

    Attributes:
        folder: folder of scores and runs.
        train: drives to train on.
        test: drives to score on.
        num_steps: optimiser steps of four samples each.
        seeds: random seeds of weights and order.
    """

    folder: Path = Path("data/painting")
    train: ToyTownDrives = TRAIN
    test: ToyTownDrives = TEST
    num_steps: int = 2400
    seeds: tuple[int, ...] = (0, 1, 2)


def spec(arm: ArmName) -> ModelSpec:
    """The shipped model's within 25.6 m, one sweep; painted points have ten columns more."""
    shipped, reach_m = toytown_spec(), (-RANGE_M, RANGE_M)
    return dataclasses.replace(
        shipped,
        name=f"painting-study-{arm.replace(' ', '-')}",
        point_columns=shipped.point_columns + (PAINT_COLUMNS if arm == "painted points" else ()),
        grid=dataclasses.replace(shipped.grid, x_range_m=reach_m, y_range_m=reach_m),
        num_sweeps=1,
    )


def config(study: Study, arm: ArmName, seed: int, out: Path) -> TrainConfig[DetectionConfig]:
    """A small network; at a third of this learning rate it would be under-trained after as many steps."""
    network = NetworkConfig(
        class_groups=(NUSCENES_CLASSES,),
        pillar_channels=32,
        stage_channels=(32, 64, 64),
        stage_depths=(1, 2, 2),
        neck_channels=32,
        shared_channels=32,
        group_channels=32,
    )
    schedule = OneCycleConfig(peak_learning_rate=6e-3)
    return TrainConfig(
        task=DetectionConfig(
            spec=spec(arm), network=network, augment=AugmentConfig(flip_left_right=0.0, flip_front_back=0.0)
        ),
        data=study.train,
        optimisation=OptimisationConfig(num_steps=study.num_steps, batch_size=4, schedule=schedule),
        run=RunConfig(out=out, num_workers=0, num_threads=1, log_every=200, validate_every=10**9, checkpoint_every=300),
        seed=seed,
    )


# --- painting ---------------------------------------------------------------------------------------------------------


def painted(sweep: Sweep, masks: Sequence[Sequence[InstanceMask]]) -> npt.NDArray[np.float16]:
    """Scores of the ten classes at each point.

    Args:
        sweep: a keyframe.
        masks: those found in the picture of each of ``CAMERAS``, exposed at the sweep's stamp.

    Returns:
        (N, 10) float16, the best score of the masks of each class that show the point, 0 where none does.
    """
    scores = np.zeros((len(sweep.points), len(NUSCENES_CLASSES)), np.float16)
    points = sweep.ego_SE3_lidar.transform(sweep.points[:, :3].astype(np.float64))
    for camera, found in zip(CAMERAS, masks, strict=True):
        pixels, depth = project(camera.ego_SE3_camera.inverse().transform(points), camera.intrinsics)
        seen = np.flatnonzero(in_image(pixels, depth, WIDTH, HEIGHT))
        column, row = np.rint(pixels[seen]).astype(np.int64).T
        for mask in found:
            shown = seen[mask.mask[row, column]]
            scores[shown, mask.label] = np.maximum(scores[shown, mask.label], np.float16(mask.score))
    return scores


def paint_drive(study: Study, drives: ToyTownDrives, seed: int) -> None:
    """Writes the scores of a drive's samples, all of them or nothing; what is there stays."""
    path = _scores_path(study, drives, seed)
    if path.is_file():
        return
    drive = ToyTownDrive(seed, duration_s=drives.duration_s, rate_hz=RATE_HZ, style=drives.style)
    stand_in, arrays = DegradedMasks(drive), {}
    for number, sample in enumerate(_samples(open_drives(drives, [seed], 1))):
        masks = [stand_in.masks(number * drives.keyframe_every, camera.name) for camera in CAMERAS]
        arrays[sample.token] = painted(sample.keyframe, masks)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, buffer.getvalue())


def _scores_path(study: Study, drives: ToyTownDrives, seed: int) -> Path:
    return study.folder / "scores" / f"{drives.drive_folder(seed).name}.npz"


def _samples(source: SampleSource) -> Iterator[Sample]:
    return (source[index] for index in range(len(source)))


class PaintedSource:
    """Samples whose keyframe has a column for the score of each class.

    Args:
        source: the samples.
        scores: (N, 10) float16 of each sample's points, by its token.
    """

    def __init__(self, source: SampleSource, scores: dict[str, npt.NDArray[np.float16]]) -> None:
        self._source = source
        self._scores = scores

    def __len__(self) -> int:
        return len(self._source)

    @property
    def keys(self) -> Sequence[SampleKey]:
        return self._source.keys

    def __getitem__(self, index: int) -> Sample:
        sample = self._source[index]
        sweep, scores = sample.keyframe, self._scores[sample.token].astype(np.float32)
        painted_sweep = dataclasses.replace(
            sweep, points=np.hstack([sweep.points, scores]), columns=(*sweep.columns, *PAINT_COLUMNS)
        )
        return dataclasses.replace(sample, sweeps=(painted_sweep,))

    def annotations(self, index: int) -> Annotations | None:
        return self._source.annotations(index)

    def pose(self, index: int) -> LidarPose:
        return self._source.pose(index)


@lru_cache(maxsize=2)
def open_painted(study: Study, drives: ToyTownDrives) -> PaintedSource:
    """The samples of drives that were painted; the network takes the columns that its spec names."""
    scores: dict[str, npt.NDArray[np.float16]] = {}
    for seed in drives.train_seeds:
        with np.load(_scores_path(study, drives, seed)) as arrays:
            scores |= dict(arrays)
    return PaintedSource(open_drives(drives, drives.train_seeds, 1), scores)


# --- arms -------------------------------------------------------------------------------------------------------------


def make_data(study: Study, num_processes: int) -> None:
    """Drives, then their scores; what is there stays."""
    for drives in (study.test, study.train):
        prepare(drives, 1, lambda done, of: print(f"made drive {done} of {of}", flush=True))
    with worker_pool(num_processes) as pool:
        jobs = [
            pool.submit(paint_drive, study, drives, seed)
            for drives in (study.test, study.train)
            for seed in drives.train_seeds
        ]
        for number, job in enumerate(as_completed(jobs), 1):
            job.result()
            print(f"painted drive {number} of {len(jobs)}", flush=True)


def run_arm(study: Study, arm: ArmName, seed: int) -> None:
    """Trains and scores; what is recorded is not done again."""
    name = f"{arm.replace(' ', '-')}-{seed}"
    path = study.folder / "records" / f"{name}.json"
    if path.is_file():
        return
    torch.set_num_threads(1)
    started = time.monotonic()
    run = fit(
        config(study, arm, seed, study.folder / "runs" / name),
        open_painted(study, study.train),
        ConcatSource([]),
    )
    metrics = score(run, open_painted(study, study.test), RANGE_M)
    row = {
        "arm": arm,
        "seed": seed,
        "mAP": metrics.mean_ap,
        "NDS": metrics.nds,
        "AP": {c.name: c.mean_ap for c in metrics.present},
        "num_samples": metrics.num_frames,
        "seconds": round(time.monotonic() - started, 1),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, as_json(row))
    print(f"mAP {metrics.mean_ap:.4f}  {arm}, seed {seed}", flush=True)


def run_study(study: Study, results: Path, num_processes: int = 1) -> None:
    """Runs what is missing and writes the results after every run."""
    make_data(study, num_processes)
    with worker_pool(num_processes) as pool:
        jobs = [pool.submit(run_arm, study, arm, seed) for seed in study.seeds for arm in ARMS]
        for job in as_completed(jobs):
            job.result()
            collect(study, results)


def collect(study: Study, results: Path) -> None:
    """All records as one file."""
    rows = [json.loads(path.read_bytes()) for path in sorted((study.folder / "records").glob("*.json"))]
    document = {
        "command": sys.argv,
        "study": json.loads(json.dumps(dataclasses.asdict(study), default=str)),
        "machine": machine(),
        **provenance(),
        "runs": sorted(rows, key=lambda row: (row["arm"], row["seed"])),
    }
    results.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(results, as_json(document))


def check_painting(context: Context) -> Iterator[Row]:
    """Painted points beat points alone where looks matter."""
    if runs_studies():
        run_study(Study(folder=context.out / "painting"), RESULTS)
    points = _points_by_arm(json.loads(RESULTS.read_bytes())["runs"])
    for arm, values in points.items():
        spread = f", ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        yield report_only(f"lookalikes, mAP points: {arm}{spread}", float(np.mean(values)), f"{len(values)} seeds")
    gain = float(np.mean(points["painted points"]) - np.mean(points["points"]))
    yield at_least("lookalikes: mAP points gained by painting", gain, LEAST_GAIN)
    yield from _live(context)


def _points_by_arm(runs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Arm → mAP in points of each seed."""
    points: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for run in runs:
        points[run["arm"]].append(100 * run["mAP"])
    return points


def _live(context: Context) -> Iterator[Row]:
    """Both arms with a few steps on two short drives: nothing is learnt, but everything runs."""
    drives = dataclasses.replace(
        TRAIN, root=context.scratch / "drives", num_train_drives=1, duration_s=2.0, keyframe_every=5
    )
    test = dataclasses.replace(drives, first_train_seed=TEST.first_train_seed)
    results = context.scratch / "results" / "painting.json"
    run_study(Study(context.scratch, drives, test, num_steps=4, seeds=(0,)), results)
    runs = json.loads(results.read_bytes())["runs"]
    yield all_of("live: arms that run from drives to a score", sum(np.isfinite(run["mAP"]) for run in runs), len(ARMS))


def main(study: Study = Study(), results: Path = RESULTS, num_processes: int = 1) -> int:
    """Runs what is missing of the study.

    Args:
        study: its size.
        results: the JSON file.
        num_processes: number of processes.
    """
    run_study(study, results, num_processes)
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
