"""Checkpoints: state, configuration and weights with hostile values or damaged bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import torch

from lidarloop_training.models.detector import NetworkConfig
from lidarloop_training.recipes.pillar_toytown import CENTERPOINT_GROUPS
from lidarloop_training.stages.checkpoint import SavedRun, load_task, write_checkpoint
from lidarloop_training.stages.saved_task import as_json
from lidarloop_training.stages.start import start_from
from lidarloop_training.tasks.detection.task import DetectionConfig
from tests.builders import make_spec
from tests.fuzz import trees


@cache
def _config() -> DetectionConfig:
    network = NetworkConfig(
        class_groups=CENTERPOINT_GROUPS,
        pillar_channels=4,
        stage_channels=(4,),
        stage_depths=(1,),
        neck_channels=4,
        shared_channels=4,
        group_channels=4,
    )
    return DetectionConfig(spec=make_spec(), network=network)


@cache
def _checkpoint() -> trees.Tree:
    torch.set_num_threads(1)
    network = _config().task().build()
    run = SavedRun({"task": as_json(_config())}, "detection", 1)
    optimizer = torch.optim.AdamW(network.parameters())
    return trees.tree_of(lambda root: write_checkpoint(root, 3, network, optimizer, run))


def case(rng: Random, folder: Path) -> Callable[[], object]:
    root = trees.write_damaged(rng, _checkpoint(), folder / "in")
    if rng.random() < 0.7:
        return lambda: load_task(root)
    network = _config().task().build()
    return lambda: start_from(root, rng.choice(((), ("encoder",), ("nothing",))), network, _config())
