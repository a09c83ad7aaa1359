"""A broken recording as a bag that can be read, and what that cost in frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from lidarloop_core.errors import DatasetError
from lidarloop_core.io import atomic, outside
from lidarloop_core.io.bag import BagReader
from lidarloop_core.io.salvage import Salvage, salvage
from lidarloop_training.data.bag.layout import PROVENANCE
from lidarloop_training.data.bag.topics import STRING_TYPE, points_topic
from lidarloop_training.data.drive_spec import Bag


@dataclass(frozen=True)
class SalvagedDrive:
    """What could be read of a broken recording.

    Attributes:
        drive: a bag of the complete messages.
        is_whole: whether nothing was lost.
        report: one line on what was recovered and what was lost.
    """

    drive: Bag
    is_whole: bool
    report: str


@contextmanager
def salvaged(broken: Bag, folder: Path) -> Iterator[SalvagedDrive]:
    """Gives a bag of the same name with every complete message of a recording; it lasts for the block.

    Args:
        broken: an MCAP file, damaged or not.
        folder: where there is room for a copy; it is made if need be.

    Raises:
        BagError: nothing can be salvaged, or a topic that was asked for is missing.
        DatasetError: it is no file.
    """
    path = broken.path
    if not path.is_file():
        raise DatasetError(f"{path} is no file; expected an MCAP file to salvage")
    with atomic.temporary_folder(folder / path.name) as temporary:
        saved = temporary / f"{path.stem}.mcap"
        found = salvage(path, saved)
        drive = dataclasses.replace(broken, path=saved)
        with BagReader(saved) as bag:
            topic = drive.points_topics[0] if drive.points_topics else points_topic(bag)
        yield SalvagedDrive(drive, found.is_whole, loss_report(path, saved, found, topic))


def loss_report(path: Path, saved: Path, found: Salvage, points_topic: str) -> str:
    """One line on what was recovered and what was lost.

    How many frames there were stands at the recording's own end or, in our bags, at its beginning. Where both are
    missing, the lost bytes are counted in frames of the mean size; what never reached the file is unknown.

    Args:
        path: the broken recording.
        saved: bag of the complete messages.
        found: counts of what was salvaged.
        points_topic: topic of the clouds; one cloud is one frame.
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
    """The number of frames that a bag of ours was made with; None for other bags."""
    with BagReader(saved) as bag:
        if bag.topics.get(PROVENANCE) != STRING_TYPE:
            return None
        _, _, message = next(bag.messages([PROVENANCE]), ("", 0, None))
    try:
        provenance = None if message is None else outside.parse_json(message.data)
    except ValueError:  # of another writer, or damaged: the recording is salvaged all the same
        return None
    num_frames = provenance.get("num_frames") if isinstance(provenance, dict) else None
    return num_frames if isinstance(num_frames, int) else None
