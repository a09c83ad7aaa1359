"""The configuration of a training run; recipes build it, the command line overrides single values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

from lidarloop_training.data.drive_folder import DriveFolder
from lidarloop_training.data.drive_spec import DriveName
from lidarloop_training.data.toytown.training_drives import ToyTownDrives
from lidarloop_training.data.views.label_share import LabelShare
from lidarloop_training.ranges import check_ranges
from lidarloop_training.stages.schedule import OneCycleConfig
from lidarloop_training.tasks.detection.task import DetectionConfig
from lidarloop_training.tasks.task import TaskConfig

ALL_PARTS = ("all",)
"""In ``TrainConfig.init_parts``: every part of the network."""

T_co = TypeVar("T_co", bound=TaskConfig, covariant=True)


@dataclass(frozen=True)
class OptimisationConfig:
    """How the weights are found.

    Attributes:
        num_steps: optimiser steps of the complete run.
        batch_size: samples a step, per process.
        schedule: learning rate over the steps.
        beta2: AdamW's decay rate of the squared gradients' mean.
        weight_decay: AdamW's weight decay.
        max_gradient_norm: gradients above it are scaled down.
        precision: number format of the network's forward and backward pass; weights and losses are always float32.
    """

    num_steps: int
    batch_size: int = 4
    schedule: OneCycleConfig = field(default_factory=OneCycleConfig)
    beta2: float = 0.99
    weight_decay: float = 0.01
    max_gradient_norm: float = 35.0
    precision: Literal["float32", "bfloat16"] = "bfloat16"

    def __post_init__(self) -> None:
        check_ranges(
            "OptimisationConfig",
            num_steps=(self.num_steps, 1, 10**9),
            batch_size=(self.batch_size, 1, 10**5),
            beta2=(self.beta2, 0, 0.999999),
            weight_decay=(self.weight_decay, 0, 100),
            max_gradient_norm=(self.max_gradient_norm, 1e-9, 1e9),
        )


@dataclass(frozen=True)
class RunConfig:
    """Where and how a run is executed: nothing here changes what is learnt.

    Attributes:
        out: the run's folder; a run that is found there is resumed.
        num_workers: processes that load data; 0 loads between the steps.
        num_threads: torch's threads, per process; 0 leaves torch's own choice.
        log_every: steps between two lines of the log.
        validate_every: steps between two validations.
        checkpoint_every: steps between two checkpoints.
    """

    out: Path
    num_workers: int = 1
    num_threads: int = 0
    log_every: int = 50
    validate_every: int = 1000
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        check_ranges(
            "RunConfig",
            num_workers=(self.num_workers, 0, 1024),
            num_threads=(self.num_threads, 0, 1024),
            log_every=(self.log_every, 1, 10**9),
            validate_every=(self.validate_every, 1, 10**9),
            checkpoint_every=(self.checkpoint_every, 1, 10**9),
        )


@dataclass(frozen=True)
class TrainConfig(Generic[T_co]):
    """Everything a run depends on.

    Attributes:
        task: what is learnt: the contract with the vehicle, the network and its loss.
        data: the drives.
        optimisation: how the weights are found.
        run: where and how the run is executed.
        labels: which share of the data's labels is learnt from.
        init_from: run, checkpoint, model file (.onnx) or public checkpoint of CenterPoint (.pth) whose weights to start
            with, and nothing else of it; None starts at random.
        init_parts: which parts of the network ``init_from`` gives, e.g. encoder backbone; the others start at random.
        seed: seed for initial weights, order and augmentation.
    """

    task: T_co
    data: ToyTownDrives | DriveFolder
    optimisation: OptimisationConfig
    run: RunConfig
    labels: LabelShare = field(default_factory=LabelShare)
    init_from: Path | None = None
    init_parts: tuple[str, ...] = ALL_PARTS
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges("TrainConfig", seed=(self.seed, 0, 2**63 - 1))


@dataclass(frozen=True)
class SelfTrainConfig:
    """From pseudo-labels and few labels to a detector, stage by stage.

    Attributes:
        fine_tune: the run on the labelled share of its data. Its data, task and seed are those of all stages; where it
            lies is decided by ``out``.
        pretrain: optimisation on the pseudo-labels.
        retrain: optimisation of each round, on the true labels and the model's own labels for the rest.
        out: a folder for each stage is made in it; stages that are finished there are not run again.
        pseudo_labels: labels for all drives, as ``lidarloop pseudolabel`` writes them, to pre-train on; None starts
            with fine-tuning.
        num_rounds: rounds of self-training; 0 stops after fine-tuning.
        min_score: lowest score of the model's own labels: one value, or one for each class of the spec. What is kept
            counts by its score, so that a doubtful label does little more than keep its place from being called empty.
        unlabelled: further drives without labels.
        unlabelled_source: what kind they are.
        human_labels: False learns without annotations, from ``pseudo_labels`` and the model's own labels alone: there
            is no fine-tuning.
    """

    fine_tune: TrainConfig[DetectionConfig]
    pretrain: OptimisationConfig
    retrain: OptimisationConfig
    out: Path
    pseudo_labels: Path | None = None
    num_rounds: int = 1
    min_score: tuple[float, ...] = (0.2,)
    unlabelled: tuple[Path, ...] = ()
    unlabelled_source: DriveName = "bag"
    human_labels: bool = True

    def __post_init__(self) -> None:
        check_ranges("SelfTrainConfig", num_rounds=(self.num_rounds, 0, 1000), min_score=(self.min_score, 0, 1))
