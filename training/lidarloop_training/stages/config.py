"""The whole configuration of a training run; recipes build it, the command line overrides single values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lidarloop_core.model.spec import ModelSpec
from lidarloop_training.data.pillar_dataset import AugmentConfig
from lidarloop_training.data.toytown_drives import ToyTownDrives
from lidarloop_training.losses.center import CenterLossConfig
from lidarloop_training.models.detector import NetworkConfig
from lidarloop_training.stages.schedule import OneCycleConfig


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
        seed: of initial weights, order and augmentation.
    """

    spec: ModelSpec
    data: ToyTownDrives
    network: NetworkConfig
    optimisation: OptimisationConfig
    run: RunConfig
    loss: CenterLossConfig = field(default_factory=CenterLossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    seed: int = 0
