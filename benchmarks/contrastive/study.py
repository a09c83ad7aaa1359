"""How much contrastive pre-training gains where labels are few: a study on the toy town.

    python -m benchmarks.contrastive.study                    # continues an interrupted study; a day on two cores
    python -m benchmarks.contrastive.study --arms scratch images         # some arms alone

A pool of drives is recorded without labels. Networks are pre-trained on it in several ways (``arms.py``), fine-tuned on
a share of its labels, and scored on drives of other seeds. All arms take the same number of fine-tuning steps. The rate
of each arm and share is chosen among ``rates`` by the validation drives; a schedule ``long_factor`` times as long
stands beside for the arms that the targets compare. Shares are of complete drives; by single samples in a second
column. The seed chooses weights, order and labelled drives; the pre-trained weights of a seed are those of the same.

Each result is a line of ``results/contrastive.jsonl`` as soon as it is known:

- ``kind`` fine-tune: mAP and NDS (U-Net: mIoU) on the test drives after a number of steps, and at the end on the
  validation drives too.
- ``kind`` pre-train: loss, accuracy and alignment on the validation drives after a number of steps.
- ``kind`` cost: seconds and memory of a pre-training step, and where the time goes (``cost.py``).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from benchmarks.checks import REAL_DATA, REPOSITORY
from benchmarks.contrastive.arms import ARMS, CROSS, RANGE_M, SCRATCH, SUPERVISED, Arm, Images, downstream, pretext
from benchmarks.contrastive.cost import cost_of
from benchmarks.records import Record, append, matching, read
from benchmarks.samples import each
from lidarloop_core.inference.segmenter import Segmenter
from lidarloop_core.machine import machine
from lidarloop_core.sample import SampleSource
from lidarloop_training.data.toytown.training_drives import ToyTownDrives, open_drives, prepare
from lidarloop_training.data.views.concat import ConcatSource
from lidarloop_training.data.views.label_share import LabelShare, split_labels
from lidarloop_training.evaluation.metrics.matching import DetectionConfig as ScoringConfig
from lidarloop_training.evaluation.metrics.nuscenes import evaluate_detections
from lidarloop_training.evaluation.samples import SampleRecord
from lidarloop_training.evaluation.segmenter import score_segmenter
from lidarloop_training.models.image.encoder import write_encoder
from lidarloop_training.recipes.contrast_toytown import IMAGE_ENCODER_FILE, image_encoder
from lidarloop_training.stages.checkpoint import load_task, provenance
from lidarloop_training.stages.config import OptimisationConfig, RunConfig, TrainConfig
from lidarloop_training.stages.infer import SampleDetector, TorchBackend
from lidarloop_training.stages.schedule import OneCycleConfig
from lidarloop_training.stages.trainer import fit
from lidarloop_training.tasks.task import ExampleKey
from lidarloop_training.toytown.style import TownStyle
from lidarloop_training.workers import worker_pool

RESULTS = REPOSITORY / "results/contrastive.jsonl"

NOTHING = ConcatSource([])

Protocol = tuple[Literal["drive", "sample"], Literal["usual", "long"]]

PROTOCOLS: tuple[Protocol, ...] = (("drive", "usual"), ("sample", "usual"), ("drive", "long"))
"""What shares are drawn of, and the schedule, in the order of what they cost; the first is every arm's."""

_DRIVES = ToyTownDrives(
    root=Path("data/contrastive"), num_validation_drives=0, duration_s=4.0, keyframe_every=10, cameras=True
)

POOL = dataclasses.replace(_DRIVES, first_train_seed=6000, num_train_drives=100)
VALIDATION = dataclasses.replace(_DRIVES, first_train_seed=7000, num_train_drives=8)
TEST = dataclasses.replace(
    _DRIVES, first_train_seed=8000, num_train_drives=16, duration_s=20.0, keyframe_every=40, cameras=False
)


