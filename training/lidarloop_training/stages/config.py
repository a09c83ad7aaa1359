"""The whole configuration of a training run; recipes build it, the command line overrides single values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lidarloop_core.model.spec import ModelSpec
from lidarloop_training.data.drive_folder import DriveFolder
from lidarloop_training.data.drive_spec import DriveName
from lidarloop_training.data.toytown.training_drives import ToyTownDrives
from lidarloop_training.data.views.label_share import LabelShare
from lidarloop_training.losses.center import CenterLossConfig
from lidarloop_training.models.detector import NetworkConfig
from lidarloop_training.stages.schedule import OneCycleConfig
from lidarloop_training.tasks.detection.copy_paste import NO_COPY_PASTE, CopyPasteConfig
from lidarloop_training.tasks.detection.dataset import AugmentConfig


@dataclass(frozen=True)
class OptimisationConfig:
    """How the weights are found.

    Attributes:
        num_steps: optimiser steps of the whole run.
        batch_size: samples a step, per process.
        schedule: learning rate over the steps.
        beta2, weight_decay: of AdamW.
        max_gradient_norm: gradients above it are scaled down.
        precision: of the forward and backward pass; weights are float32 always.
    """

    num_steps: int
    batch_size: int = 4
    schedule: OneCycleConfig = field(default_factory=OneCycleConfig)
    beta2: float = 0.99
    weight_decay: float = 0.01
    max_gradient_norm: float = 35.0
    precision: Literal["float32", "bfloat16"] = "bfloat16"


@dataclass(frozen=True)
class RunConfig:
    """Where and how a run is executed: nothing here changes what is learnt.

    Attributes:
        out: the run's folder; a run that is found there is taken up again.
        num_workers: processes that load data; 0 loads between the steps.
        num_threads: of torch, per process; 0 leaves torch's own choice.
        log_every, validate_every, checkpoint_every: steps between.
    """

    out: Path
    num_workers: int = 1
    num_threads: int = 0
    log_every: int = 50
    validate_every: int = 1000
    checkpoint_every: int = 500


@dataclass(frozen=True)
class TrainConfig:
    """Everything a run depends on.

    Attributes:
        spec: the model's contract with the vehicle.
        data: the drives.
        network, loss, augment, optimisation: see there.
        run: where and how.
        labels: which share of the data's labels is learnt from.
        balance_classes: show samples with rare classes more often.
        copy_paste: objects that are put into scenes they do not belong to.
        init_from: a run or checkpoint whose weights to start with, and nothing else of it; None starts at random.
        seed: of initial weights, order and augmentation.
    """

    spec: ModelSpec
    data: ToyTownDrives | DriveFolder
    network: NetworkConfig
    optimisation: OptimisationConfig
    run: RunConfig
    loss: CenterLossConfig = field(default_factory=CenterLossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    labels: LabelShare = field(default_factory=LabelShare)
    balance_classes: bool = False
    copy_paste: CopyPasteConfig = NO_COPY_PASTE
    init_from: Path | None = None
    seed: int = 0


@dataclass(frozen=True)
class SelfTrainConfig:
    """From pseudo-labels and few labels to a detector, stage by stage.

    Attributes:
        fine_tune: the run on the labelled share of its data. Its data, spec, network and seed are those of all stages;
            where it lies is decided by ``out``.
        pseudo_labels: of all drives, as ``lidarloop pseudolabel`` writes them, to pre-train on; None starts with
            fine-tuning.
        pretrain: optimisation on them.
        retrain: optimisation of each round, on the true labels and the model's own of the rest.
        num_rounds: of self-training; 0 stops after fine-tuning.
        min_score: of the model's own labels: one value, or one for each class of the spec. What is kept counts by its
            score, so that a doubtful label does little more than keep its place from being called empty.
        unlabelled: further drives without labels.
        unlabelled_source: what kind they are.
        out: a folder for each stage is made in it; stages that are finished there are not run again.
    """

    fine_tune: TrainConfig
    pretrain: OptimisationConfig
    retrain: OptimisationConfig
    out: Path
    pseudo_labels: Path | None = None
    num_rounds: int = 1
    min_score: tuple[float, ...] = (0.2,)
    unlabelled: tuple[Path, ...] = ()
    unlabelled_source: DriveName = "bag"
