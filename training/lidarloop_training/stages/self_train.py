"""Self-training: pre-training on pseudo-labels, fine-tuning on few labels, rounds of self-training.

Source: CM3D (Khurana et al., CoRL 2024): pre-train, fine-tune, let the fine-tuned detector label the unlabelled part,
train again. Two things of ours: the detector's own labels count by their score, and each round ends with the same
fine-tuning on true labels, so that these decide.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from rich.console import Console

from lidarloop_core.errors import ConfigError, DatasetError
from lidarloop_core.io import outside
from lidarloop_core.labelling.pseudo_labels import LeftOut, PseudoLabels
from lidarloop_core.sample import Sample, SampleSource
from lidarloop_training.data.views.concat import ConcatSource
from lidarloop_training.data.views.label_share import LabelShare
from lidarloop_training.data.views.pseudo_labelled import PseudoLabelledSource, open_labelled
from lidarloop_training.data.writing.pseudo_labels import EVIDENCE, LabelledFrame, drive_folder, write_drive
from lidarloop_training.stages.checkpoint import find_checkpoint, weights_sha256
from lidarloop_training.stages.config import ALL_PARTS, OptimisationConfig, SelfTrainConfig, TrainConfig
from lidarloop_training.stages.infer import SampleDetector, TorchBackend
from lidarloop_training.stages.sampler import check_batch
from lidarloop_training.stages.trainer import check_run, fit, new_accelerator
from lidarloop_training.tasks.detection.task import DetectionConfig

DetectionRun = TrainConfig[DetectionConfig]


def learn(
    config: SelfTrainConfig,
    labelled: SampleSource,
    unlabelled: SampleSource,
    validation: SampleSource,
    *,
    accelerator: Accelerator | None = None,
    console: Console | None = None,
) -> Path:
    """All stages, from the first that is not finished in ``config.out`` on.

    Args:
        config: the stages.
        labelled: samples with true labels.
        unlabelled: samples whose annotations are not looked at.
        validation: labelled samples, for the loss alone; may be empty.
        accelerator: device and processes; made where None.
        console: where progress is printed; nowhere where None.

    Returns:
        The last checkpoint's folder.

    Raises:
        ConfigError: a setting contradicts another, or the checkpoint to start from.
        DatasetError: a stage lacks what it learns from; known before the first step of the first.
    """
    accelerator = accelerator or new_accelerator()
    console = console or Console(quiet=True)
    check_stages(config, labelled, unlabelled, validation, accelerator.num_processes)

    def run_stage(stage: DetectionRun, samples: SampleSource) -> Path:
        console.print(f"== {stage.run.out.relative_to(config.out)}", highlight=False)
        return fit(stage, samples, validation, accelerator=accelerator, console=console)

    newest = config.fine_tune.init_from
    if config.pseudo_labels is not None:
        everything = open_labelled(ConcatSource([labelled, unlabelled]), config.pseudo_labels)
        newest = run_stage(_on_doubtful_labels(config, config.pretrain, "pretrain", newest), everything)
    if config.human_labels:
        newest = run_stage(_on_true_labels(config, "fine-tune", newest), labelled)
    assert newest is not None  # one of the two stages has run, as was checked
    for number in range(1, config.num_rounds + 1):
        own_labels = config.out / f"round-{number}" / "labels"
        with accelerator.main_process_first():
            relabel(newest, unlabelled, own_labels, config.min_score, console)
        both = ConcatSource([labelled, PseudoLabelledSource(unlabelled, own_labels)])
        newest = run_stage(_on_doubtful_labels(config, config.retrain, f"round-{number}/train", newest), both)
        if config.human_labels:
            newest = run_stage(_on_true_labels(config, f"round-{number}/fine-tune", newest), labelled)
    return newest


def check_stages(
    config: SelfTrainConfig,
    labelled: SampleSource,
    unlabelled: SampleSource,
    validation: SampleSource,
    num_processes: int = 1,
) -> None:
    """Whether every stage has what it needs, known without reading a cloud.

    Args:
        config: the stages.
        labelled: samples with true labels; none without ``config.human_labels``.
        unlabelled: samples whose annotations are not looked at.
        validation: labelled samples; may be empty.
        num_processes: number of processes that train.

    Raises:
        ConfigError: a setting contradicts another.
        DatasetError: a stage lacks what it learns from.
    """
    classes = config.fine_tune.task.spec.class_names
    if len(config.min_score) not in (1, len(classes)):
        raise ConfigError(
            f"received {len(config.min_score)} --min-score; expected one value, or one for each of the "
            f"{len(classes)} classes {', '.join(classes)}"
        )
    if not config.human_labels and config.pseudo_labels is None:
        raise ConfigError(
            "received --no-human-labels without --pseudo-labels; expected the labels to learn from: "
            "`lidarloop pseudolabel` makes them"
        )
    if config.num_rounds and not len(unlabelled):
        raise DatasetError(
            f"{config.num_rounds} rounds of self-training received no unlabelled sample; expected some: give "
            "--unlabelled, a smaller --fine-tune.labels.percent, or --num-rounds 0"
        )
    if config.human_labels:
        check_run(config.fine_tune, labelled, validation, num_processes)
    if config.pseudo_labels is not None:
        everything = open_labelled(ConcatSource([labelled, unlabelled]), config.pseudo_labels)
        stage = _on_doubtful_labels(config, config.pretrain, "pretrain", config.fine_tune.init_from)
        check_run(stage, everything, validation, num_processes)
    if config.num_rounds:
        check_batch(len(labelled) + len(unlabelled), config.retrain.batch_size, num_processes)


def _on_doubtful_labels(
    config: SelfTrainConfig, optimisation: OptimisationConfig, stage: str, init_from: Path | None
) -> DetectionRun:
    """The paper's schedule: what would multiply mistakes is off."""
    run = _on_true_labels(config, stage, init_from)
    return dataclasses.replace(run, optimisation=optimisation, labels=LabelShare(), task=run.task.for_doubtful_labels())