@dataclass(frozen=True)
class Study:
    """The size of the study.

    Attributes:
        folder: folder of drives, features and runs.
        style: style of the town.
        pool: drives to pre-train on, and to take labels from: a hundred, so that there is one percent of them.
        validation: drives to choose rates on.
        test: drives to score on.
        pretrain_steps: optimiser steps of pre-training, four samples each.
        image_steps: optimiser steps of the image encoder, sixteen pictures each.
        fine_tune_steps: optimiser steps of fine-tuning, two samples each.
        long_factor: how many times as long the longer schedule is.
        pretrain_rate: peak learning rate of pre-training.
        rates: peak learning rates of fine-tuning, out of which one is chosen for each arm and share.
        seeds: random seeds.
        marks: shares of the fine-tuning steps after which the test drives are scored.
        supervised: ONNX file of a 2D network in the folder of real samples, and the values that are tapped: of
            YOLOX-nano at 1/2, 1/4 and 1/8 of its input.
    """

    folder: Path = Path("data/contrastive")
    style: TownStyle = "lookalikes"
    pool: ToyTownDrives = POOL
    validation: ToyTownDrives = VALIDATION
    test: ToyTownDrives = TEST
    pretrain_steps: int = 1600
    image_steps: int = 2000
    fine_tune_steps: int = 600
    long_factor: int = 3
    pretrain_rate: float = 6e-3
    rates: tuple[float, ...] = (2e-3, 4e-3, 8e-3)
    seeds: tuple[int, ...] = (0, 1, 2)
    marks: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    supervised: tuple[str, tuple[str, ...]] = (
        "models2d/yolox_nano_bigisland.onnx",
        ("input.7", "input.67", "input.175"),
    )

    @cached_property
    def images(self) -> Images:
        """The image encoders; the supervised one where the real samples are there."""
        name, taps = self.supervised
        path = REAL_DATA / name
        found = path.resolve() if path.is_file() and taps else None
        own = self.folder / "image-encoder" / IMAGE_ENCODER_FILE
        return Images(own=own, supervised=found, taps=taps, cache=self.folder / "features")

    def drives(self, which: ToyTownDrives, style: TownStyle | None = None) -> SampleSource:
        """The samples of drives that ``make_data`` has made, one sweep each."""
        return open_drives(self.in_style(which, style), which.train_seeds, 1)

    def in_style(self, which: ToyTownDrives, style: TownStyle | None = None) -> ToyTownDrives:
        """Drives in the study's style, or another."""
        return dataclasses.replace(which, style=style or self.style)


@dataclass(frozen=True)
class FineTuning:
    """One run of fine-tuning.

    Attributes:
        arm: how it begins.
        percent: share of the labels, percent.
        unit: what the share is drawn of.
        schedule: usual or long.
        seed: random seed.
        rate: peak learning rate.
    """

    arm: Arm
    percent: float
    unit: Literal["drive", "sample"]
    schedule: Literal["usual", "long"]
    seed: int
    rate: float

    @property
    def key(self) -> Record:
        """What names its records."""
        values = dataclasses.asdict(self)
        return {"kind": "fine-tune", **values, "arm": self.arm.name, "network": self.arm.network}

    @property
    def folder(self) -> str:
        """A path of its own."""
        return f"{self.arm.folder}/{self.percent:g}-{self.unit}-{self.schedule}-{self.seed}-{self.rate:g}"


# --- data -------------------------------------------------------------------------------------------------------------


def make_data(study: Study, arms: Sequence[Arm]) -> None:
    """Drives and the image encoder of the pool's pictures; what is there stays."""
    wanted = [study.in_style(which) for which in (study.test, study.validation, study.pool)]
    wanted += [study.in_style(study.pool, arm.style) for arm in arms if arm.style not in (None, study.style)]
    for drives in dict.fromkeys(wanted):
        prepare(drives, 1, lambda done, of: print(f"made drive {done} of {of}", flush=True))
    if study.images.own.is_file():
        return
    recipe, pool = image_encoder(), study.drives(study.pool)
    batch_size = min(recipe.optimisation.batch_size, len(pool))
    config = dataclasses.replace(
        recipe,
        optimisation=dataclasses.replace(recipe.optimisation, num_steps=study.image_steps, batch_size=batch_size),
        run=_run(study.images.own.parent),
    )
    folder = fit(config, pool, NOTHING)
    network: Any = load_task(folder).network
    write_encoder(network.encoder, study.images.own)


