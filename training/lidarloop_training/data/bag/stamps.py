"""When the messages of a bag are from: their headers' stamps, or the times they were received at."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from lidarloop_core.errors import BagError
from lidarloop_core.io.bag import BagReader, header_stamp_ns
from lidarloop_training.data.bag.frame_tree import Problems

Stamps = Literal["header", "reception"]

MAX_GAP_NS = 3_600_000_000_000
"""Largest time between two clouds of one drive."""

Times = dict[int, int]
"""Stamp → time of recording, nanoseconds, in order of the stamps."""


def scan(bag: BagReader, topics: Iterable[str], stamps: Stamps, problems: Problems) -> dict[str, Times]:
    """The times of each topic's messages; empty for a missing topic.

    One pass for all. Only the header is looked at: it is the first thing in the serialised message.

    Args:
        bag: the bag.
        topics: topics of messages with a header.
        stamps: which time is a message's stamp.
        problems: where messages are counted that are too short, or have the stamp of another.
    """
    times: dict[str, Times] = {topic: {} for topic in topics}
    for topic, time_ns, raw in bag.raw_messages([t for t in times if t in bag.topics]):
        stamp_ns = header_stamp_ns(raw)
        if stamp_ns is None:
            problems.add(f"messages of {topic} that are too short", f"{len(raw)} bytes at {time_ns} ns")
            continue
        stamp_ns = stamp_ns if stamps == "header" else time_ns
        if stamp_ns in times[topic]:
            problems.add(f"messages of {topic} with the stamp of another", f"{stamp_ns} ns")
            continue
        times[topic][stamp_ns] = time_ns
    return {topic: dict(sorted(found.items())) for topic, found in times.items()}


def require_plausible(path: Path, topic: str, times: Times, num_messages: int) -> None:
    """Refuses clouds whose stamps cannot be the drive's.

    Args:
        path: the bag.
        topic: topic of the clouds.
        times: their times.
        num_messages: number of messages on the topic.

    Raises:
        BagError: most clouds share their stamp with another, or two that follow each other are hours apart.
    """
    remedy = (
        "correct the driver's clock, or take the times of reception: stamps, on the command line --stamps reception"
    )
    if 2 * len(times) < num_messages:
        raise BagError(
            f"{path}: {num_messages - len(times)} of {num_messages} clouds on {topic} are too short or have the stamp "
            f"of another; expected a stamp for each: {remedy}"
        )
    stamps = np.array(list(times), dtype=np.int64)
    gaps = np.diff(stamps)
    if len(gaps) and gaps.max() > MAX_GAP_NS:
        at = int(gaps.argmax())
        raise BagError(
            f"{path}: clouds on {topic} are stamped {stamps[at] * 1e-9:.3f} s and then {stamps[at + 1] * 1e-9:.3f} s, "
            f"{gaps[at] / MAX_GAP_NS:.0f} hours apart; expected at most one hour: {remedy}"
        )
