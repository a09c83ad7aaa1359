"""Bags whose bytes are damaged, read, converted and salvaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from lidarloop_core.io.salvage import salvage
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.bag.writer import write_bag
from tests.fuzz import mutate, trees
from tests.fuzz.ros_messages import bag_bytes


def case(rng: Random, folder: Path) -> Callable[[], object]:
    path = folder / "in" / rng.choice(("drive.mcap", "drive.mcap", "drive.mcap", "drive.db3", "drive"))
    path.write_bytes(mutate.data(rng, bag_bytes()))
    if rng.random() < 0.03:
        trees.replace_file(rng, path)
    out = folder / "out" / "drive.mcap"
    return rng.choice(
        (
            lambda: trees.read_all(BagSource(path, num_sweeps=2)),
            lambda: trees.read_all(BagSource(path, num_sweeps=2)),
            lambda: write_bag(BagSource(path), out),
            lambda: salvage(path, out),
        )
    )