# --- runs -------------------------------------------------------------------------------------------------------------


def run_arm(study: Study, arm: Arm, results: Path) -> None:
    """All runs of one arm; what is recorded is not done again."""
    torch.set_num_threads(1)
    if arm.name != SCRATCH:
        for seed in study.seeds:
            pre_train(study, arm, seed, results)
        if not matching(read(results), kind="cost", arm=arm.name, network=arm.network):
            key = {"kind": "cost", "arm": arm.name, "network": arm.network}
            append(results, {**key, **cost_of(pretext(arm, study.images), study.in_style(study.pool))})
    protocols = PROTOCOLS if arm.name in (SCRATCH, CROSS) else PROTOCOLS[:1]
    for protocol in protocols:
        for percent in arm.percents:
            compare(study, arm, percent, protocol, results)


def pre_train(study: Study, arm: Arm, seed: int, results: Path) -> Path:
    """Pre-trains on the pool; accuracy and alignment are recorded after each of eight epochs and at the end."""
    task = pretext(arm, study.images)
    pool = study.drives(study.pool, arm.style)
    optimisation = OptimisationConfig(
        num_steps=study.pretrain_steps,
        schedule=OneCycleConfig(peak_learning_rate=study.pretrain_rate),
        precision="float32",
    )
    out = study.folder / "runs" / arm.folder / f"pretrain-{seed}"
    config = TrainConfig(task=task, data=study.pool, optimisation=optimisation, run=_run(out), seed=seed)
    epoch = max(1, len(pool) // optimisation.batch_size)
    key = {"kind": "pre-train", "arm": arm.name, "network": arm.network, "seed": seed}
    folder = out
    for step in sorted({*range(epoch, min(8 * epoch, study.pretrain_steps), epoch), study.pretrain_steps}):
        known = matching(read(results), **key, step=step)
        if known and step < study.pretrain_steps:
            continue
        folder = fit(config, pool, NOTHING, stop_after=step)
        if not known:
            scores = pretext_scores(folder, study.drives(study.validation))
            append(results, {**key, "step": step, "epoch": step / epoch, **scores})
    return folder


def compare(
    study: Study,
    arm: Arm,
    percent: float,
    protocol: Protocol,
    results: Path,
) -> None:
    """Fine-tunes the first seed at every rate, then the others at the one that was best on the validation drives."""
    unit, schedule = protocol
    first = study.seeds[0]
    ended = {
        rate: fine_tune(study, FineTuning(arm, percent, unit, schedule, first, rate), results) for rate in study.rates
    }
    rate = max(ended, key=lambda each_rate: ended[each_rate]["validation"])
    for seed in study.seeds[1:]:
        fine_tune(study, FineTuning(arm, percent, unit, schedule, seed, rate), results)


def fine_tune(study: Study, run: FineTuning, results: Path) -> Record:
    """One run, scored after each mark; the record of its end."""
    long = study.long_factor if run.schedule == "long" else 1
    num_steps = study.fine_tune_steps * long
    pool = study.drives(study.pool)
    labelled = split_labels(pool, LabelShare(run.percent, run.unit, run.seed)).labelled
    begins_at_random = run.arm.name == SCRATCH
    pretrained = study.folder / "runs" / run.arm.folder / f"pretrain-{run.seed}"
    config = TrainConfig(
        task=downstream(run.arm.network),
        data=study.pool,
        optimisation=OptimisationConfig(
            num_steps=num_steps,
            batch_size=min(2, len(labelled)),
            schedule=OneCycleConfig(peak_learning_rate=run.rate),
            precision="float32",
        ),
        run=_run(study.folder / "runs" / run.folder),
        init_from=None if begins_at_random else pretrained,
        init_parts=("all",) if begins_at_random else run.arm.parts,
        seed=run.seed,
    )
    record: Record = {}
    for step in marks_of(study, num_steps, len(labelled) // config.optimisation.batch_size):
        known = matching(read(results), **run.key, step=step)
        if known:
            record = known[0]
            continue
        folder = fit(config, labelled, NOTHING, stop_after=step)
        record = {**run.key, "step": step, "num_steps": num_steps, "labelled": len(labelled)}
        record |= score(folder, study.drives(study.test))
        if step == num_steps:
            record["validation"] = _main_score(score(folder, study.drives(study.validation)))
        append(results, record)
        print(f"{_main_score(record):.4f} {run.folder} step {step} of {num_steps}", flush=True)
    return record


def marks_of(study: Study, num_steps: int, steps_per_epoch: int) -> list[int]:
    """Steps after which is scored: the study's marks, and the first epoch where it is longer than ten steps."""
    marks = {max(1, round(share * num_steps)) for share in study.marks} | {num_steps}
    return sorted(marks | ({steps_per_epoch} if 10 < steps_per_epoch < num_steps else set()))


def _run(out: Path) -> RunConfig:
    never = 10**9
    return RunConfig(out=out, num_workers=0, num_threads=1, log_every=never, validate_every=never, checkpoint_every=500)


# --- scores -----------------------------------------------------------------------------------------------------------


def score(folder: Path, source: SampleSource) -> Record:
    """mAP and NDS of a detector's checkpoint, or mIoU of a segmenter's."""
    backend = TorchBackend.of_checkpoint(folder)
    if backend.spec.outputs.kind == "segmentation":
        return {"mIoU": score_segmenter(Segmenter(backend), each(source)).mean_iou_present}
    find = SampleDetector(backend, score_threshold=0.05)
    predictions, truth = {}, {}
    for index, sample in enumerate(each(source)):
        frame = SampleRecord.of(sample, index)
        predictions[sample.token] = frame.to_level(find(sample), "lidar")
        truth[sample.token] = frame.ground_truth()
    ranges = {name: min(range_m, RANGE_M) for name, range_m in ScoringConfig().class_range_m.items()}
    metrics = evaluate_detections(predictions, truth, ScoringConfig(class_range_m=ranges))
    return {"mAP": metrics.mean_ap, "NDS": metrics.nds, "AP": {c.name: c.mean_ap for c in metrics.present}}


def _main_score(record: Record) -> float:
    return float(record["mIoU"] if "mIoU" in record else record["mAP"])


@torch.no_grad()
def pretext_scores(folder: Path, source: SampleSource) -> Record:
    """Means of what pre-training logs, over the samples of a source."""
    task, network, _ = load_task(folder)
    examples = task.dataset(source, training=False, seed=0)
    found = [task.loss(network, task.collate([examples[ExampleKey(0, index)]])).parts for index in range(len(examples))]
    return {name: float(np.mean([float(parts[name]) for parts in found])) for name in found[0]}


# --- all of its runs -------------------------------------------------------------------------------------------------


def run_study(study: Study, arms: Iterable[Arm], results: Path, *, num_processes: int = 2) -> None:
    """Runs what is missing of some arms; each result is written when it is known."""
    arms = [arm for arm in arms if arm.name != SUPERVISED or study.images.supervised is not None]
    make_data(study, arms)
    if not matching(read(results), kind="study"):
        about = {"study": str(study), "command": sys.argv, "machine": machine(), **provenance()}
        append(results, {"kind": "study", **about})
    with worker_pool(num_processes) as pool:
        jobs = [pool.submit(run_arm, study, arm, results) for arm in arms]
        for job in as_completed(jobs):
            job.result()


def main(
    arms: tuple[str, ...] = (), network: str = "", processes: int = 2, results: Path = RESULTS, study: Study = Study()
) -> None:
    """Runs the study, or some arms of it; what is recorded is not done again.

    Args:
        arms: names of arms; all where none is given.
        network: pillars, voxels or U-Net alone; all where empty.
        processes: number of arms at a time.
        results: file of JSON lines.
        study: its size.
    """
    known = {arm.name for arm in ARMS}
    if unknown := set(arms) - known:
        sys.exit(f"received arms {', '.join(sorted(unknown))}; expected some of {', '.join(sorted(known))}")
    chosen = [arm for arm in ARMS if (not arms or arm.name in arms) and network in ("", arm.network)]
    run_study(study, chosen, results, num_processes=processes)


if __name__ == "__main__":
    tyro.cli(main)
