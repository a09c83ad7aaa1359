"""A broken recording as a bag that can be read, and what that cost in frames."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path

from lidarloop_core.io.bag import BagReader
from lidarloop_core.io.salvage import Salvage, salvage
from lidarloop_training.data.bag.layout import PROVENANCE


@contextmanager
def salvaged_bag(path: Path, folder: Path) -> Iterator[tuple[Path, Salvage]]:
    """Gives a bag of the same name with every whole message of ``path``, and what was salvaged; it lasts for the block.

    Args:
        path: an MCAP file, whole or not.
        folder: where there is room for a copy.

    Raises:
        BagError: nothing can be salvaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=folder) as temporary:
        saved = Path(temporary) / f"{path.stem}.mcap"
        yield saved, salvage(path, saved)


def loss_report(path: Path, saved: Path, found: Salvage, points_topic: str) -> str:
    """One line on what was recovered and what was lost.

    How many frames there were is told by the recording's own end or, in our bags, by its beginning. Where neither does,
    the lost bytes are counted in frames of the mean size; what was never written to the file, nobody knows.

    Args:
        path: the broken recording.
        saved: what ``salvaged_bag`` gave.
        found: what was salvaged.
        points_topic: of the clouds: one is one frame.
    """
    num_frames = found.message_counts.get(points_topic, 0)
    recovered = f"{path}: recovered {sum(found.message_counts.values())} messages"
    if found.is_whole:
        return f"{recovered}, {num_frames} frames: nothing lost"
    if found.expected_counts is not None:
        expected: int | None = found.expected_counts.get(points_topic, 0)
    else:
        expected = _frames_announced(saved)
    if expected is not None:
        return f"{recovered}, {num_frames} of {expected} frames: {expected - num_frames} lost"
    size_of_frame = (found.num_bytes - found.num_bytes_lost) / max(num_frames, 1)
    num_lost = ceil(found.num_bytes_lost / size_of_frame)
    return (
        f"{recovered}, {num_frames} frames: about {num_lost} lost in {found.num_bytes_lost} broken bytes, and whatever "
        "followed them"
    )


def _frames_announced(saved: Path) -> int | None:
    """The number of frames that our bags say they have."""
    with BagReader(saved) as bag:
        if PROVENANCE not in bag.topics:
            return None
        _, _, message = next(bag.messages([PROVENANCE]))
    num_frames = json.loads(message.data).get("num_frames")
    return num_frames if isinstance(num_frames, int) else None