def _on_true_labels(config: SelfTrainConfig, stage: str, init_from: Path | None) -> DetectionRun:
    first, run = config.fine_tune, dataclasses.replace(config.fine_tune.run, out=config.out / stage)
    parts = first.init_parts if init_from == first.init_from else ALL_PARTS  # of a stage before, all parts
    return dataclasses.replace(first, run=run, init_from=init_from, init_parts=parts)


Judge = Callable[[Sequence[LabelledFrame], SampleSource], list[LabelledFrame]]
"""Looks at all labels of a drive, in the source that they are of, and gives better ones."""


def relabel(
    checkpoint: Path,
    source: SampleSource,
    out: Path,
    min_score: tuple[float, ...],
    console: Console,
    judge: Judge | None = None,
) -> None:
    """Writes a detector's labels for a source as ``OUT/<scene>/labels.json``; drives that have them are passed over.

    Args:
        checkpoint: a run or one of its checkpoints.
        source: samples, drive after drive.
        out: folder of the labels.
        min_score: lowest score of a label: one value, or one for each class.
        console: where progress is printed.
        judge: what becomes of the labels of a drive; by default they stay.

    Raises:
        ConfigError: there is no checkpoint, or it is not readable.
    """
    folder = find_checkpoint(checkpoint)
    find = SampleDetector(TorchBackend.of_checkpoint(folder), score_threshold=min_score)
    meta: dict[str, object] = {"weights_sha256": weights_sha256(folder), "min_score": list(min_score)}
    meta |= {} if judge is None else {"judged": True}
    for scene, indices in groupby(range(len(source)), key=lambda index: source.keys[index].drive):
        place = drive_folder(out, scene)
        if _is_labelled(place, meta):
            continue
        frames = [_labelled(index, source[index], find) for index in indices]
        frames = frames if judge is None else judge(frames, source)
        path = write_drive(place, frames, {"provenance": meta})
        console.print(f"{sum(len(frame.labels) for frame in frames)} labels in {path}", soft_wrap=True)


def _is_labelled(place: Path, meta: Mapping[str, Any]) -> bool:
    """Whether these weights have labelled a drive, at these scores."""
    evidence = place / EVIDENCE
    return evidence.is_file() and outside.read_json(evidence)["meta"]["provenance"] == meta


def _labelled(index: int, sample: Sample, find: SampleDetector) -> LabelledFrame:
    """Detections as labels whose weights are their scores."""
    boxes = find(sample)
    number = len(boxes)
    labels = PseudoLabels(boxes, boxes.scores, np.zeros(number, np.int64), ((),) * number, ("none",) * number)
    return LabelledFrame.of(index, sample, labels, LeftOut())
