"""Intact bags of messages with hostile values: stamps, names, poses, layouts, cut CDR, other topics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from rosbags.rosbag2 import StoragePlugin, Writer

from lidarloop_core.io.bag import typestore
from lidarloop_training.data.bag.reader import BagSource
from lidarloop_training.data.bag.writer import write_bag
from tests.fuzz import mutate, trees
from tests.fuzz.ros_messages import hostile, recorded

TOPICS = (
    "",
    "/",
    "no slash",
    "/a//b",
    "/../../evil",
    "/tf",
    "/odom",
    "/lidar/points",
    "/x" * 500,
    "/é",
    "/camera/../../x/image",
)


def case(rng: Random, folder: Path) -> Callable[[], object]:
    messages = [list(record) for record in recorded()]
    wanted = rng.choice((None, "/lidar/points", "/odom", "/tf_static", "/camera/cam_front/camera_info", "/lane_map"))
    chosen = [i for i, (topic, *_) in enumerate(messages) if wanted in (None, topic)]
    for i in rng.sample(chosen, min(len(chosen), rng.choice((1, 1, 3, 20)))):
        messages[i][2] = hostile(rng, messages[i][2])
    renamed = {rng.choice([topic for topic, *_ in messages]): rng.choice(TOPICS)} if rng.random() < 0.15 else {}
    dropped = {rng.choice([topic for topic, *_ in messages])} if rng.random() < 0.15 else set()
    kept = [
        (renamed.get(topic, topic), time_ns, message) for topic, time_ns, message in messages if topic not in dropped
    ]
    _write(rng, folder / "in" / "drive", kept)
    path, out = folder / "in" / "drive", folder / "out" / "drive.mcap"
    if rng.random() < 0.3:
        return lambda: write_bag(BagSource(path), out)
    return lambda: trees.read_all(BagSource(path, num_sweeps=2))


def _write(rng: Random, path: Path, messages: Sequence[tuple[str, int, Any]]) -> None:
    store, connections = typestore(), {}
    damaged = rng.randrange(len(messages)) if messages and rng.random() < 0.2 else -1
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        for i, (topic, time_ns, message) in enumerate(messages):
            kind = message.__msgtype__
            if (topic, kind) not in connections:
                connections[topic, kind] = bag.add_connection(topic, kind, typestore=store)
            raw = bytes(store.serialize_cdr(message, kind))
            bag.write(connections[topic, kind], time_ns, mutate.data(rng, raw) if i == damaged else raw)
